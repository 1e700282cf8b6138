package fill

import (
	"bytes"
	"fmt"
	"time"

	"preau/cache/block"
)

// take puts p, the bytes at s.pos, where they belong and wakes who waits for
// them. It returns errEnough when the rest need not come.
func (b *Body) take(s *segment, p []byte) error {
	for len(p) > 0 {
		n, done, err := b.takeSome(s, p)
		if err != nil {
			return err
		}
		p = p[n:]
		if done >= 0 {
			if err := b.keep(s, done); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeSome takes the beginning of p: n bytes of one block, all of which were
// held or all of which were not. done is the index of a block that is whole
// now, or -1.
func (b *Body) takeSome(s *segment, p []byte) (n int64, done int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.length >= 0 && s.pos+int64(len(p)) > b.length {
		return 0, -1, fmt.Errorf("%w: source sends more than its length of %d bytes", ErrChanged, b.length)
	}
	i := int(s.pos / block.Size)
	from, to := b.extent(i)
	if pt := b.parts[i]; pt != nil && (!s.proven || b.have.end(s.pos) == s.pos) {
		b.load(i, pt)
	}
	if held := b.have.end(s.pos); held > s.pos {
		n = min(int64(len(p)), held-s.pos, to-s.pos)
		if n, err = b.repeat(s, i, p[:n], held); err == nil {
			s.pos += n
		}
		return n, -1, err
	}
	n = b.have.next(s.pos, min(s.pos+int64(len(p)), to)) - s.pos
	pt := b.part(i)
	pt.from(s)
	pt.write(s.pos-from, p[:n])
	b.have = b.have.add(s.pos, s.pos+n)
	b.trouble, b.failures = time.Time{}, 0
	for r := range b.readers {
		if r.waiting && r.pos >= s.pos && r.pos < s.pos+n {
			r.nudge()
		}
	}
	s.pos += n
	if !b.wholePart(i) {
		return n, -1, nil
	}
	if pt.by == s && s.known != nil {
		if d, ok := s.known.Digest(i); ok {
			pt.digest = d
		}
	}
	return n, i, nil
}

// wholePart reports whether all bytes of block i are in memory and it is not
// stored yet. Callers hold b.mu.
func (b *Body) wholePart(i int) bool {
	pt := b.parts[i]
	from, to := b.extent(i)
	if pt == nil || pt.stored || to <= from {
		return false
	}
	return pt.have.covers(0, to-from)
}

// enough reports whether s, which has come to bytes that are held up to held,
// has nothing more to bring that is worth reading over them. Callers hold b.mu.
func (b *Body) enough(s *segment, held int64) bool {
	if s.pos < s.asked {
		return false
	}
	if held >= min(s.to, b.end()) {
		return true
	}
	for o := range b.segs {
		if o != s && o.ctx.Err() == nil && o.pos >= s.pos && o.pos <= held && o.to > held {
			return true // another fetch is bringing what follows
		}
	}
	return b.ranges() && s.proven && held-s.pos > b.planner().skip
}

// repeat deals with p, bytes of block i that are held already, up to held: read
// over if they are few or must be compared, else the fetch has brought enough.
// It returns how many it has dealt with. Callers hold b.mu.
func (b *Body) repeat(s *segment, i int, p []byte, held int64) (int64, error) {
	if b.enough(s, held) {
		return 0, errEnough
	}
	if !s.proven {
		n, same := b.compare(s, i, p)
		if !same {
			return 0, fmt.Errorf("%w: block %d differs", ErrChanged, i)
		}
		p = p[:n]
	}
	b.m.metrics.duplicates.Add(float64(len(p)))
	b.dup += int64(len(p))
	return int64(len(p)), nil
}

// compare reports whether p is what is held at s.pos in block i. n is 0 if it
// turns out not to be held any more. Callers hold b.mu.
func (b *Body) compare(s *segment, i int, p []byte) (n int, same bool) {
	from, to := b.extent(i)
	at := s.pos - from
	if pt := b.parts[i]; pt != nil && pt.have.end(at) >= at+int64(len(p)) {
		return len(p), pt.equal(at, p)
	}
	if i >= len(b.blocks) || b.blocks[i].IsZero() {
		return 0, false
	}
	if s.repeats != i {
		if s.repeated == nil {
			s.repeated = whole.Get().(*[block.Size]byte)
		}
		if err := b.readStored(b.blocks[i], s.repeated[:to-from]); err != nil {
			b.lost(i, b.blocks[i])
			return 0, true
		}
		s.repeats = i
	}
	return len(p), bytes.Equal(s.repeated[at:at+int64(len(p))], p)
}
