package sim_test

import (
	"testing"

	"preau/cache/block"
	"preau/cache/evict"
	"preau/cache/evict/sim"
)

// TestVariants prints what other constants and other rules would do, the
// figures of DESIGN.md:
//
//	go test -run TestVariants -v ./cache/evict/sim -requests FILE -unit 1000
//
// It claims only that each of them is a cache that works.
func TestVariants(t *testing.T) {
	tr := trace(t, 8_000)
	with := func(f func(c *evict.Config)) func(int64) evict.Config {
		return func(budget int64) evict.Config {
			c := evict.DefaultConfig(budget)
			f(&c)
			return c
		}
	}
	shares := func(probation, documents float64) func(int64) evict.Config {
		return with(func(c *evict.Config) { c.ProbationShare, c.DocumentShare = probation, documents })
	}
	plain := evict.DefaultConfig
	var gap int64
	policies := []sim.Policy{
		sim.Configured("as it is", plain),
		sim.Configured("probation 5 %", shares(0.05, 0.10)),
		sim.Configured("probation 20 %", shares(0.20, 0.10)),
		sim.Configured("probation 40 %", shares(0.40, 0.10)),
		sim.Configured("documents 5 %", shares(0.10, 0.05)),
		sim.Configured("documents 20 %", shares(0.10, 0.20)),
		sim.Configured("no documents", shares(0.10, 0)),
		sim.Ruled("documents stay, by reinsertion", plain, func(p *evict.Policy) sim.Rules { return stay{p} }),
		sim.Ruled("documents through probation", plain, func(p *evict.Policy) sim.Rules { return through{p} }),
		sim.Ruled("two touches to leave probation", plain, func(p *evict.Policy) sim.Rules {
			return twice{p, make(map[evict.Key]bool)}
		}),
		sim.Ruled("a class counts as one touch", func(budget int64) evict.Config {
			gap = budget / 100
			return evict.DefaultConfig(budget)
		}, func(p *evict.Policy) sim.Rules {
			return &spaced{Policy: p, gap: gap, last: make(map[evict.Key]int64)}
		}),
		sim.Ruled("large to probation too", plain, func(p *evict.Policy) sim.Rules { return patient{p} }),
	}
	results, err := sim.Run(tr, sim.Sizes(), policies)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", sim.Table(results))
	for _, r := range results {
		if r.Hits == 0 || r.HitBytes > r.Bytes {
			t.Errorf("%s at %v: %d hits, %d bytes of %d", r.Policy, r.Fraction, r.Hits, r.HitBytes, r.Bytes)
		}
	}
}

// stay keeps touched documents in their own ring.
type stay struct{ *evict.Policy }

func (s stay) Retire(k evict.Key, from block.Ring, size int64) (bool, block.Ring) {
	if from == evict.Documents {
		keep, _ := s.Policy.Retire(k, evict.Main, size)
		return keep, evict.Documents
	}
	return s.Policy.Retire(k, from, size)
}

// through makes Documents a main queue of its own behind a common probation.
type through struct{ *evict.Policy }

func (d through) Admit(k evict.Key, size int64) block.Ring {
	switch r := d.Policy.Admit(k, size); {
	case r == evict.Documents:
		return evict.Probation
	case r == evict.Main && size <= 1<<20:
		return evict.Documents
	default:
		return r
	}
}

func (d through) Retire(k evict.Key, from block.Ring, size int64) (bool, block.Ring) {
	if from == evict.Documents {
		keep, _ := d.Policy.Retire(k, evict.Main, size)
		return keep, evict.Documents
	}
	keep, to := d.Policy.Retire(k, from, size)
	if keep && from == evict.Probation && size <= 1<<20 {
		to = evict.Documents
	}
	return keep, to
}

// twice overlooks the first touch of every object after its admission.
type twice struct {
	*evict.Policy
	once map[evict.Key]bool
}

func (w twice) Admit(k evict.Key, size int64) block.Ring {
	delete(w.once, k)
	return w.Policy.Admit(k, size)
}

func (w twice) Touch(k evict.Key) {
	if w.once[k] {
		w.Policy.Touch(k)
	}
	w.once[k] = true
}

// spaced overlooks touches until gap bytes were fetched since the admission or
// the last touch that counted, so that a class counts as one reader.
type spaced struct {
	*evict.Policy
	gap, now int64
	last     map[evict.Key]int64
}

func (s *spaced) Admit(k evict.Key, size int64) block.Ring {
	s.now += size
	s.last[k] = s.now
	return s.Policy.Admit(k, size)
}

func (s *spaced) Touch(k evict.Key) {
	if s.now-s.last[k] >= s.gap {
		s.last[k] = s.now
		s.Policy.Touch(k)
	}
}

// patient sends every object first seen to its probation, however large.
type patient struct{ *evict.Policy }

func (p patient) Admit(k evict.Key, size int64) block.Ring {
	if size > 1<<20 {
		size = -1
	}
	return p.Policy.Admit(k, size)
}
