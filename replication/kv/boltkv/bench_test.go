package boltkv

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/replication/kv"
)

const (
	benchRecords = 1_000_000
	benchValue   = 300
)

func benchKey(i int) []byte {
	k := make([]byte, 32)
	copy(k, "resource/")
	binary.BigEndian.PutUint64(k[16:], uint64(i)*0x9e3779b97f4a7c15)
	return k
}

func randomValue(rng *rand.Rand) []byte {
	v := make([]byte, benchValue)
	for i := 0; i+8 <= len(v); i += 8 {
		binary.LittleEndian.PutUint64(v[i:], rng.Uint64())
	}
	return v
}

// benchStore is a store of 1,000,000 records, made once for all benchmarks.
var benchFile = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "boltkv-bench-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kv")
	s, err := Open(path, DefaultConfig())
	if err != nil {
		return "", err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	if err := s.Replace(func(put func(k, v []byte) error) error {
		for i := range benchRecords {
			if err := put(benchKey(i), randomValue(rng)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return "", err
	}
	return path, s.Close()
})

func benchStore(b *testing.B) *Store {
	b.Helper()
	path, err := benchFile()
	if err != nil {
		b.Fatal(err)
	}
	s := mustOpen(b, path)
	b.Cleanup(func() { mustClose(b, s) })
	return s
}

// TestMain removes what benchmarks share.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	code := m.Run()
	if dirs, err := filepath.Glob(filepath.Join(os.TempDir(), "boltkv-bench-*")); err == nil && testing.Short() == false {
		for _, d := range dirs {
			_ = os.RemoveAll(d)
		}
	}
	os.Exit(code)
}

// written is what this process has had written to disks.
func written(b *testing.B) int64 {
	b.Helper()
	io, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(io)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	return 0
}

func BenchmarkUpdate(b *testing.B) {
	for _, batch := range []int{1, 100, 256, 500} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			s := benchStore(b)
			rng := rand.New(rand.NewPCG(3, uint64(batch)))
			w := written(b)
			for b.Loop() {
				if err := s.Update(func(tx kv.Tx) error {
					for range batch {
						if err := tx.Put(benchKey(rng.IntN(benchRecords)), randomValue(rng)); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(written(b)-w)/float64(b.N), "written-B/op")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	s := benchStore(b)
	v, err := s.View()
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	var bytes int64
	for b.Loop() {
		n := 0
		if err := v.Scan(nil, nil, func(k, v []byte) bool {
			n++
			bytes += int64(len(k) + len(v))
			return true
		}); err != nil || n != benchRecords {
			b.Fatal(n, err)
		}
	}
	b.SetBytes(bytes / int64(b.N))
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	v, err := s.View()
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	rng := rand.New(rand.NewPCG(5, 6))
	for b.Loop() {
		if _, err := v.Get(benchKey(rng.IntN(benchRecords))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	path, err := benchFile()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start := time.Now()
		s := mustOpen(b, path)
		b.ReportMetric(time.Since(start).Seconds(), "s/open")
		mustClose(b, s)
	}
}

func BenchmarkReplace(b *testing.B) {
	s := mustOpen(b, filepath.Join(b.TempDir(), "kv"))
	defer mustClose(b, s)
	for name, next := range map[string]func(i int) []byte{
		"ordered": func(i int) []byte {
			return strconv.AppendInt([]byte("resource/key/of/a/thing/"), int64(10_000_000+i), 10)
		},
		"unordered": benchKey,
	} {
		b.Run(name, func(b *testing.B) {
			value := randomValue(rand.New(rand.NewPCG(7, 8)))
			b.SetBytes(benchRecords * (32 + benchValue))
			for b.Loop() {
				if err := s.Replace(func(put func(k, v []byte) error) error {
					for i := range benchRecords {
						if err := put(next(i), value); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
