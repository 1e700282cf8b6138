package fill

import (
	"time"

	"preau/cache/block"
)

// given takes the next block of s with its memory, if it is nowhere yet and giver,
// unless nil, has it to give.
func (b *Body) given(s *segment, st *Stream, giver Giver) (bool, error) {
	if giver == nil {
		return false, nil
	}
	b.mu.Lock()
	fits := b.blank(s) && (st.To < 0 || st.To >= min(s.pos+block.Size, b.length))
	b.mu.Unlock()
	if !fits {
		return false, nil
	}
	chunks, n := giver.Give()
	s.silent.Stop()
	if chunks == nil {
		s.silent.Reset(b.m.cfg.Patience)
		return false, s.ctx.Err()
	}
	if err := b.takeChunks(s, chunks, n); err != nil {
		return true, err
	}
	return true, s.ctx.Err()
}

// blank reports whether s is at the beginning of a block of which nothing is there.
// Callers hold b.mu.
func (b *Body) blank(s *segment) bool {
	i := int(s.pos / block.Size)
	from, to := b.extent(i)
	return b.length >= 0 && s.pos == from && from < to && b.parts[i] == nil &&
		b.have.end(from) <= from && b.have.next(from, to) >= to
}

// takeChunks is take for a block that comes with its memory.
func (b *Body) takeChunks(s *segment, chunks []*block.Chunk, n int64) error {
	b.mu.Lock()
	i := int(s.pos / block.Size)
	from, to := b.extent(i)
	if !b.blank(s) || n != to-from {
		b.mu.Unlock()
		return b.takeCopies(s, chunks, n) // another fetch has begun the same one
	}
	pt := b.part(i)
	pt.from(s)
	pt.fill(chunks, n)
	if d, ok := s.known.Digest(i); ok {
		pt.digest = d
	}
	b.have = b.have.add(from, to)
	b.trouble, b.failures = time.Time{}, 0
	for r := range b.readers {
		if r.waiting && r.pos >= from && r.pos < to {
			r.nudge()
		}
	}
	s.pos = to
	b.mu.Unlock()
	return b.keep(s, i)
}

// takeCopies takes what lies in chunks, and gives them back.
func (b *Body) takeCopies(s *segment, chunks []*block.Chunk, n int64) (err error) {
	for _, c := range chunks {
		if k := min(n, chunkSize); err == nil && k > 0 {
			err = b.take(s, c[:k])
			n -= k
		}
		block.PutChunk(c)
	}
	return err
}
