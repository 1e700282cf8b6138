package badgerblock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"preau/cache/block"
)

const (
	// laps is how often in a row all segments of a ring may be asked about
	// without anything coming of it. An object that was touched outlives a lap
	// for each touch the policy counts; what outlives these is pinned or in use,
	// and another ring has to make the room.
	laps = 5
	// lapsAgain is the same for the attempts after one that failed: what was
	// touched before has lost its touches then.
	lapsAgain = 1
	// Between failed attempts the store says at once that it has no room, for
	// minStuck at first, and then for longer each time, unless others give some
	// back.
	minStuck = time.Second
	maxStuck = time.Minute
	// relief is the part of a segment by which the headroom must have grown for
	// the store to try again before that time is over.
	relief = 4
	// heldSegments is how many segments' room may be removed but still read
	// from before the store stops removing more of that kind: readers that
	// stall must not cost everything that is stored.
	heldSegments = 2
)

// makeRoom retires segments until there is room for a new one. It returns
// block.ErrNoSpace if that cannot be had.
func (s *Store) makeRoom(ctx context.Context) error {
	if s.roomFor(1, false) && !s.short() {
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
	barren := make([]int, len(s.rings)) // since anything was gained
	for !s.roomFor(1, false) || s.short() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.closed.Load() {
			return ErrClosed
		}
		if time.Now().Before(s.stuckUntil) && !s.relieved() {
			return block.ErrNoSpace
		}
		s.sealFull()
		g := s.oldest(func(r block.Ring) bool { return barren[r] <= s.mostBarren(r) })
		if g == nil && slices.Max(barren) > 0 {
			return s.stuck(ctx, errors.New("everything is pinned or in use"))
		} else if g == nil {
			return s.stuck(ctx, errors.New("there is no segment to retire"))
		}
		from := g.ring()
		gain, err := s.retire(ctx, g)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.stuck(ctx, err)
		}
		if gain {
			clear(barren)
			continue
		}
		barren[from]++
	}
	if s.stuckFor > 0 {
		s.stuckFor = 0
		s.log.InfoContext(ctx, "room for new blocks again")
	}
	return nil
}

// mostBarren is how many segments of ring r may be asked about for nothing
// before it is passed over.
func (s *Store) mostBarren(r block.Ring) int {
	n := laps
	if s.stuckFor > 0 {
		n = lapsAgain
	}
	of := 0
	for _, g := range s.all() {
		if g.ring() == r {
			of++
		}
	}
	return n * of
}

// stuck notes that no room can be made for some time, and says so once.
func (s *Store) stuck(ctx context.Context, why error) error {
	if s.stuckFor == 0 {
		s.log.WarnContext(ctx, "no room for new blocks: they are refused until there is", "err", why)
	}
	s.stuckFor = min(max(2*s.stuckFor, minStuck), maxStuck)
	s.stuckUntil = time.Now().Add(s.stuckFor)
	s.stuckRoom = s.headroom()
	return fmt.Errorf("%w: %w", block.ErrNoSpace, why)
}

// relieved reports whether there is so much more headroom than there was since
// the last failed attempt that another one is worth its cost at once. Run asks
// every second. The caller holds the trim token.
func (s *Store) relieved() bool {
	room := s.headroom()
	s.stuckRoom = min(s.stuckRoom, room)
	if room-s.stuckRoom < s.geo.cost/relief {
		return false
	}
	s.stuckUntil, s.stuckFor = time.Time{}, min(s.stuckFor, minStuck)
	return true
}

// oldest returns the segment to retire next of those rings that may be asked,
// nil if there is none.
func (s *Store) oldest(may func(block.Ring) bool) *segment {
	used := s.ringBytes()
	for r := range used {
		if !may(block.Ring(r)) {
			used[r] = 0 // what it holds can't be had
		}
	}
	if r := s.keeper.NextRing(slices.Clone(used)); int(r) < len(s.rings) && may(r) {
		if g := s.oldestOf(r); g != nil {
			return g
		}
	}
	// By use, the largest first.
	var order []block.Ring
	for r := range s.rings {
		if may(block.Ring(r)) {
			order = append(order, block.Ring(r))
		}
	}
	slices.SortStableFunc(order, func(a, b block.Ring) int { return cmp.Compare(used[b], used[a]) })
	for _, r := range order {
		if g := s.oldestOf(r); g != nil {
			return g
		}
	}
	return nil
}

// oldestOf returns the segment of ring r to retire next. One that is being read
// has to wait, as removing it would free nothing, unless all of them are. If
// none is sealed, what is being written is, early.
func (s *Store) oldestOf(r block.Ring) *segment {
	all := s.all()
	var held *segment
	for _, g := range slices.Backward(all) {
		if g.ring() != r || !g.sealed() {
			continue
		}
		if g.refs.Load() <= 1 {
			return g
		}
		if held == nil {
			held = g
		}
	}
	if held != nil {
		if s.pending.Load() >= heldSegments*s.geo.cost {
			return nil
		}
		return held
	}
	for _, r := range []*ring{s.carriers[r], s.rings[r]} {
		r.mu.Lock()
		g := r.active
		if g != nil && (g.w.n == 0 || g.refs.Load() > 1) {
			g = nil
		}
		if g != nil {
			r.fillUp()
		}
		r.mu.Unlock()
		if g == nil {
			continue
		}
		if s.sealFull(); g.sealed() {
			return g
		}
	}
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
	g.mu.Lock() // it must not get another name meanwhile
	err := removeSegment(g.dir())
	g.mu.Unlock()
	if err != nil {
		s.log.Warn("segment not removed", "segment", g.id(), "err", err)
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
		s.log.Warn("disk is full: segment given up", "segment", all[i].id(), "free", free, "want", n)
		s.remove(all[i])
	}
}
