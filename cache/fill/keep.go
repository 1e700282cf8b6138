package fill

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"preau/cache/block"
)

// homelessParts is how many whole blocks a body keeps in memory when the disk
// takes no more, and homelessWait how long the slowest reader may hold the
// fetch up then.
const (
	homelessParts = 8
	homelessWait  = 10 * time.Second
)

// recentParts is how many stored blocks stay in memory for readers just behind
// the fetch.
const recentParts = 2

// keep stores block i, all of which is in memory, or shelters it.
func (b *Body) keep(s *segment, i int) error {
	if b.passes() {
		return b.passOn(s, i)
	}
	d, err := b.put(i)
	if errors.Is(err, ErrChanged) {
		return err
	}
	if err != nil {
		return b.shelter(s, i, d, err)
	}
	b.mu.Lock()
	due := time.Since(b.saved) >= b.m.cfg.SaveEvery
	b.mu.Unlock()
	if due {
		b.save()
	}
	return nil
}

// put puts block i into the store and says what it is. The error is ErrChanged
// if it is not the block that was held there before, else the store's.
func (b *Body) put(i int) (block.Digest, error) {
	b.mu.Lock()
	if !b.wholePart(i) {
		b.mu.Unlock()
		return block.Digest{}, nil // somebody else was faster
	}
	from, to := b.extent(i)
	b.mu.Unlock()
	b.m.memory.storing.Add(to - from)
	defer b.m.memory.storing.Add(from - to)
	p, done := b.m.memory.buffer(int(to - from))
	defer done()
	b.mu.Lock()
	if !b.wholePart(i) {
		b.mu.Unlock()
		return block.Digest{}, nil // it is stored by now
	}
	pt := b.parts[i]
	pt.read(0, p)
	d := pt.digest
	b.mu.Unlock()

	if d.IsZero() {
		d = block.Sum(p)
	}
	b.mu.Lock()
	if err := b.expected(i, d); err != nil {
		b.mu.Unlock()
		return d, err
	}
	b.putting(d)
	b.mu.Unlock()

	ctx, cancel := onDisk()
	defer cancel()
	seg, err := b.m.store.Put(ctx, b.spec.Ring, d, p)
	b.mu.Lock()
	b.came(d)
	if err != nil {
		b.mu.Unlock()
		return d, err
	}
	if b.parts[i] != pt || pt.stored {
		b.mu.Unlock()
		return d, nil
	}
	b.own(i)
	b.blocks[i], pt.stored = d, true
	b.note(d, seg)
	b.recent = append(b.recent, i)
	keep := recentParts
	if b.m.memory.held.Load() > heldBytes/2 {
		keep = 0 // the store has it: readers just behind can wait for the disk
	}
	for len(b.recent) > keep {
		b.forget(b.recent[0])
		b.recent = b.recent[1:]
	}
	b.mu.Unlock()
	return d, nil
}

// expected reports ErrChanged if d is not what block i was before it was lost.
// Callers hold b.mu.
func (b *Body) expected(i int, d block.Digest) error {
	want, ok := b.expect[i]
	if !ok {
		return nil
	}
	if d != want {
		return fmt.Errorf("%w: block %d is not the one that was lost", ErrChanged, i)
	}
	delete(b.expect, i)
	from, to := b.extent(i)
	for r := range b.readers {
		if r.waiting && r.pos >= from && r.pos < to {
			r.nudge() // now they may see it
		}
	}
	return nil
}

// forget drops the memory of part i. Callers hold b.mu.
func (b *Body) forget(i int) {
	if pt := b.parts[i]; pt != nil {
		pt.release()
		delete(b.parts, i)
	}
}

// shelter keeps block i, whose digest is d, in memory, as the store would not
// take it: the class that is here gets it though nothing is kept. The fetch
// waits for its readers then instead of running ahead of them.
func (b *Body) shelter(s *segment, i int, d block.Digest, cause error) error {
	b.mu.Lock()
	if len(b.homeless) == 0 {
		b.m.log.Warn("a body is passed through: its blocks can't be kept", "err", cause)
	}
	b.homeless = append(b.homeless, homeless{i, d})
	b.m.memory.sheltered.Add(1)
	b.mu.Unlock()
	for waited := time.Duration(0); ; waited += 20 * time.Millisecond {
		if b.evictHomeless(waited >= homelessWait) {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// homeless is a whole block that the store had no room for.
type homeless struct {
	i int
	d block.Digest
}

// evictHomeless makes room for the next block and reports whether there is
// any. The oldest one goes when all who come to it have read it, or at once.
func (b *Body) evictHomeless(atOnce bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.homeless); n <= 1 || n < homelessParts && b.m.memory.sheltered.Load() <= shelteredBlocks {
		return true
	}
	h := b.homeless[0]
	from, to := b.extent(h.i)
	for r := range b.readers {
		if r.stuck || r.pos >= to || r.end <= from {
			continue
		}
		if !atOnce {
			return false
		}
		r.stuck = true // it is not waited for again until it moves
	}
	b.homeless = slices.Delete(b.homeless, 0, 1)
	b.m.memory.sheltered.Add(-1)
	b.forget(h.i)
	b.unhold(h.i, h.d)
	return true
}

// clearHomeless forgets that blocks have no room. Callers hold b.mu.
func (b *Body) clearHomeless() {
	b.m.memory.sheltered.Add(-int64(len(b.homeless)))
	b.homeless = nil
}

func (b *Body) isHomeless(i int) bool {
	return slices.ContainsFunc(b.homeless, func(h homeless) bool { return h.i == i })
}
