package hold

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"preau/cache/block"
)

// looked bounds the missing blocks that are fetched after one look, so that what
// is published meanwhile need not wait for all that a new server lacks.
const looked = 1 << 12

// look is what one reading of the catalogue found missing here.
type look struct {
	named   int            // digests named, repeats counted
	count   int            // of these, not here
	missing []block.Digest // those not here, or a fair sample if they are too many
}

// add counts d if it is not here. Where there are more than can be remembered,
// each has the same chance (reservoir sampling), so that a crowd that no server
// has does not hide the others look after look.
func (l *look) add(store Store, d block.Digest) {
	l.named++
	if _, held := store.Has(d); held {
		return
	}
	l.count++
	if len(l.missing) < looked {
		l.missing = append(l.missing, d)
	} else if i := rand.IntN(l.count); i < looked {
		l.missing[i] = d
	}
}

// look reads the catalogue. It fetches nothing meanwhile: a view of the catalogue
// is not to be held open for as long as a line takes.
func (r *Repairer) look(ctx context.Context) (*look, error) {
	l := new(look)
	err := r.named(ctx, func(d block.Digest) error {
		l.add(r.shelf.store, d)
		return nil
	}, func(block.Digest, error) error {
		// A list that is not here is missing, and counted so. What it names is
		// seen in the look after it has come.
		return nil
	})
	return l, err
}

// named calls fn with all that the catalogue names: what it wants, its lists, and
// what they name. For a list that can't be read it calls unread.
func (r *Repairer) named(ctx context.Context, fn func(block.Digest) error, unread func(block.Digest, error) error) error {
	var failed error
	tell := func(d block.Digest) bool {
		if failed = context.Cause(ctx); failed == nil {
			failed = fn(d)
		}
		return failed == nil
	}
	if err := r.catalogue.Wanted(ctx, tell); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	if r.catalogue.Lists == nil {
		return nil
	}
	var buf []byte
	err := r.catalogue.Lists(ctx, func(list block.Digest) bool {
		if !tell(list) {
			return false
		}
		p, err := r.shelf.Read(list, buf)
		if err != nil {
			failed = unread(list, err)
			return failed == nil
		}
		buf = p
		digests, err := listed(p)
		if err != nil {
			// It is what was agreed on, and it is no list: no server has a better
			// one.
			failed = unread(list, fmt.Errorf("list %s: %w", list, err))
			return failed == nil
		}
		for _, d := range digests {
			if !tell(d) {
				return false
			}
		}
		return true
	})
	return errors.Join(err, failed)
}
