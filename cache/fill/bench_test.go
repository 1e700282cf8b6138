package fill

import (
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkHit is what a request for a body that is whole costs.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int64{10_000, mb} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			bd, o := newBed(b, 0), newOrigin(int(size))
			bd.mustGet(o, 0, -1)
			for !bd.saved().Complete() || bd.m.InUse(ID{1}) {
			}
			spec := bd.spec(o)
			load := func() (Spec, error) { return spec, nil }
			b.SetBytes(size)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				body, err := bd.m.Open(ID{1}, load)
				if err != nil {
					b.Fatal(err)
				}
				r := body.NewReader(0, -1)
				n, err := r.CopyTo(b.Context(), io.Discard)
				r.Close()
				body.Release()
				if err != nil || n != size {
					b.Fatal(n, err)
				}
			}
			b.StopTimer()
			bd.m.Close()
		})
	}
}

// BenchmarkFollowers is a class that follows one fetch.
func BenchmarkFollowers(b *testing.B) {
	const size = 4 * mb
	for _, readers := range []int{1, 40, 500} {
		b.Run(fmt.Sprintf("%d readers", readers), func(b *testing.B) {
			b.SetBytes(size * int64(readers))
			b.ReportAllocs()
			for b.Loop() {
				bd, o := newBed(b, 0), newOrigin(int(size))
				body := bd.body(o)
				var wg sync.WaitGroup
				for range readers {
					r := body.NewReader(0, -1)
					wg.Go(func() {
						if n, err := r.CopyTo(b.Context(), io.Discard); err != nil || n != size {
							b.Error(n, err)
						}
						r.Close()
					})
				}
				wg.Wait()
				body.Release()
				bd.m.Close()
			}
		})
	}
}

// BenchmarkFill is what it takes to store a body that comes, in seconds of the
// processor for each GB: hashed here, or compared by whoever brought it.
func BenchmarkFill(b *testing.B) {
	const size = 32 * mb
	for name, source := range map[string]func(*origin) Source{
		"hashed":   func(o *origin) Source { return o },
		"compared": func(o *origin) Source { return &comparing{origin: o, digests: digestsOf(o.data)} },
	} {
		b.Run(name, func(b *testing.B) {
			o := newOrigin(int(size))
			src := source(o)
			b.SetBytes(size)
			before := processor(b)
			for b.Loop() {
				bd := newBed(b, 0)
				spec := bd.spec(o)
				spec.Source = src
				body, err := bd.m.Open(ID{1}, func() (Spec, error) { return spec, nil })
				if err != nil {
					b.Fatal(err)
				}
				r := body.NewReader(0, -1)
				if n, err := r.CopyTo(b.Context(), io.Discard); err != nil || n != size {
					b.Fatal(n, err)
				}
				r.Close()
				body.Release()
				bd.m.Close()
			}
			b.ReportMetric((processor(b)-before).Seconds()*1e9/float64(size)/float64(b.N), "cpu-s/GB")
		})
	}
}

// processor is the time that this process has had of the processor.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
