package fill

import (
	"context"
	"maps"
	"slices"
	"time"

	"preau/cache/block"
)

// diskTime is how long one write may take before it is given up.
const diskTime = 30 * time.Second

// onDisk returns the context of a write. It is not the fetch's: what is held
// must be kept also when the fetch was ended.
func onDisk() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), diskTime)
}

// allStored reports whether the store has every block. Callers hold b.mu.
func (b *Body) allStored() bool {
	return b.length >= 0 && len(b.blocks) == block.NumBlocks(b.length) &&
		!slices.ContainsFunc(b.blocks, block.Digest.IsZero)
}

// manifest describes what the store holds. Callers hold b.mu.
func (b *Body) manifest() block.Manifest {
	m := block.Manifest{Length: b.length, Blocks: slices.Clone(b.blocks), SHA256: b.sha256}
	for _, pt := range b.parts {
		if !pt.stored {
			m.Pieces = append(m.Pieces, pt.onDisk...)
		}
	}
	slices.SortFunc(m.Pieces, func(x, y block.Piece) int { return int(x.Off - y.Off) })
	return m
}

// save keeps the manifest if anything changed since it was kept last.
func (b *Body) save() {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	if !b.dirty || b.left || b.passing() {
		b.mu.Unlock()
		return
	}
	m := b.manifest()
	segs := slices.Collect(maps.Keys(b.touched))
	round := b.round
	b.touched, b.dirty, b.saved = nil, false, time.Now()
	b.round++
	b.mu.Unlock()
	ctx, cancel := onDisk()
	defer cancel()
	err := b.spec.Save(ctx, m, segs)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.noted(round)
		return
	}
	b.m.log.Warn("what is held of a body could not be recorded", "err", err)
	b.dirty = true
	for _, s := range segs {
		b.touch(s)
	}
}

func (b *Body) touch(s block.Segment) {
	if b.touched == nil {
		b.touched = map[block.Segment]struct{}{}
	}
	b.touched[s] = struct{}{}
}

// settle puts what is in memory into the store and keeps the manifest, unless the
// body is but passed on.
func (b *Body) settle() {
	if b.passes() {
		return
	}
	b.mu.Lock()
	b.clearHomeless() // there may be room now
	parts := slices.Collect(maps.Keys(b.parts))
	b.mu.Unlock()
	for _, i := range parts {
		b.spill(i)
	}
	b.mu.Lock()
	whole := b.keeps && b.allStored()
	b.mu.Unlock()
	if whole {
		b.finish() // what was passed on till now
		return
	}
	b.save()
}

// drop gives back the memory of all parts.
func (b *Body) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pt := range b.parts {
		pt.release()
	}
	b.recent = nil
	b.clearHomeless()
	b.clearPassed()
}

// spill moves the bytes of part i from memory to the store: as a block if all
// are there, else as pieces. What the store does not take stays in memory for
// its readers, and is lost with them.
func (b *Body) spill(i int) {
	b.mu.Lock()
	pt := b.parts[i]
	if pt == nil || pt.stored || b.left || len(pt.have) == 0 || b.isHomeless(i) {
		b.mu.Unlock()
		return
	}
	if b.passing() {
		b.shed(i)
		b.mu.Unlock()
		return
	}
	if b.wholePart(i) {
		b.mu.Unlock()
		// Its fetch was ended before it could store it, or did not know that it
		// had come to the end.
		if _, err := b.put(i); err != nil {
			b.m.log.Debug("a block could not be kept", "err", err)
		}
		return
	}
	for s := range b.segs {
		if s.pos/block.Size == int64(i) && s.ctx.Err() == nil {
			b.mu.Unlock() // still being written
			return
		}
	}
	if b.doubted(i) {
		b.mu.Unlock() // perhaps of another version
		return
	}
	from, _ := b.extent(i)
	var pieces []block.Piece
	var data [][]byte
	for _, sp := range pt.have {
		buf := make([]byte, sp.to-sp.from)
		pt.read(sp.from, buf)
		pieces, data = append(pieces, block.Piece{Off: from + sp.from, Len: len(buf)}), append(data, buf)
	}
	size := pt.have.size()
	b.mu.Unlock()
	for k, p := range data {
		pieces[k].Digest = block.Sum(p)
	}
	b.mu.Lock()
	for _, p := range pieces {
		b.putting(p.Digest)
	}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range pieces {
			b.came(p.Digest)
		}
	}()

	ctx, cancel := onDisk()
	defer cancel()
	var segs []block.Segment
	for k, p := range data {
		seg, err := b.m.store.Put(ctx, b.spec.Ring, pieces[k].Digest, p)
		if err != nil {
			b.m.log.Debug("a part of a block could not be kept", "err", err)
			return
		}
		segs = append(segs, seg)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parts[i] != pt || pt.stored || pt.have.size() != size {
		return // it grew meanwhile; the next end of a fetch spills it
	}
	// What was on disk had been loaded before anything was added to it.
	pt.onDisk, pt.loaded = pieces, false
	pt.release()
	for k, s := range segs {
		b.note(pieces[k].Digest, s)
	}
}

// load brings the pieces of part i that an earlier fill left back to memory,
// for a fetch that goes on with it. Callers hold b.mu.
func (b *Body) load(i int, pt *part) {
	if pt.loaded || len(pt.onDisk) == 0 {
		return
	}
	from, _ := b.extent(i)
	for _, p := range slices.Clone(pt.onDisk) {
		buf := make([]byte, p.Len)
		if err := b.readStored(p.Digest, buf); err != nil {
			b.lostPiece(i, p)
			continue
		}
		pt.write(p.Off-from, buf)
	}
	pt.loaded = true
}

// readStored fills buf with the block named d, which must be as long.
func (b *Body) readStored(d block.Digest, buf []byte) error {
	bl, err := b.m.store.Open(d)
	if err != nil {
		return err
	}
	defer func() { _ = bl.Close() }() // nothing was written
	if bl.Len() != len(buf) {
		return block.ErrNotFound
	}
	if n, err := bl.ReadAt(buf, 0); n < len(buf) {
		return err
	}
	return nil
}

// lost forgets block i, whose bytes d are not in the store any more. What
// comes for it again must be the same. Callers hold b.mu.
func (b *Body) lost(i int, d block.Digest) {
	if i >= len(b.blocks) || b.blocks[i] != d {
		return
	}
	b.losses++
	if _, ok := b.m.store.Has(d); ok {
		return // it was lost to one who looked earlier, and has come again since
	}
	b.own(i)
	b.blocks[i] = block.Digest{}
	// Else its place would be taken for stored when it has been fetched again.
	b.recent = slices.DeleteFunc(b.recent, func(k int) bool { return k == i })
	b.forget(i)
	b.unhold(i, d)
	b.dirty = true
	b.m.metrics.refetched.Inc()
}

// unhold makes block i, whose bytes were d, one that must be fetched again.
func (b *Body) unhold(i int, d block.Digest) {
	b.have = b.have.remove(b.extent(i))
	if b.expect == nil {
		b.expect = map[int]block.Digest{}
	}
	b.expect[i] = d
}

// lostPiece forgets a piece of block i that is not in the store any more.
// Callers hold b.mu.
func (b *Body) lostPiece(i int, p block.Piece) {
	pt := b.parts[i]
	if pt == nil {
		return
	}
	k := slices.Index(pt.onDisk, p)
	if k < 0 {
		return
	}
	pt.onDisk = slices.Delete(slices.Clone(pt.onDisk), k, k+1)
	b.dirty = true
	if pt.loaded {
		return // it is in memory too
	}
	b.have = b.have.remove(p.Off, p.Off+int64(p.Len))
	b.m.metrics.refetched.Inc()
	if b.ranges() {
		return
	}
	// Nothing may prove that what comes in its place is the same, so those who
	// have had it can't go on.
	for r := range b.readers {
		if r.pos > p.Off {
			r.broken = true
			r.nudge()
		}
	}
}

// tooManyLost reports whether the store loses what it is given, beyond each
// block once. Callers hold b.mu.
func (b *Body) tooManyLost() bool {
	return b.losses > mostLosses+len(b.blocks)
}
