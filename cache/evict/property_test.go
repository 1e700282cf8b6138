package evict_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"preau/cache/block"
	"preau/cache/evict"
)

// exact is what Policy approximates: counts and a ghost without collisions.
type exact struct {
	budget  int64
	touches map[evict.Key]int
	ghosts  map[evict.Key]int64 // evicted bytes when it went
	evicted int64
}

func (e *exact) admit(k evict.Key, size, documentMax, large int64) block.Ring {
	at, again := e.ghosts[k]
	delete(e.ghosts, k)
	switch {
	case again && e.evicted-at < e.budget:
		return evict.Main
	case size <= documentMax:
		return evict.Documents
	case size > large:
		return evict.Main
	}
	return evict.Probation
}

func (e *exact) retire(k evict.Key, from block.Ring, size int64) (bool, block.Ring) {
	n := e.touches[k]
	if from == evict.Main {
		e.touches[k] = max(0, n-1)
		return n > 0, evict.Main
	}
	e.touches[k] = 0
	if n > 0 {
		return true, evict.Main
	}
	e.evicted += size
	e.ghosts[k] = e.evicted
	return false, from
}

// Few objects in large tables do not collide, so the policy must agree with
// exact accounts, over more bytes than a stamp can count. Sizes are whole ticks
// of the ghost's clock.
func TestPolicyAgreesWithExactAccounts(t *testing.T) {
	const tick = 256
	c := evict.DefaultConfig(4096 * tick)
	c.DocumentMax = 100 * tick
	c.Objects = 1 << 14
	large := int64(c.ProbationShare * float64(c.BudgetBytes))
	rapid.Check(t, func(t *rapid.T) {
		p, err := evict.New(c)
		if err != nil {
			t.Fatal(err)
		}
		want := exact{budget: c.BudgetBytes, touches: make(map[evict.Key]int), ghosts: make(map[evict.Key]int64)}
		keys := rapid.Uint64Range(1, 64)
		sizes := rapid.OneOf(rapid.Int64Range(0, 200), rapid.Int64Range(0, 5000))
		t.Repeat(map[string]func(*rapid.T){
			"touch": func(t *rapid.T) {
				k := evict.Key(keys.Draw(t, "key"))
				p.Touch(k)
				want.touches[k] = min(3, want.touches[k]+1)
			},
			"admit": func(t *rapid.T) {
				k, size := evict.Key(keys.Draw(t, "key")), tick*sizes.Draw(t, "size")
				if got, want := p.Admit(k, size), want.admit(k, size, c.DocumentMax, large); got != want {
					t.Fatalf("Admit(%d, %d) = %d, want %d", k, size, got, want)
				}
			},
			"retire": func(t *rapid.T) {
				k, size := evict.Key(keys.Draw(t, "key")), tick*sizes.Draw(t, "size")
				from := block.Ring(rapid.IntRange(0, 2).Draw(t, "from"))
				keep, to := p.Retire(k, from, size)
				wantKeep, wantTo := want.retire(k, from, size)
				if keep != wantKeep || to != wantTo {
					t.Fatalf("Retire(%d, %d, %d) = %v, %d, want %v, %d", k, from, size, keep, to, wantKeep, wantTo)
				}
			},
		})
	})
}

// Main is taken from its oldest end until something is to go: an object that
// was touched since its last turn goes after all that were not.
func TestTouchedOutlivesUntouchedInMain(t *testing.T) {
	c := config()
	c.Objects = 1 << 14
	rapid.Check(t, func(t *rapid.T) {
		p, err := evict.New(c)
		if err != nil {
			t.Fatal(err)
		}
		touches := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 64).Draw(t, "touches")
		main := make([]evict.Key, len(touches))
		for i, n := range touches {
			main[i] = evict.Key(i)
			for range n {
				p.Touch(main[i])
			}
		}
		last := 0 // the most touches of anything that went
		for laps := 0; len(main) > 0; laps++ {
			if laps > 3 {
				t.Fatalf("%v survived four laps without a touch", main)
			}
			main = slices.DeleteFunc(main, func(k evict.Key) bool {
				keep, to := p.Retire(k, evict.Main, mib)
				if n := min(3, touches[k]); !keep {
					if n < last {
						t.Fatalf("object with %d touches outlived one with %d", n, last)
					}
					last = n
				} else if to != evict.Main {
					t.Fatalf("kept in ring %d", to)
				}
				return !keep
			})
		}
	})
}

// Whatever the rings hold, room is made where something is, in a ring that has
// at least its share.
func TestNextRingHasItsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := evict.DefaultConfig(1 << 40)
		c.ProbationShare = rapid.Float64Range(0.01, 0.5).Draw(t, "probation")
		c.DocumentShare = rapid.Float64Range(0, 0.4).Draw(t, "documents")
		c.Objects = 1
		p, err := evict.New(c)
		if err != nil {
			t.Fatal(err)
		}
		used := rapid.SliceOfN(rapid.Int64Range(0, 1<<45), 3, 3).Draw(t, "used")
		total := float64(used[0] + used[1] + used[2])
		share := []float64{c.ProbationShare, 1 - c.ProbationShare - c.DocumentShare, c.DocumentShare}
		r := p.NextRing(used)
		if total > 0 && used[r] == 0 {
			t.Fatalf("NextRing(%v) = %d, which is empty", used, r)
		}
		if float64(used[r]) < share[r]*total*(1-1e-9) {
			t.Fatalf("NextRing(%v) = %d, which has less than its share", used, r)
		}
	})
}
