package shelf

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"preau/cache/block"
	"preau/cache/storage"
)

// fetching is how many blocks of a listed item are fetched ahead at once. They
// are short, so that with one alone the line would be idle now and then.
const fetching = 3

// fetchPieces brings what is not here of a listed item. Blocks that lie here for
// another item, or for a version before, are here.
func (s *Shelf) fetchPieces(ctx context.Context, st *storage.Storage, it Item, slow pace) error {
	o, err := s.object(ctx, st, it)
	if err != nil {
		return err
	}
	m, err := s.manifest(st, o, it)
	if err != nil {
		return err
	}
	var local, missing []int
	seen := map[block.Digest]bool{}
	for i, p := range it.Pieces {
		switch _, here := st.Blocks().Has(p.Digest); {
		case here && m.Blocks[i] == p.Digest: // noted already
		case here:
			local = append(local, i)
		case seen[p.Digest]:
			local = append(local, i) // by the time that it is noted
		default:
			seen[p.Digest] = true
			missing = append(missing, i)
		}
	}
	s.metrics.blocks.WithLabelValues("local").Add(float64(len(local)))
	note := func(blocks []int) error {
		// What has come is noted, whatever ended the rest.
		return s.record(context.WithoutCancel(ctx), st, o, it, blocks, true)
	}
	// First what is here: until it is noted, nothing keeps it.
	if err := note(local); err != nil {
		return err
	}
	for len(missing) > 0 {
		n := min(len(missing), saveBlocks)
		came := make([]bool, n)
		var group errgroup.Group // one that can't be had does not end the others
		group.SetLimit(fetching)
		for k, i := range missing[:n] {
			group.Go(func() error {
				if !s.current(it) {
					return ErrUnknown
				}
				_, err := s.bring(ctx, st, o.Ring, it.ID, it.Pieces[i], slow)
				came[k] = err == nil
				return err
			})
		}
		err := group.Wait()
		var blocks []int
		for k, i := range missing[:n] {
			if came[k] {
				blocks = append(blocks, i)
			}
		}
		if err := errors.Join(err, note(blocks)); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		missing = missing[n:]
	}
	if err := note(local); err != nil { // with those that are in it twice
		return err
	}
	if !s.current(it) {
		return ErrUnknown
	}
	if _, ok := complete(st, it.ID, holdingOf(it)); !ok {
		return errEvicted
	}
	for _, p := range it.Pieces {
		if _, ok := st.Blocks().Has(p.Digest); !ok {
			return errEvicted
		}
	}
	return nil
}
