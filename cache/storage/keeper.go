package storage

import (
	"context"
	"slices"

	"preau/cache/block"
	"preau/cache/block/badgerblock"
	"preau/cache/evict"
	"preau/cache/object"
)

// keeper carries out for the body stores what the objects and the policy
// decide when a segment is retired.
type keeper struct{ s *Storage }

// NextRing leaves what is pinned out of what the policy is told.
func (k keeper) NextRing(used []int64) block.Ring {
	if int(evict.Main) < len(used) {
		used[evict.Main] = max(0, used[evict.Main]-k.s.pins.reserved())
	}
	return k.s.objects.NextRing(used)
}

func (k keeper) Retire(ctx context.Context, r block.Ring, seg block.Segment) ([]badgerblock.Keep, error) {
	kept, err := k.s.objects.Retire(ctx, r, seg)
	out := make([]badgerblock.Keep, len(kept))
	for i, b := range kept {
		out[i] = badgerblock.Keep(b)
	}
	return out, err
}

func (k keeper) Moved(ctx context.Context, from block.Segment, moves []badgerblock.Move) error {
	list := make([]object.Move, len(moves))
	for i, m := range moves {
		list[i] = object.Move(m)
	}
	objects, err := k.s.objects.Moved(ctx, from, list)
	if err != nil {
		return err
	}
	// The records lie beside the blocks and go with the segment too.
	for _, o := range objects {
		if !o.Complete {
			continue
		}
		m, err := k.s.objects.Manifest(o)
		if err != nil {
			return err
		}
		if err := k.s.record(ctx, o, m); err != nil {
			return err
		}
	}
	return nil
}

// Relabelled is Moved without copies: the records are still beside the blocks.
func (k keeper) Relabelled(ctx context.Context, from, to block.Segment, kept []block.Digest) error {
	list := make([]object.Move, len(kept))
	for i, d := range kept {
		list[i] = object.Move{Digest: d, To: to}
	}
	_, err := k.s.objects.Moved(ctx, from, list)
	return err
}

func (k keeper) Retired(ctx context.Context, seg block.Segment) { k.s.objects.Retired(ctx, seg) }

// policy gives the objects' hashes the policy's type.
type policy struct{ p *evict.Policy }

func (p policy) Retire(key uint64, from block.Ring, size int64) (bool, block.Ring) {
	return p.p.Retire(evict.Key(key), from, size)
}

func (p policy) NextRing(used []int64) block.Ring { return p.p.NextRing(used) }

// unsaved lists what fills have put into segment seg and not saved yet.
func (s *Storage) unsaved(seg block.Segment) []object.Unsaved {
	var out []object.Unsaved
	for _, u := range s.fills.Unsaved() {
		digests := slices.DeleteFunc(u.Digests, func(d block.Digest) bool {
			in, ok := s.blocks.Has(d)
			return !ok || in != seg
		})
		if len(digests) > 0 {
			out = append(out, object.Unsaved{ID: object.ID(u.ID), Key: u.Owner, Digests: digests})
		}
	}
	return out
}
