package object

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"preau/cache/block"
)

// Kept is a block that outlives its segment, and the ring it goes to.
type Kept struct {
	Digest block.Digest
	Ring   block.Ring
}

// Move tells where a kept block went.
type Move struct {
	Digest block.Digest
	To     block.Segment
}

// NextRing asks the policy from which ring to make room.
func (s *Store) NextRing(used []int64) block.Ring { return s.policy.NextRing(used) }

// Retire decides for every object with blocks in segment seg whether it stays,
// forgets those that don't, and returns the blocks of those that do. Blocks
// that lie in other segments are listed too; the caller passes over them.
func (s *Store) Retire(ctx context.Context, ring block.Ring, seg block.Segment) ([]Kept, error) {
	unsaved := s.cfg.Unsaved(seg) // first: what is saved from here on is among the owners
	owners, err := s.ownerList(ctx, seg)
	if err != nil {
		return nil, err
	}
	var keep []Kept
	moving := map[block.Digest][]owner{}
	for _, w := range owners {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		set, err := s.read(w.key)
		if err != nil {
			return nil, err
		}
		o := set.ByID(w.id)
		if o == nil {
			continue // replaced or removed since
		}
		stays, to := s.judge(o, ring)
		if !stays {
			if err := s.Remove(ctx, o.Key, o.ID, "evicted"); err != nil && !errors.Is(err, ErrFull) {
				return nil, err
			}
			continue
		}
		m, err := s.Manifest(o)
		if err != nil {
			return nil, err
		}
		for d := range held(m) {
			keep = append(keep, Kept{d, to})
			moving[d] = append(moving[d], w)
		}
	}
	for _, u := range unsaved {
		set, err := s.read(u.Key)
		if err != nil {
			return nil, err
		}
		o := set.ByID(u.ID)
		if o == nil {
			continue // replaced or removed while it was being filled
		}
		to := ring
		if s.cfg.Pinned(o) {
			to = s.cfg.PinRing
		}
		for _, d := range u.Digests {
			keep = append(keep, Kept{d, to})
			moving[d] = append(moving[d], owner{u.ID, u.Key})
		}
	}
	s.mu.Lock()
	s.retiring[seg] = moving
	s.mu.Unlock()
	return keep, nil
}

// judge says whether o, with blocks in a segment of ring that goes, stays, and
// in which ring.
func (s *Store) judge(o *Object, ring block.Ring) (stays bool, to block.Ring) {
	if s.cfg.Pinned(o) {
		return true, s.cfg.PinRing
	}
	if s.cfg.InUse(o.ID) {
		return true, ring
	}
	s.mu.Lock()
	left, before := s.judged[o.ID]
	if before {
		if left--; left > 0 {
			s.judged[o.ID] = left
		} else {
			delete(s.judged, o.ID)
		}
	}
	s.mu.Unlock()
	if before {
		return true, o.Ring
	}
	stays, to = s.policy.Retire(o.Key.Hash(), ring, o.Size())
	if !stays {
		return false, ring
	}
	if o.Ring != to {
		err := s.edit(o.Key, func(set Set) (Set, []Change, error) {
			for i, x := range set {
				if x.ID == o.ID {
					c := *x
					c.Ring = to
					set[i] = &c
				}
			}
			return set, nil, nil
		})
		if err != nil {
			s.log.Warn("an object's ring could not be recorded", "err", err)
		}
	}
	if n := o.Size() / s.cfg.SegmentBytes; n > 0 {
		s.mu.Lock()
		if len(s.judged) > 10_000 { // those whose segments never came: all may be judged again
			clear(s.judged)
		}
		s.judged[o.ID] = int(n)
		s.mu.Unlock()
	}
	return true, to
}

// Moved records that blocks of segment from now lie elsewhere, and returns the
// objects they belong to.
func (s *Store) Moved(ctx context.Context, from block.Segment, moves []Move) ([]*Object, error) {
	s.mu.Lock()
	moving := s.retiring[from]
	s.mu.Unlock()
	if moving == nil { // nobody asked Retire: small segments are put together
		var unsaved []Unsaved
		asked := map[block.Segment]bool{}
		for _, mv := range moves {
			if !asked[mv.To] {
				asked[mv.To] = true
				unsaved = append(unsaved, s.cfg.Unsaved(mv.To)...)
			}
		}
		var err error
		if moving, err = s.owners(ctx, from); err != nil {
			return nil, err
		}
		for _, u := range unsaved {
			for _, d := range u.Digests {
				moving[d] = append(moving[d], owner{u.ID, u.Key})
			}
		}
	}
	var changes []Change
	var objects []*Object
	seen, known := map[string]bool{}, map[ID]bool{}
	for _, mv := range moves {
		for _, w := range moving[mv.Digest] {
			key := ownerKey(mv.To, w.id)
			if !seen[string(key)] {
				seen[string(key)] = true
				changes = append(changes, Change{Key: key, Value: w.key[:]})
			}
			if !known[w.id] {
				known[w.id] = true
				if set, err := s.read(w.key); err == nil && set.ByID(w.id) != nil {
					objects = append(objects, set.ByID(w.id))
				}
			}
		}
	}
	if err := s.kv.Write(changes); err != nil {
		return nil, fmt.Errorf("record moved blocks: %w", err)
	}
	return objects, nil
}

// owners maps the blocks of all objects with blocks in seg to those objects.
func (s *Store) owners(ctx context.Context, seg block.Segment) (map[block.Digest][]owner, error) {
	list, err := s.ownerList(ctx, seg)
	if err != nil {
		return nil, err
	}
	out := map[block.Digest][]owner{}
	for _, w := range list {
		set, err := s.read(w.key)
		if err != nil {
			return nil, err
		}
		o := set.ByID(w.id)
		if o == nil {
			continue
		}
		m, err := s.Manifest(o)
		if err != nil {
			return nil, err
		}
		for d := range held(m) {
			out[d] = append(out[d], w)
		}
	}
	return out, nil
}

func (s *Store) ownerList(ctx context.Context, seg block.Segment) ([]owner, error) {
	var owners []owner
	err := s.kv.Scan(ownerPrefix(seg), false, func(key, value []byte) error {
		if len(key) == 5+len(ID{}) && len(value) == len(Key{}) {
			owners = append(owners, owner{ID(key[5:]), Key(value)})
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list owners of segment %d: %w", seg, err)
	}
	return owners, nil
}

// held are the digests of everything held of a body.
func held(m block.Manifest) iter.Seq[block.Digest] {
	return func(yield func(block.Digest) bool) {
		for _, d := range m.Blocks {
			if !d.IsZero() && !yield(d) {
				return
			}
		}
		for _, p := range m.Pieces {
			if !yield(p.Digest) {
				return
			}
		}
	}
}

// Retired forgets who had blocks in a segment that is gone.
func (s *Store) Retired(ctx context.Context, seg block.Segment) {
	s.mu.Lock()
	delete(s.retiring, seg)
	s.mu.Unlock()
	var changes []Change
	err := s.kv.Scan(ownerPrefix(seg), true, func(key, _ []byte) error {
		changes = append(changes, Change{Key: append([]byte(nil), key...), Delete: true})
		return ctx.Err()
	})
	if err == nil {
		err = s.kv.Write(changes)
	}
	if err != nil {
		s.log.WarnContext(ctx, "owners of a removed segment could not be forgotten", "segment", seg, "err", err)
	}
}

// Restore puts back an object that was found beside its blocks, after the
// metadata was lost. seg is where the record lay.
func (s *Store) Restore(ctx context.Context, o *Object, m block.Manifest, seg func(block.Digest) (block.Segment, bool)) error {
	have, err := s.read(o.Key)
	if err != nil {
		return err
	}
	for _, x := range have {
		// Records of versions that were replaced lie about until their segment goes.
		if sameVariant(x, o) && x.ResponseTime.After(o.ResponseTime) {
			return nil
		}
	}
	if err := s.Put(ctx, o); err != nil {
		return err
	}
	segs := map[block.Segment]bool{}
	var list []block.Segment
	for _, d := range m.Blocks {
		if n, ok := seg(d); ok && !segs[n] {
			segs[n] = true
			list = append(list, n)
		}
	}
	_, err = s.SaveManifest(ctx, o.Key, o.ID, m, list)
	return err
}
