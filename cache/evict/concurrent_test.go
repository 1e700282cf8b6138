package evict_test

import (
	"io"
	"sync"
	"testing"

	"preau/cache/block"
	"preau/cache/evict"
)

func TestNoTouchIsLostAmongMany(t *testing.T) {
	const workers, each = 8, 500
	c := config()
	c.Objects = 1 << 18 // roomy: no bucket is crowded
	p := mustNew(t, c)
	var wg sync.WaitGroup
	for range 2 {
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					p.Touch(evict.Key(w*each + i))
				}
			})
		}
	}
	wg.Wait()
	for k := range evict.Key(workers * each) {
		for turn, want := range []bool{true, true, false} {
			if keep, _ := p.Retire(k, evict.Main, 1); keep != want {
				t.Fatalf("object %d, turn %d: kept = %v, want %v", k, turn+1, keep, want)
			}
		}
	}
}

func TestEverythingAtOnce(t *testing.T) {
	c := config()
	c.Objects = 256 // crowded: many objects to a word
	p := mustNew(t, c)
	data := saved(t, p)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				k := evict.Key((i*7 + w) % 512)
				p.Touch(k)
				if r := p.Admit(k, int64(i)*1000); r > evict.Documents {
					t.Errorf("Admit = %d", r)
				}
				if keep, to := p.Retire(k+1, block.Ring(i%3), mib); keep && to != evict.Main {
					t.Errorf("Retire keeps in %d", to)
				}
				p.NextRing([]int64{1, 2, 3})
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := p.Save(io.Discard); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for i := range 20 {
			if err := p.Load(&short{data: data, drop: i % 2}); (err != nil) != (i%2 == 1) {
				t.Errorf("Load %d: %v", i, err)
			}
		}
	})
	wg.Wait()
}

// short reads data without its last drop bytes.
type short struct {
	data []byte
	drop int
	off  int
}

func (s *short) Read(p []byte) (int, error) {
	if s.off == len(s.data)-s.drop {
		return 0, io.EOF
	}
	n := copy(p, s.data[s.off:len(s.data)-s.drop])
	s.off += n
	return n, nil
}

func BenchmarkTouch(b *testing.B) {
	c := config()
	c.Objects = 1_200_000
	for name, span := range map[string]uint64{"hot": 64, "wide": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			p := mustNew(b, c)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for k := uint64(1); pb.Next(); k = k*6364136223846793005 + 1442695040888963407 {
					p.Touch(evict.Key(k >> 40 % span))
				}
			})
		})
	}
}

func BenchmarkRetire(b *testing.B) {
	c := evict.DefaultConfig(1_200_000 * mib)
	c.Objects = 1_200_000
	p := mustNew(b, c)
	b.ReportAllocs()
	k := evict.Key(0)
	for b.Loop() {
		p.Retire(k, evict.Probation, mib)
		k++
	}
}
