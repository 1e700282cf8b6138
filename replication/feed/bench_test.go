package feed

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// likely is a record as resources are: mostly titles, a little of it random.
func likely(i int) catalogue.Record {
	rnd := rand.New(rand.NewPCG(uint64(i), 7))
	body := fmt.Sprintf("\xaf\x01mres-%08d\x02lcol-%04d\x03xExercices de mathematiques, chapitre %d\x04xexercices-%d.pdf\x05oapplication/pdf\x07bfr\x08fcm2-%d\x0a\x1a", i, i%500, i%30, i, i%9)
	for range 12 {
		body = string(appendHead([]byte(body), 0, rnd.Uint64()))
	}
	return catalogue.Record{
		Kind: catalogue.KindResource, ID: fmt.Sprintf("res-%08d", i), Index: uint64(i/100 + 1), At: time.UnixMilli(1.8e12 + int64(i)*1000),
		Body: []byte(body),
	}
}

func size(r *catalogue.Record) int64 { return int64(len(appendRecord(nil, r, false))) }

func bigLedger(n int, schools bool) (*ledger, int64) {
	l := newLedger()
	var bytes int64
	for i := range n {
		r := likely(i)
		if schools && i%10 == 0 {
			r.Audience = []identity.School{lyon}
			if i%20 == 0 {
				r.Audience = []identity.School{brest}
			}
		}
		bytes += size(&r)
		l.order = append(l.order, r)
	}
	l.index = uint64(n/100 + 1)
	return l, bytes
}

func newShelfFor(b *testing.B, l *ledger) *shelf {
	b.Helper()
	enc, err := newEncoder()
	if err != nil {
		b.Fatal(err)
	}
	met, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	return newShelf(l, enc, 1<<20, met)
}

// BenchmarkSnapshotBlocks is the server's work for a first snapshot, but for
// reading the catalogue's store and for TLS: bytes are those of the records.
func BenchmarkSnapshotBlocks(b *testing.B) {
	for name, schools := range map[string]bool{"public": false, "a tenth of schools": true} {
		b.Run(name, func(b *testing.B) {
			l, bytes := bigLedger(50_000, schools)
			s := newShelfFor(b, l)
			cert := newAuthority(b).issue(b, identity.Identity{Region: here, Role: identity.Server, Name: "alpha"})
			b.SetBytes(bytes)
			b.ReportAllocs()
			sent, used := 0, cpu()
			for b.Loop() {
				clear(s.held)
				s.recent.Init()
				s.bytes = 0
				for pos := uint64(0); pos < l.index; {
					blk, err := s.get(pos, l.index, false, l.index)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := blk.signatures(cert, here, 1); err != nil {
						b.Fatal(err)
					}
					for _, p := range append(blk.public, blk.school(lyon, false, s.enc)...) {
						sent += len(p.bytes)
					}
					pos = blk.upto
				}
			}
			b.ReportMetric(float64(bytes)*float64(b.N)/1e6/(cpu()-used).Seconds(), "MB/cpu-s")
			b.ReportMetric(float64(sent)/float64(b.N)/float64(bytes), "compressed/expanded")
		})
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := likely(1)
	b.SetBytes(size(&r))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = appendRecord(buf[:0], &r, false)
	}
}

func BenchmarkDecodeRecords(b *testing.B) {
	var buf []byte
	for i := range 1000 {
		r := likely(i)
		buf = appendRecord(buf, &r, false)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeRecords(buf, 1000, 0, 100); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCopy is a box that takes a first snapshot into memory.
func BenchmarkCopy(b *testing.B) {
	l, bytes := bigLedger(20_000, false)
	s := newShelfFor(b, l)
	var batches []*Batch
	st := &Stream{}
	for pos := uint64(0); pos < l.index; {
		blk, err := s.get(pos, l.index, false, l.index)
		if err != nil {
			b.Fatal(err)
		}
		for i, p := range blk.public {
			h := blk.head(pos, i, i < len(blk.public)-1)
			h.At = blk.at
			batches = append(batches, &Batch{
				After: h.After, Upto: h.Upto, Part: h.Part, More: h.More, Count: p.count,
				header: h, payload: p.bytes, expand: st.expand,
			})
		}
		pos = blk.upto
	}
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		c, err := OpenCopy(newDisk(b))
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Begin(Hello{Region: here, Epoch: 1, Mode: ModeSnapshot, Again: true, Until: l.index}); err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			if err := c.Apply(batch); err != nil {
				b.Fatal(err)
			}
		}
		if !c.Whole() {
			b.Fatal("the copy is not whole")
		}
	}
	if st.dec != nil {
		st.dec.Close()
	}
	runtime.KeepAlive(batches)
}

// BenchmarkSchool is what one more box costs when 10,000 changes, of which every
// tenth is a school's, are caught up from memory.
func BenchmarkSchool(b *testing.B) {
	l, bytes := bigLedger(10_000, true)
	s := newShelfFor(b, l)
	s.budget = 64 << 20
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		for pos := uint64(0); pos < l.index; {
			blk, err := s.get(pos, l.index, true, 0)
			if err != nil {
				b.Fatal(err)
			}
			blk.school(lyon, true, s.enc)
			pos = blk.upto
		}
	}
}
