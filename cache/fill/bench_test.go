package fill

import (
	"fmt"
	"io"
	"sync"
	"testing"
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
