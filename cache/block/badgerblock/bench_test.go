package badgerblock

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// cpuSeconds is the processor time this process has used.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// perGB reports the processor time that fn takes for each GB of its bytes.
func perGB(b *testing.B, bytes int64, fn func()) {
	b.Helper()
	b.SetBytes(bytes / int64(b.N))
	b.ResetTimer()
	before := cpuSeconds(b)
	fn()
	b.StopTimer()
	b.ReportMetric((cpuSeconds(b)-before)/(float64(bytes)/1e9), "cpu-s/GB")
}

// distinct makes p a block of its own for each i, at next to no cost.
func distinct(p []byte, i int) block.Digest {
	binary.BigEndian.PutUint64(p, uint64(i))
	// The digest is the caller's work, not the store's: any will do here.
	var d block.Digest
	r := rand.New(rand.NewPCG(uint64(i), 1))
	for j := 0; j < len(d); j += 8 {
		binary.BigEndian.PutUint64(d[j:], r.Uint64())
	}
	return d
}

func benchPut(b *testing.B, size, workers int) {
	b.Helper()
	cfg := testConfig(b.TempDir())
	cfg.BudgetBytes = 2 << 30
	s := mustOpen(b, cfg, &shelf{})
	run(b, s)
	perGB(b, int64(b.N)*int64(size), func() {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				p := blocktest.Bytes(1, size)
				for i := w; i < b.N; i += workers {
					if _, err := s.Put(b.Context(), 0, distinct(p, i), p); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkPut1MiB(b *testing.B)        { benchPut(b, block.Size, 1) }
func BenchmarkPut4KiB(b *testing.B)        { benchPut(b, 4096, 1) }
func BenchmarkPut4KiBBy16(b *testing.B)    { benchPut(b, 4096, 16) }
func BenchmarkChurnKeeping20(b *testing.B) { benchChurn(b, 512<<20) }

// BenchmarkSum is what of the others' time is the digests'.
func BenchmarkSum(b *testing.B) {
	p := blocktest.Bytes(1, block.Size)
	perGB(b, int64(b.N)*block.Size, func() {
		for range b.N {
			block.Sum(p)
		}
	})
}

// benchChurn puts blocks of 1 MiB through a store of which a fifth is carried
// forward once. Each is hashed once, and those carried forward twice.
func benchChurn(b *testing.B, budget int64) {
	b.Helper()
	cfg := testConfig(b.TempDir())
	cfg.BudgetBytes = budget
	k := &shelf{}
	k.keep = func(d block.Digest) (block.Ring, bool) {
		_, again := k.moved[d]
		return 1, d[0] < 256/5 && !again
	}
	s := mustOpen(b, cfg, k)
	run(b, s)
	p := blocktest.Bytes(1, block.Size)
	perGB(b, int64(b.N)*block.Size, func() {
		for i := range b.N {
			binary.BigEndian.PutUint64(p, uint64(i))
			if _, err := s.Put(b.Context(), 0, block.Sum(p), p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWriteRangeTCP(b *testing.B) {
	cfg := testConfig(b.TempDir())
	s := mustOpen(b, cfg, &shelf{})
	var all []block.Digest
	for i := range 64 {
		d, _ := mustPut(b, s, 0, blocktest.Bytes(uint64(i), block.Size))
		all = append(all, d)
	}
	s.sealNow()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		if _, err := io.Copy(io.Discard, c); err != nil {
			b.Error(err)
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for name, w := range map[string]io.Writer{"sendfile": c, "copy": struct{ io.Writer }{c}} {
		b.Run(name, func(b *testing.B) {
			perGB(b, int64(b.N)*block.Size, func() {
				for i := range b.N {
					blk, err := s.Open(all[i%len(all)])
					if err != nil {
						b.Fatal(err)
					}
					if _, err := blk.WriteRange(w, 0, block.Size); err != nil {
						b.Fatal(err)
					}
					blk.Close()
				}
			})
		})
	}
}

// BenchmarkReadCold reads blocks of sealed segments as if each came from the disk
// for the first time, by the checksum, and beside it by the digest as the scrub
// does. GODEBUG=cpu.sha=off has the digests do without the processor's help.
func BenchmarkReadCold(b *testing.B) {
	s := mustOpen(b, testConfig(b.TempDir()), &shelf{})
	var all []block.Digest
	for i := range 64 {
		d, _ := mustPut(b, s, 0, blocktest.Bytes(uint64(i), block.Size))
		all = append(all, d)
	}
	s.sealNow()
	buf := make([]byte, wholeLen)
	for _, how := range []struct {
		name string
		read func(*storedBlock, []byte) ([]byte, error)
	}{{"checksum", (*storedBlock).readWhole}, {"digest", (*storedBlock).readHashed}} {
		b.Run(how.name, func(b *testing.B) {
			perGB(b, int64(b.N)*block.Size, func() {
				for i := range b.N {
					d := all[i%len(all)]
					g, at, ok := s.find(d, false)
					if !ok {
						b.Fatal("not found")
					}
					if _, err := how.read(&storedBlock{s: s, g: g, digest: d, place: at}, buf); err != nil {
						b.Fatal(err)
					}
					g.release()
				}
			})
		})
	}
}

// BenchmarkMemory reports the memory that small blocks take, with the three
// segments that are being written.
func BenchmarkMemory(b *testing.B) {
	cfg := testConfig(b.TempDir())
	cfg.BudgetBytes = 8 << 30
	s := mustOpen(b, cfg, &shelf{})
	run(b, s)
	p := blocktest.Bytes(1, 4096)
	n := 0
	before := heap()
	for b.Loop() {
		for range 10_000 {
			if _, err := s.Put(b.Context(), block.Ring(n%3), distinct(p, n), p); err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	var filters int
	for _, g := range s.all() {
		if x := g.idx.Load(); x != nil {
			filters += 8*len(x.filter) + 2*8*len(g.drops)
		}
	}
	b.ReportMetric(float64(heap()-before), "heap-B")
	b.ReportMetric(float64(filters)/float64(n), "index-B/block")
	b.ReportMetric(float64(n), "blocks")
	b.ReportMetric(float64(anonymous(b)), "anon-B")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// anonymous is the process's resident memory beyond its files.
func anonymous(b *testing.B) int64 {
	b.Helper()
	p, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc here")
	}
	for line := range strings.Lines(string(p)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "RssAnon:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n << 10
		}
	}
	b.Skip("no RssAnon")
	return 0
}

// BenchmarkFind looks up blocks in a store of 64 sealed segments.
func BenchmarkFind(b *testing.B) {
	cfg := testConfig(b.TempDir())
	cfg.BudgetBytes = 2 << 30
	s := mustOpen(b, cfg, &shelf{})
	p := blocktest.Bytes(1, 1000)
	var all []block.Digest
	for i := range 6400 {
		d := distinct(p, i)
		if _, err := s.Put(b.Context(), 0, d, p); err != nil {
			b.Fatal(err)
		}
		all = append(all, d)
		if i%100 == 99 {
			s.sealNow()
		}
	}
	b.Run("there", func(b *testing.B) {
		for i := range b.N {
			if _, ok := s.Has(all[i%len(all)]); !ok {
				b.Fatal("not found")
			}
		}
	})
	b.Run("absent", func(b *testing.B) {
		for i := range b.N {
			if _, ok := s.Has(distinct(p, i+1<<40)); ok {
				b.Fatal("found")
			}
		}
	})
}

// BenchmarkReopen opens a store of 40,000 small blocks by its indexes, and by
// its value logs alone as after kill -9.
func BenchmarkReopen(b *testing.B) {
	for _, how := range []string{"indexes", "logs"} {
		b.Run(how, func(b *testing.B) {
			cfg := testConfig(b.TempDir())
			cfg.BudgetBytes = 2 << 30
			s := mustOpen(b, cfg, &shelf{})
			p := blocktest.Bytes(1, 4096)
			for i := range 40_000 {
				if _, err := s.Put(b.Context(), 0, distinct(p, i), p); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(40_000 * 4096)
			b.ResetTimer()
			for range b.N {
				if how == "logs" {
					b.StopTimer()
					all, err := filepath.Glob(filepath.Join(cfg.Dir, segments, "*", indexName))
					if err != nil || len(all) == 0 {
						b.Fatal("no indexes", err)
					}
					for _, path := range all {
						if err := os.Remove(path); err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
				}
				s := mustOpen(b, cfg, &shelf{})
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
