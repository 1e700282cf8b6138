package fill

import (
	"errors"
	"slices"
	"time"

	"preau/cache/block"
)

// What is passed on is in memory for as long as somebody may want it, and no
// longer: the disk of the one who keeps it is a network away.
const (
	// passedParts is how many whole blocks of a body are held for those who follow
	// its fetch. The fetch waits for its reader rather than run further ahead.
	passedParts = 4
	// passedBlocks is how many over all bodies. A body that needs more is kept.
	passedBlocks = 12
	// passWait is how long a fetch waits for a reader. Who stands still for longer
	// comes back for the rest, or for all of it: the body is kept.
	passWait = 10 * time.Second
)

// passing reports whether the body is but passed on, as far as is known. Callers
// hold b.mu.
func (b *Body) passing() bool { return b.spec.Pass != nil && !b.keeps }

// passes is passing, and asks whether it is to remain so. It is called without
// b.mu.
func (b *Body) passes() bool {
	b.mu.Lock()
	passing := b.passing()
	b.mu.Unlock()
	if passing && !b.spec.Pass() {
		b.keepOn()
		return false
	}
	return passing
}

// keepOn has the body kept from now on, with what of it is in memory.
func (b *Body) keepOn() {
	b.mu.Lock()
	if !b.passing() {
		b.mu.Unlock()
		return
	}
	b.keeps = true
	held := slices.Clone(b.passed)
	b.clearPassed()
	b.mu.Unlock()
	for _, h := range held {
		if _, err := b.put(h.i); err != nil && !errors.Is(err, ErrChanged) {
			b.m.log.Debug("a block that was passed on could not be kept", "err", err) // its readers have it
		}
	}
}

// clearPassed forgets which blocks are held for readers only. Callers hold b.mu.
func (b *Body) clearPassed() {
	b.m.memory.passing.Add(-int64(len(b.passed)))
	b.passed = nil
}

// passOn has readers get block i, all of which is in memory, and waits until
// there is room for the next one.
func (b *Body) passOn(s *segment, i int) error {
	if ok, err := b.pass(i); err != nil || !ok {
		return err
	}
	defer b.waitsForReaders()()
	var late, again *time.Timer
	for {
		switch room, kept := b.makeRoom(); {
		case kept:
			b.keepOn()
			return nil
		case room:
			return nil
		}
		if late == nil {
			late, again = time.NewTimer(passWait), time.NewTimer(passWait)
			defer late.Stop()
			defer again.Stop()
		}
		again.Reset(passWait / 100) // a reader that left tells nobody
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-late.C:
			b.keepOn()
			return nil
		case <-b.moved:
		case <-again.C:
		}
	}
}

// pass takes note that block i is whole; false if it was before.
func (b *Body) pass(i int) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	has := func(h homeless) bool { return h.i == i }
	if !b.wholePart(i) || slices.ContainsFunc(b.passed, has) {
		return false, nil
	}
	pt := b.parts[i]
	if pt.digest.IsZero() {
		from, to := b.extent(i)
		buf := whole.Get().(*[block.Size]byte)
		pt.read(0, buf[:to-from])
		pt.digest = block.Sum(buf[:to-from])
		whole.Put(buf)
	}
	if err := b.expected(i, pt.digest); err != nil {
		return false, err
	}
	b.passed = append(b.passed, homeless{i, pt.digest})
	b.m.memory.passing.Add(1)
	return true, nil
}

// makeRoom forgets blocks that all have read until there is room for another.
// keep says that there won't be any.
func (b *Body) makeRoom() (room, keep bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.passed) > passedParts || b.m.memory.passing.Load() > passedBlocks {
		k := slices.IndexFunc(b.passed, func(h homeless) bool { return !b.needed(h.i) })
		if k < 0 {
			// One who is far behind another would have it all fetched once more.
			return false, len(b.readers) > 1 || b.m.memory.passing.Load() > passedBlocks
		}
		h := b.passed[k]
		b.passed = slices.Delete(b.passed, k, k+1)
		b.m.memory.passing.Add(-1)
		b.forget(h.i)
		b.unhold(h.i, h.d)
	}
	return true, false
}

// needed reports whether a reader has yet to come to some of block i. Callers
// hold b.mu.
func (b *Body) needed(i int) bool {
	from, to := b.extent(i)
	for r := range b.readers {
		if r.pos < to && r.end > from {
			return true
		}
	}
	return false
}

// shed forgets part i of a body that is passed on, where its fetch has ended and
// nobody wants it. Callers hold b.mu.
func (b *Body) shed(i int) {
	if b.wholePart(i) || b.needed(i) {
		return
	}
	for s := range b.segs {
		if s.pos/block.Size == int64(i) && s.ctx.Err() == nil {
			return // still being written
		}
	}
	b.forget(i)
	b.have = b.have.remove(b.extent(i))
}

// waitsForReaders has those who move on tell, until done is called.
func (b *Body) waitsForReaders() (done func()) {
	b.mu.Lock()
	b.waits++
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		b.waits--
		b.mu.Unlock()
	}
}

// disown tells the owner of a body that was but passed on that nothing of it is
// kept, before anybody can open it anew.
func (b *Body) disown() {
	b.mu.Lock()
	tell := b.passing() && !b.disowned
	b.disowned = true
	b.mu.Unlock()
	if tell && b.spec.Passed != nil {
		b.spec.Passed()
	}
}
