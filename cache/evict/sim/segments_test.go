package sim

import (
	"testing"

	"pgregory.net/rapid"

	"preau/cache/block"
	"preau/cache/evict"
)

// The rings' bytes are those of the objects stored, each of which lies in one
// ring only, and never exceed the budget, not even while a segment is carried
// forward.
func TestSegmentsKeepTheirAccounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const budget = 4 << 20
		cfg := evict.DefaultConfig(budget)
		cfg.DocumentMax = 20 << 10
		p, err := evict.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		watch := &watched{rules: p}
		s := newSegments(watch, budget)
		watch.store = s
		objects := rapid.IntRange(0, 200)
		for range rapid.IntRange(0, 600).Draw(t, "requests") {
			o := objects.Draw(t, "object")
			size := int64(o%20+1) * int64(o+1) * 100
			_, was := s.size[o]
			if hit := s.Request(o, size); hit != was {
				t.Fatalf("Request(%d) = %v, but it was stored: %v", o, hit, was)
			}
			if _, is := s.size[o]; !is {
				t.Fatalf("object %d was not stored", o)
			}
		}
		var bytes int64
		seen := make(map[int]bool)
		for r, ring := range s.rings {
			var inRing int64
			for _, seg := range ring {
				for _, o := range seg.objects {
					if seen[o] {
						t.Fatalf("object %d is stored twice", o)
					}
					seen[o] = true
					inRing += s.size[o]
				}
			}
			if inRing != s.used[r] {
				t.Fatalf("ring %d holds %d bytes, accounts say %d", r, inRing, s.used[r])
			}
			bytes += inRing
		}
		if len(seen) != len(s.size) || bytes > budget-s.segment {
			t.Fatalf("%d of %d objects found, %d bytes of %d", len(seen), len(s.size), bytes, budget)
		}
		if watch.peak > budget+int64(20*201*100) { // an object may stick out of the segment it began in
			t.Fatalf("%d bytes of %d were used at once", watch.peak, budget)
		}
	})
}

// watched notes the most bytes in use while a segment is retired.
type watched struct {
	rules
	store         *segments
	leaving, peak int64
}

func (w *watched) NextRing(used []int64) block.Ring {
	r := w.rules.NextRing(used)
	w.leaving = w.store.rings[r][0].bytes
	return r
}

func (w *watched) Retire(k evict.Key, from block.Ring, size int64) (bool, block.Ring) {
	w.peak = max(w.peak, w.store.total()+w.leaving)
	return w.rules.Retire(k, from, size)
}
