package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"preau/cache/block"
)

const (
	// stuckAfter is how many retirements in a row may free next to nothing
	// before the store says that there is no space: what is left is pinned,
	// and copying it round and round wears out the disk.
	stuckAfter = 4
	// stuckFor is how long it says so before it looks again.
	stuckFor = 10 * time.Second
)

// Usage is what a store takes and may take.
type Usage struct {
	Bytes       int64   // disk space in use, with Config.ExtraUsage
	BudgetBytes int64   // what may be used now: the budget, or less if the disk is short
	Rings       []int64 // disk space of each ring
	Segments    int
	Full        bool // nothing more can be kept at the moment
}

// Usage returns what the store takes now.
func (s *Store) Usage() Usage {
	u := Usage{Bytes: s.used(), Rings: s.ringBytes(), Segments: len(s.all()), Full: s.full.Load()}
	u.BudgetBytes = s.cfg.BudgetBytes
	if free, _, err := s.space(s.cfg.Dir); err == nil {
		u.BudgetBytes = s.limit(u.Bytes, free)
	}
	return u
}

// Full reports whether the last block could not be kept for lack of room.
func (s *Store) Full() bool { return s.full.Load() }

func (s *Store) ringBytes() []int64 {
	sum := make([]int64, len(s.rings))
	for _, g := range s.all() {
		sum[g.ring] += g.disk.Load()
	}
	return sum
}

// used is the disk space that counts against the budget.
func (s *Store) used() int64 {
	n := s.foreign + s.pending.Load()
	for _, g := range s.all() {
		n += g.disk.Load()
	}
	if s.cfg.ExtraUsage != nil {
		n += s.cfg.ExtraUsage()
	}
	return n
}

// limit is how much may be used with used in use and free left on the disk.
func (s *Store) limit(used, free int64) int64 {
	return max(min(s.cfg.BudgetBytes, used+free-s.reserve), 0)
}

// roomFor reports whether a new segment may be created. One more segment's
// room is kept for what is carried forward when the next is retired; moving may
// use that, and half of the reserve, since a whole segment is freed by it.
func (s *Store) roomFor(moving bool) bool {
	free, _, err := s.space(s.cfg.Dir)
	if err != nil {
		s.log.Warn("free space unknown", "err", err)
		return false
	}
	if moving {
		return free-s.geo.cost >= s.reserve/2
	}
	used := s.used()
	return used+2*s.geo.cost <= s.limit(used, free)
}

// short reports whether the disk has less than the reserve left.
func (s *Store) short() bool {
	free, _, err := s.space(s.cfg.Dir)
	return err != nil || free < s.reserve
}

// makeRoom retires segments until there is room for a new one. It returns
// block.ErrNoSpace if that cannot be had.
func (s *Store) makeRoom(ctx context.Context) error {
	if s.roomFor(false) && !s.short() {
		s.full.Store(false)
		return nil
	}
	select {
	case s.trim <- struct{}{}:
		defer func() { <-s.trim }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := s.retireSome(ctx)
	if noSpace := errors.Is(err, block.ErrNoSpace); noSpace || err == nil {
		s.full.Store(noSpace)
	}
	return err
}

func (s *Store) retireSome(ctx context.Context) error {
	for !s.roomFor(false) || s.short() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.closed.Load() {
			return ErrClosed
		}
		if time.Now().Before(s.stuckUntil) {
			return block.ErrNoSpace
		}
		s.sealFull()
		g := s.oldest()
		if g == nil {
			return block.ErrNoSpace
		}
		kept, err := s.retire(ctx, g)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.stuckUntil = time.Now().Add(stuckFor)
			s.log.WarnContext(ctx, "segment not retired", "segment", g.id, "err", err)
			return fmt.Errorf("%w: %w", block.ErrNoSpace, err)
		}
		// What was kept takes up a segment again sooner or later.
		if kept == 0 || kept*16 < g.live.Load()*15 {
			s.fruitless = 0
			continue
		}
		if s.fruitless++; s.fruitless >= stuckAfter {
			s.fruitless = 0
			s.stuckUntil = time.Now().Add(stuckFor)
			return block.ErrNoSpace
		}
	}
	return nil
}

// oldest returns the segment to retire next, nil if there is none.
func (s *Store) oldest() *segment {
	used := s.ringBytes()
	candidates := make([]*segment, len(s.rings))
	for _, g := range s.all() { // newest first, so the oldest stays
		if g.sealed() {
			candidates[g.ring] = g
		}
	}
	if r := s.keeper.NextRing(slices.Clone(used)); int(r) < len(candidates) && candidates[r] != nil {
		return candidates[r]
	}
	var best *segment
	for _, g := range candidates {
		if g != nil && (best == nil || used[g.ring] > used[best.ring]) {
			best = g
		}
	}
	return best
}

// retire carries forward what the keeper wants of g, and removes g. It returns
// how many bytes were written for that.
func (s *Store) retire(ctx context.Context, g *segment) (int64, error) {
	ctx = context.WithValue(ctx, movingKey{}, true)
	keep, err := s.keeper.Retire(ctx, g.ring, g.id)
	if err != nil {
		return 0, fmt.Errorf("retire segment %d: %w", g.id, err)
	}
	n, err := s.carry(ctx, g, keep, nil)
	if err != nil {
		return 0, fmt.Errorf("retire segment %d: %w", g.id, err)
	}
	s.met.retired.Inc()
	return n, nil
}

// movingKey marks the context of what happens on behalf of a retirement.
type movingKey struct{}

func isMoving(ctx context.Context) bool { return ctx.Value(movingKey{}) != nil }

// carry puts keep and records into other segments, tells the keeper, and
// removes g. It returns how many bytes were written.
func (s *Store) carry(ctx context.Context, g *segment, keep []Keep, records []pair) (int64, error) {
	if !g.hold() {
		return 0, nil
	}
	defer g.release()
	g.retiring.Store(true)
	moves, n, err := s.move(ctx, g, keep, records)
	if err == nil {
		err = s.keeper.Moved(ctx, g.id, moves)
	}
	if err != nil {
		g.retiring.Store(false)
		return n, err
	}
	s.remove(g)
	s.keeper.Retired(ctx, g.id)
	return n, nil
}

// move copies keep out of g. Every byte is checked on the way. What is damaged
// is left behind.
func (s *Store) move(ctx context.Context, g *segment, keep []Keep, records []pair) ([]Move, int64, error) {
	moves := make([]Move, 0, len(keep))
	m := mover{s: s, waiting: make(map[block.Ring][]*request)}
	for _, k := range keep {
		if ctx.Err() != nil {
			return nil, m.written, context.Cause(ctx)
		}
		if int(k.Ring) >= len(s.rings) {
			return nil, m.written, fmt.Errorf("keep block %s: there is no ring %d", k.Digest, k.Ring)
		}
		if other, _, ok := s.find(k.Digest, true); ok {
			moves = append(moves, Move{k.Digest, other.id})
			other.release()
			continue
		}
		p, ok := g.find(k.Digest)
		if !ok {
			continue
		}
		b := &storedBlock{s: s, g: g, digest: k.Digest, place: p}
		value, err := b.readWhole(make([]byte, p.len))
		if errors.Is(err, block.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, m.written, err
		}
		q := &request{pair: pair{blockKey(k.Digest), value}, digest: k.Digest}
		if err := m.add(ctx, k.Ring, q); err != nil {
			return nil, m.written, err
		}
	}
	for _, r := range records {
		if err := m.add(ctx, g.ring, recordRequest(r.key, r.value)); err != nil {
			return nil, m.written, err
		}
	}
	for r := range m.waiting {
		if err := m.flush(ctx, r); err != nil {
			return nil, m.written, err
		}
	}
	// The old copy goes next: a power cut must not take both.
	for _, other := range s.all() {
		if slices.Contains(m.into, other.id) && other.hold() {
			err := unix.Fsync(int(other.fd))
			other.release()
			if err != nil {
				return nil, m.written, fmt.Errorf("sync segment %d: %w", other.id, err)
			}
		}
	}
	return append(moves, m.moves...), m.written, nil
}

// mover writes what is carried forward, some blocks at a time.
type mover struct {
	s       *Store
	waiting map[block.Ring][]*request
	bytes   int // waiting
	written int64
	moves   []Move
	into    []block.Segment
}

func (m *mover) add(ctx context.Context, r block.Ring, q *request) error {
	m.waiting[r] = append(m.waiting[r], q)
	m.bytes += len(q.value)
	if m.bytes < batchBytes/2 && len(m.waiting[r]) < batchEntries {
		return nil
	}
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
		m.written += int64(len(q.value))
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

// remove takes g out of the store and off the disk. Blocks of it that are open
// stay readable, and its space counts as used until the last is closed.
func (s *Store) remove(g *segment) {
	if g.removed.Swap(true) {
		return // by freeRoom, which asks nobody
	}
	n := g.disk.Load()
	s.pending.Add(n)
	g.gone = func() { s.pending.Add(-n) }
	s.replaceList(func(list []*segment) []*segment {
		return slices.DeleteFunc(list, func(o *segment) bool { return o == g })
	})
	if err := removeSegment(g.dir); err != nil {
		s.log.Warn("segment not removed", "segment", g.id, "err", err)
	}
	g.release()
}

// removeSegment removes a segment's folder, value log first: a folder without
// one is cleared away at the next start.
func removeSegment(dir string) error {
	err := os.Remove(filepath.Join(dir, vlogName))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// freeRoom removes the oldest sealed segments, asking nobody, until the disk
// has n bytes free.
func (s *Store) freeRoom(n int64) error {
	for {
		free, _, err := s.space(s.cfg.Dir)
		if err != nil {
			return err
		}
		if free >= n {
			return nil
		}
		all := s.all()
		i := len(all) - 1
		for i >= 0 && (!all[i].sealed() || all[i].retiring.Load()) {
			i--
		}
		if i < 0 {
			return block.ErrNoSpace
		}
		s.log.Warn("disk is full: segment given up", "segment", all[i].id, "free", free, "want", n)
		s.remove(all[i])
	}
}
