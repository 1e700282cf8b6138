package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"preau/cache/block"
)

const (
	// A segment of which relabelFrom/relabelOf or more is kept is relabelled.
	// To copy a share k of a segment costs k/(1-k) bytes written for each byte
	// freed: three at this share, nineteen where 95 % are kept. Beyond it, it
	// is cheaper to go on to a segment of which less is wanted, and to leave
	// the little that this one has to give for its next turn.
	relabelFrom, relabelOf = 3, 4
	// Of a segment smaller than this share of a full one, all may be copied:
	// that costs little, and there are fewer folders in the end.
	smallShare = 8
)

// movingKey marks the context of what happens on behalf of a retirement.
type movingKey struct{}

func isMoving(ctx context.Context) bool { return ctx.Value(movingKey{}) != nil }

// retire has the keeper judge g, and removes g or, if nearly all of it is kept,
// relabels it. It returns whether anything was gained by that: room, or blocks
// that are no longer kept and will be room on a later lap. The caller holds the
// trim token.
func (s *Store) retire(ctx context.Context, g *segment) (gain bool, err error) {
	if !g.hold() {
		return false, nil
	}
	defer g.release()
	ctx = context.WithValue(ctx, movingKey{}, true)
	// From before the keeper decides, nobody may count on what lies here.
	g.retiring.Store(true)
	defer func() {
		if !g.removed.Load() {
			g.retiring.Store(false)
		}
	}()
	id := g.id()
	keep, err := s.keeper.Retire(ctx, g.ring(), id)
	if err == nil {
		gain, err = s.carryOut(ctx, g, keep)
	}
	if err != nil {
		return false, fmt.Errorf("retire segment %d: %w", id, err)
	}
	return gain, nil
}

// carryOut does what the keeper decided about g.
func (s *Store) carryOut(ctx context.Context, g *segment, keep []Keep) (gain bool, err error) {
	for _, k := range keep {
		if int(k.Ring) >= len(s.rings) {
			return false, fmt.Errorf("keep block %s: there is no ring %d", k.Digest, k.Ring)
		}
	}
	c := s.sortOut(g, keep)
	live := g.live.Load()
	small := live < s.segment/smallShare
	if c.bytes*relabelOf >= live*relabelFrom && !small && c.bytes > 0 || !s.planCarry(c) {
		dropped, err := s.relabel(ctx, g, c.to, keep)
		return dropped > live/32, err
	}
	defer s.endCarry()
	if err := s.carry(ctx, c); err != nil {
		return false, err
	}
	s.met.retired.Inc()
	// What was written takes up a segment again sooner or later.
	return c.bytes == 0 || c.bytes*16 < live*15, nil
}

// relabel makes g the newest segment of ring to, without those of its blocks
// that keep does not name. It frees nothing, and returns the length of those.
func (s *Store) relabel(ctx context.Context, g *segment, to block.Ring, keep []Keep) (dropped int64, err error) {
	wanted := make(map[block.Digest]bool, len(keep))
	kept := make([]block.Digest, 0, len(keep))
	for _, k := range keep {
		if _, ok := g.find(k.Digest); ok && !wanted[k.Digest] {
			wanted[k.Digest] = true
			kept = append(kept, k.Digest)
		}
	}
	id, err := s.nextNumber()
	if err != nil {
		return 0, err
	}
	// Numbers are claimed on disk before they are used, so a crash from here
	// on can leave the keeper with notes on a number that no segment has, but
	// never with a second segment of that number.
	s.reached("numbered")
	from := g.id()
	if err := s.keeper.Relabelled(ctx, from, id, kept); err != nil {
		return 0, err
	}
	s.reached("told")
	if dropped, err = g.dropOthers(wanted); err != nil {
		// They are back after a restart, without an owner.
		s.log.WarnContext(ctx, "drops not noted on disk", "segment", from, "err", err)
	}
	s.reached("dropped")
	if err := s.rename(g, label{id: id, ring: to, dir: s.segmentDir(s.rings[to], id)}); err != nil {
		s.keeper.Retired(ctx, id)
		return 0, err
	}
	s.reached("renamed")
	s.met.relabels.Inc()
	if err := s.measure(g); err != nil {
		s.log.WarnContext(ctx, "segment not measured", "segment", id, "err", err)
	}
	// After a power cut the folder may have its old name again, and then the
	// keeper must still know that one.
	if err := syncDir(filepath.Join(s.cfg.Dir, segments)); err != nil {
		return 0, err
	}
	s.keeper.Retired(ctx, from)
	s.reached("forgotten")
	return dropped, nil
}

// rename gives g, its folder included, the name l.
func (s *Store) rename(g *segment, l label) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.removed.Load() {
		return errors.New("segment was given up meanwhile")
	}
	if err := os.Rename(g.dir(), l.dir); err != nil {
		return fmt.Errorf("relabel segment: %w", err)
	}
	s.replaceList(func(list []*segment) []*segment {
		g.name.Store(&l)
		return list
	})
	return nil
}

func (s *Store) reached(step string) {
	if s.step != nil {
		s.step(step)
	}
}
