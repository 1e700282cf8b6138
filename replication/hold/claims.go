package hold

import (
	"encoding/binary"
	"sync"
	"time"

	"preau/cache/block"
)

// maxClaims bounds a generation of claims: 1 TiB of blocks in a day, some 20 MiB
// of memory.
const maxClaims = 1 << 20

// claims remembers which blocks somebody relies on although the catalogue may
// not name them yet. A claim holds for one to two graces.
//
// Digests are cut to their first eight bytes. Two that begin alike share their
// claims, which keeps a block that could go and never removes one that must
// stay.
type claims struct {
	grace time.Duration
	limit int
	start time.Time // monotonic, as all times here: a clock that jumps ends no claim

	mu        sync.Mutex
	turned    time.Time // when young was begun
	young     map[uint64]struct{}
	old       map[uint64]struct{}
	youngFull bool // more was claimed than is remembered: all counts as claimed
	oldFull   bool
}

func newClaims(grace time.Duration, limit int) *claims {
	now := time.Now()
	return &claims{grace: grace, limit: limit, start: now, turned: now, young: make(map[uint64]struct{})}
}

// short is what a digest is remembered by.
func short(d block.Digest) uint64 { return binary.BigEndian.Uint64(d[:8]) }

// add claims digests and says which of them were claimed before.
func (c *claims) add(digests ...block.Digest) (before []bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn()
	before = make([]bool, len(digests))
	for i, d := range digests {
		k := short(d)
		_, young := c.young[k]
		_, old := c.old[k]
		before[i] = young || old
		if len(c.young) < c.limit {
			c.young[k] = struct{}{}
		} else if !young {
			c.youngFull = true
		}
	}
	return before
}

// turn begins a new generation if the young one is a grace old.
func (c *claims) turn() {
	now := time.Now()
	age := now.Sub(c.turned)
	if age < c.grace {
		return
	}
	c.old, c.oldFull = c.young, c.youngFull
	if age >= 2*c.grace {
		c.old, c.oldFull = nil, false
	}
	c.young, c.youngFull = make(map[uint64]struct{}), false
	c.turned = now
}

// settled reports whether the shelf has been up for a grace, so that whatever
// was claimed before it started is not claimed any more.
func (c *claims) settled() bool { return time.Since(c.start) >= c.grace }

// unlessClaimed calls fn if nobody claims d, and keeps claims waiting until it
// has returned: who claims later finds the block gone, who claimed before keeps
// it.
func (c *claims) unlessClaimed(d block.Digest, fn func() error) (called bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has(d) {
		return false, nil
	}
	return true, fn()
}

func (c *claims) claimed(d block.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(d)
}

func (c *claims) has(d block.Digest) bool {
	c.turn()
	if c.youngFull || c.oldFull {
		return true
	}
	k := short(d)
	_, young := c.young[k]
	_, old := c.old[k]
	return young || old
}
