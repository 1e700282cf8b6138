package catalogue_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/boltkv"
	"preau/replication/kv/kvtest"
)

const manyRecords = 100_000

// stores are the two that the same work is measured on: the difference is what
// the disk costs.
var stores = map[string]func(*testing.B) kv.Store{
	"memory": func(*testing.B) kv.Store { return kvtest.NewMemory() },
	"bolt": func(b *testing.B) kv.Store {
		b.Helper()
		s, err := boltkv.Open(filepath.Join(b.TempDir(), "catalogue.db"), boltkv.DefaultConfig())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return s
	},
}

// filled is a state with many resources; it returns the next index.
func filled(b *testing.B, store kv.Store, n int) (*catalogue.State, uint64) {
	b.Helper()
	s, err := catalogue.Open(store)
	if err != nil {
		b.Fatal(err)
	}
	index := uint64(1)
	apply(b, s, []catalogue.Entry{benchEntry(b, index, put(b, collection("all")))})
	for at := 0; at < n; {
		var batch []catalogue.Entry
		for len(batch) < 16 && at < n {
			var ops []catalogue.Op
			for len(ops) < 500 && at < n {
				ops = append(ops, put(b, benchResource(at, "first")))
				at++
			}
			index++
			batch = append(batch, benchEntry(b, index, ops...))
		}
		apply(b, s, batch)
	}
	return s, index + 1
}

func benchResource(n int, title string) catalogue.Resource {
	id := block.Sum(fmt.Append(nil, n)).String()[:24]
	r := resource(id, "all")
	r.Title, r.Description = title, "Un document d'une page ou deux, avec deux lignes pour dire ce que c'est."
	if n%4 == 0 {
		r.Audience = []identity.School{lyon, brest}
	}
	return r
}

func benchEntry(b *testing.B, index uint64, ops ...catalogue.Op) catalogue.Entry {
	b.Helper()
	p, err := catalogue.Encode(catalogue.NewCommand("operator/anne", noon, ops...))
	if err != nil {
		b.Fatal(err)
	}
	return catalogue.Entry{Index: index, Term: 1, Data: p}
}

// cpu is the processor time that the process has taken: on a busy machine it is
// what can be compared.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func apply(b *testing.B, s *catalogue.State, batch []catalogue.Entry) {
	b.Helper()
	results, _, err := s.Apply(batch)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range results {
		if r.Code != "" {
			b.Fatal(r.Code, r.Detail)
		}
	}
}

// BenchmarkApply carries out batches of 256 small commands, each of which
// replaces one of 100,000 resources. One operation is one command.
func BenchmarkApply(b *testing.B) {
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			s, index := filled(b, store(b), manyRecords)
			b.ReportAllocs()
			b.ResetTimer()
			var spent time.Duration
			for n := 0; n < b.N; {
				b.StopTimer()
				var batch []catalogue.Entry
				for ; len(batch) < 256 && n < b.N; n++ {
					batch = append(batch, benchEntry(b, index, put(b, benchResource(int(index*7919)%manyRecords, fmt.Sprint(index)))))
					index++
				}
				b.StartTimer()
				begin := cpu(b)
				apply(b, s, batch)
				spent += cpu(b) - begin
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkCount carries out commands of 500 counts each.
func BenchmarkCount(b *testing.B) {
	s, index := filled(b, kvtest.NewMemory(), 1)
	apply(b, s, []catalogue.Entry{benchEntry(b, index, put(b, catalogue.Box{Name: "box-1", School: lyon, SPKI: keyA, Enrolled: noon}))})
	b.ReportAllocs()
	for b.Loop() {
		index++
		list := make([]catalogue.Tally, catalogue.MaxTallies)
		for i := range list {
			list[i] = catalogue.Tally{Key: fmt.Sprintf("r/%d", (int(index)*31+i)%20_000), N: 7}
		}
		apply(b, s, []catalogue.Entry{benchEntry(b, index, counts("box-1", index, list...))})
	}
}

// BenchmarkChanges reads the whole change index.
func BenchmarkChanges(b *testing.B) {
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			s, _ := filled(b, store(b), manyRecords)
			v, err := s.View()
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := v.Close(); err != nil {
					b.Error(err)
				}
			})
			b.ReportAllocs()
			b.ResetTimer()
			begin, read := cpu(b), int64(0)
			for b.Loop() {
				size := int64(0)
				err := v.Changes(0, 1<<63, func(r catalogue.Record) bool {
					size += int64(len(r.Body) + len(r.ID) + 8*len(r.Audience) + 40)
					return true
				})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(size)
				read += size
			}
			b.ReportMetric(float64(read)/1e6/(cpu(b)-begin).Seconds(), "MB/cpu-s")
		})
	}
}

// BenchmarkPins carries out batches of 256 new pins, each in a command of its
// own. One operation is one command.
func BenchmarkPins(b *testing.B) {
	for name, store := range stores {
		b.Run(name, func(b *testing.B) {
			s, index := filled(b, store(b), 1)
			b.ReportAllocs()
			b.ResetTimer()
			var spent time.Duration
			for n := 0; n < b.N; {
				b.StopTimer()
				var batch []catalogue.Entry
				for ; len(batch) < 256 && n < b.N; n++ {
					batch = append(batch, benchEntry(b, index, put(b, catalogue.Pin{ID: fmt.Sprintf("pin-%d", index), Collection: "all"})))
					index++
				}
				b.StartTimer()
				begin := cpu(b)
				apply(b, s, batch)
				spent += cpu(b) - begin
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
