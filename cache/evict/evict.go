// Package evict decides what a cache's disk keeps.
//
// It is S3-FIFO (Yang et al., SOSP 2023) weighted by bytes, for a store that
// keeps objects in rings of segments: new objects go to the newest segment of a
// ring, and room is made by taking the oldest segment of one ring and asking of
// each object in it whether to drop it or to carry it forward. An object seen
// for the first time waits in Probation, or in Documents if it is small; if it
// has been touched when its turn comes it moves to Main, else it goes and is
// remembered for a while, so that it enters Main at once should it come back.
// Main carries forward whatever was touched since its last turn.
//
// A Policy is bookkeeping of a fixed size, some 12 bytes for each object
// expected. It moves no bytes, keeps no list of what is stored, owns no
// goroutine and knows nothing of pins: whoever keeps pinned objects carries
// them forward without asking, and leaves them out of the bytes that NextRing
// is told. DESIGN.md has the figures behind the rules.
package evict

import (
	"fmt"
	"sync"

	"preau/cache/block"
)

// Key is a hash that names an object over all its versions: that of its URL,
// not of its content. It need not be evenly spread.
type Key uint64

// The rings. They number the elements of what NextRing is given.
const (
	// Probation holds what has been asked for once.
	Probation block.Ring = iota
	// Main holds what has been asked for again.
	Main
	// Documents is a probation for small objects: a film passing through does
	// not shorten the time that a worksheet has to be asked for again.
	Documents

	rings
)

// Policy decides what is kept. All methods may be called concurrently.
type Policy struct {
	cfg   Config
	share [rings]float64
	large int64 // objects above this cannot wait in Probation
	tally *tally

	mu    sync.Mutex
	ghost *ghost
}

// New returns a policy that has seen nothing.
func New(cfg Config) (*Policy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("evict config: %w", err)
	}
	p := &Policy{
		cfg:   cfg,
		large: int64(cfg.ProbationShare * float64(cfg.BudgetBytes)),
		tally: newTally(cfg.objects()),
		ghost: newGhost(cfg.BudgetBytes, cfg.objects()),
	}
	p.share[Probation] = cfg.ProbationShare
	p.share[Documents] = cfg.DocumentShare
	p.share[Main] = 1 - cfg.ProbationShare - cfg.DocumentShare
	return p, nil
}

// Touch notes that k was asked for and was there. It takes no lock, and for an
// object that is often asked for it only reads.
func (p *Policy) Touch(k Key) { p.tally.add(k.hash()) }

// Admit returns the ring for a new object of size bytes, -1 if its size is not
// known yet. It uses up the memory that the object had been evicted before, so
// it is to be called once for each object stored.
func (p *Policy) Admit(k Key, size int64) block.Ring {
	p.mu.Lock()
	again := p.ghost.take(k.hash())
	p.mu.Unlock()
	switch {
	case again:
		return Main
	case size >= 0 && size <= p.cfg.DocumentMax && p.cfg.DocumentShare > 0:
		return Documents
	case size > p.large:
		return Main
	default:
		return Probation
	}
}

// Retire says what becomes of an object of size bytes in a segment of ring from
// that is about to go: kept, in the newest segment of ring to, or dropped. It
// changes what is known of the object, so it is to be called once, and only for
// an object that is still wanted: not for an old version, a purged or a pinned
// one.
func (p *Policy) Retire(k Key, from block.Ring, size int64) (keep bool, to block.Ring) {
	h := k.hash()
	if from == Main {
		return p.tally.take(h) > 0, Main
	}
	// Main asks for new touches: the burst in which a class opens a page says
	// that the page matters now, not that it will next week.
	if p.tally.clear(h) > 0 {
		return true, Main
	}
	p.mu.Lock()
	p.ghost.add(h, max(0, size))
	p.mu.Unlock()
	return false, from
}

// NextRing returns the ring whose oldest segment should make room, given the
// bytes that each ring holds: the one that exceeds its share of them by most. A
// share is thus a reserve, not a limit: what one ring does not need the others
// use. A ring that holds nothing is never named, unless all are empty.
func (p *Policy) NextRing(used []int64) block.Ring {
	used = used[:min(len(used), int(rings))]
	var total float64
	for _, u := range used {
		total += float64(u)
	}
	next, most := Probation, -total-1
	for r, u := range used {
		if over := float64(u) - p.share[r]*total; u > 0 && over > most {
			next, most = block.Ring(r), over
		}
	}
	return next
}

// hash spreads k evenly (the finisher of SplitMix64), as the tables index by
// the high bits and tell objects apart by the low ones.
func (k Key) hash() uint64 {
	x := uint64(k) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
