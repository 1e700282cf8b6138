package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"preau/cache/block"
)

// survivors is what is kept of a segment.
type survivors struct {
	g       *segment
	blocks  []survivor
	moves   []Move // of blocks that lie in another segment too
	records []pair
	bytes   int64      // of blocks
	to      block.Ring // to which most of these bytes go
}

type survivor struct {
	Keep
	place place
}

// sortOut finds out what of keep is to be copied out of g.
func (s *Store) sortOut(g *segment, keep []Keep) *survivors {
	c := &survivors{g: g}
	seen := make(map[block.Digest]bool, len(keep))
	byRing := make([]int64, len(s.rings))
	for _, k := range keep {
		if seen[k.Digest] {
			continue // of several objects
		}
		seen[k.Digest] = true
		if other, ok := s.elsewhere(k.Digest); ok {
			c.moves = append(c.moves, Move{k.Digest, other})
			continue
		}
		if p, ok := g.find(k.Digest); ok {
			c.blocks = append(c.blocks, survivor{k, p})
			c.bytes += int64(p.len)
			byRing[k.Ring] += int64(p.len)
		}
	}
	for r, n := range byRing {
		if n > byRing[c.to] {
			c.to = block.Ring(r)
		}
	}
	return c
}

// elsewhere returns a segment that stays and has d, undamaged.
func (s *Store) elsewhere(d block.Digest) (block.Segment, bool) {
	for {
		g, p, ok := s.find(d, true)
		if !ok {
			return 0, false
		}
		b := &storedBlock{s: s, g: g, digest: d, place: p}
		err, id := b.check(), g.id()
		if err != nil {
			b.dropThis(err)
		}
		g.release()
		if err == nil {
			return id, true
		}
	}
}

// planCarry claims the room that copying c takes, before the first byte is
// copied. If there is not enough, all goes to one ring, and then segments that
// are not full give back what they don't use. endCarry must follow if it
// returns true.
func (s *Store) planCarry(c *survivors) bool {
	attempt := func() bool {
		n := s.segmentsFor(c)
		if n > 0 && !s.claim(n, true) {
			return false
		}
		s.toCreate = n
		return true
	}
	if attempt() {
		return true
	}
	for i := range c.blocks {
		c.blocks[i].Ring = c.to
	}
	if attempt() {
		return true
	}
	for _, r := range s.carriers {
		if r.number != c.to {
			r.mu.Lock()
			r.fillUp()
			r.mu.Unlock()
		}
	}
	s.sealFull()
	return attempt()
}

// endCarry gives back what was claimed and not used.
func (s *Store) endCarry() {
	s.unclaim(s.toCreate)
	s.toCreate = 0
}

// segmentsFor is how many new segments copying c takes.
func (s *Store) segmentsFor(c *survivors) (n int64) {
	for _, r := range s.carriers {
		r.mu.Lock()
		var f fill // with no room at all
		if r.active != nil {
			f = r.active.w.fill
		}
		r.mu.Unlock()
		add := func(key, value int) {
			// Each entry may become a transaction of its own.
			if value += commitOverhead; !f.fits(key, value) {
				f = fill{geo: s.geo, size: vlogHeader}
				n++
			}
			f.add(key, value)
		}
		for _, b := range c.blocks {
			if b.Ring == r.number {
				add(blockKeyLen, int(b.place.len))
			}
		}
		if c.g.ring() == r.number {
			for _, p := range c.records {
				add(len(p.key)+1, len(p.value))
			}
		}
	}
	return n
}

// carry puts c into other segments, tells the keeper, and removes the segment.
func (s *Store) carry(ctx context.Context, c *survivors) error {
	id := c.g.id()
	moves, err := s.move(ctx, c)
	if err == nil {
		err = s.keeper.Moved(ctx, id, moves)
	}
	if err != nil {
		return err
	}
	s.remove(c.g)
	s.keeper.Retired(ctx, id)
	return nil
}

// move copies c. Every byte is compared with its digest on the way, as it gets
// a new checksum. What is damaged is left behind.
func (s *Store) move(ctx context.Context, c *survivors) ([]Move, error) {
	m := mover{s: s, waiting: make(map[block.Ring][]*request), moves: c.moves}
	for _, k := range c.blocks {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b := &storedBlock{s: s, g: c.g, digest: k.Digest, place: k.place}
		b.doubt()
		value, err := b.readHashed(make([]byte, k.place.len))
		if errors.Is(err, block.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		q := &request{pair: pair{blockKey(k.Digest), value}, digest: k.Digest}
		if err := m.add(ctx, k.Ring, q); err != nil {
			return nil, err
		}
	}
	for _, r := range c.records {
		if err := m.add(ctx, c.g.ring(), recordRequest(r.key, r.value)); err != nil {
			return nil, err
		}
	}
	if err := m.flushAll(ctx); err != nil {
		return nil, err
	}
	// The old copy goes next: a power cut must not take both.
	for _, other := range s.all() {
		if slices.Contains(m.into, other.id()) && other.hold() {
			err := unix.Fsync(int(other.fd))
			other.release()
			if err != nil {
				return nil, fmt.Errorf("sync segment %d: %w", other.id(), err)
			}
		}
	}
	return m.moves, nil
}

// mover writes what is carried forward, some blocks at a time.
type mover struct {
	s       *Store
	waiting map[block.Ring][]*request
	bytes   int // waiting
	moves   []Move
	into    []block.Segment
}

func (m *mover) add(ctx context.Context, r block.Ring, q *request) error {
	m.waiting[r] = append(m.waiting[r], q)
	m.bytes += len(q.value)
	if m.bytes < batchBytes/2 && len(m.waiting[r]) < batchEntries {
		return nil
	}
	return m.flushAll(ctx)
}

func (m *mover) flushAll(ctx context.Context) error {
	for r := range m.waiting {
		if err := m.flush(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (m *mover) flush(ctx context.Context, r block.Ring) error {
	qs := m.waiting[r]
	if len(qs) == 0 {
		return nil
	}
	m.s.write(ctx, m.s.rings[r], qs, true)
	for _, q := range qs {
		if q.err != nil {
			return fmt.Errorf("carry forward: %w", q.err)
		}
		m.bytes -= len(q.value)
		m.s.met.moved.Add(float64(len(q.value)))
		if !q.record {
			m.moves = append(m.moves, Move{q.digest, q.seg})
		}
		if !slices.Contains(m.into, q.seg) {
			m.into = append(m.into, q.seg)
		}
	}
	m.waiting[r] = nil
	return nil
}
