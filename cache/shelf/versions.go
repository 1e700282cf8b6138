package shelf

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

const (
	// newVersion is how long a device waits for a new version where the one
	// before is here, and stillAway how long nobody waits after that was in vain.
	newVersion = 5 * time.Second
	stillAway  = 30 * time.Second
)

// turn sorts out the versions of an item after another one was published: the
// latest that is whole stays beside the one of now. s.storing is held.
func (s *Shelf) turn(ctx context.Context, st *storage.Storage, it Item) error {
	s.mu.RLock()
	h, held := s.held[it.ID]
	old, before := s.olds[it.ID]
	s.mu.RUnlock()
	if held && h.of(it) && (!before || !old.past()) {
		if h != holdingOf(it) {
			s.mu.Lock()
			s.held[it.ID] = holdingOf(it)
			s.mu.Unlock()
		}
		return nil
	}
	back := before && old.of(it) // it is published again as it was
	var keep, next holding
	var keeps bool
	switch {
	case held && !h.of(it):
		var err error
		if keeps, err = s.keeps(st, it, h); err != nil {
			return err
		}
		keep = h
		if !keeps && before && !back {
			if keeps, err = s.keeps(st, it, old); err != nil {
				return err
			}
			keep = old
		}
	case before && !back:
		var err error
		if keeps, err = s.keeps(st, it, old); err != nil {
			return err
		}
		keep = old
	}
	if held && h.of(it) || back {
		next = holdingOf(it)
	}
	var errs []error
	drop := func(there bool, v holding) {
		if there && v.sum != it.SHA256 && (!keeps || v != keep) {
			errs = append(errs, s.dropKey(ctx, st, key(st, it.ID, v.sum)))
		} else if there && v.sum == it.SHA256 && !v.of(it) {
			// The same bytes cut otherwise: their pin is that of the version of now.
			_, err := st.Objects().RemoveAll(ctx, key(st, it.ID, v.sum), "replaced")
			errs = append(errs, err)
		}
	}
	drop(held, h)
	drop(before, old)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("versions of %q: %w", it.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, it.ID)
	delete(s.olds, it.ID)
	if next != (holding{}) {
		s.held[it.ID] = next
	}
	if keeps {
		s.olds[it.ID] = keep
	}
	return nil
}

// past reports whether a version's own time is over.
func (h holding) past() bool { return h.expires != 0 && h.expires <= time.Now().Unix() }

// keeps reports whether a version is worth keeping, and may be kept, until the
// one of now is here.
func (s *Shelf) keeps(st *storage.Storage, it Item, h holding) (bool, error) {
	if h.sum == it.SHA256 || h.past() {
		return false, nil
	}
	o, whole := complete(st, it.ID, h)
	if !whole {
		return false, nil
	}
	may, err := s.cat.Keeps(it, o.ResponseTime)
	if err != nil {
		return false, fmt.Errorf("see whether %q was taken back: %w", it.ID, err)
	}
	return may, nil
}

// settle makes an end of the version before, once the one of now is whole.
func (s *Shelf) settle(ctx context.Context, st *storage.Storage, id string) error {
	s.mu.RLock()
	_, before := s.olds[id]
	s.mu.RUnlock()
	if !before {
		return nil
	}
	s.storing.Lock()
	defer s.storing.Unlock()
	return s.settleOne(ctx, st, id)
}

// settleOne is settle. s.storing is held.
func (s *Shelf) settleOne(ctx context.Context, st *storage.Storage, id string) error {
	s.mu.RLock()
	old, before := s.olds[id]
	h, held := s.held[id]
	s.mu.RUnlock()
	if !before || !held {
		return nil
	}
	if _, whole := complete(st, id, h); !whole {
		return nil
	}
	if err := s.dropKey(ctx, st, key(st, id, old.sum)); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.olds, id)
	s.mu.Unlock()
	return nil
}

// settleAll is settle for all items. s.storing is held.
func (s *Shelf) settleAll(ctx context.Context, st *storage.Storage) error {
	s.mu.RLock()
	ids := make([]string, 0, len(s.olds))
	for id := range s.olds {
		ids = append(ids, id)
	}
	s.mu.RUnlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.settleOne(ctx, st, id))
	}
	return errors.Join(errs...)
}

// choose returns the version that a request gets: the one of now, or the one
// before with its object, if that is whole here and the one of now can't be had.
func (s *Shelf) choose(r *http.Request, it Item) (Item, *object.Object) {
	s.mu.RLock()
	old, before := s.olds[it.ID]
	since := time.Since(s.away[it.ID])
	s.mu.RUnlock()
	st := s.store()
	if !before || st == nil || old.past() {
		return it, nil
	}
	if _, whole := complete(st, it.ID, holdingOf(it)); whole {
		return it, nil
	}
	was, o, whole := itemOf(st, it, old)
	if !whole {
		return it, nil
	}
	if since >= stillAway {
		ctx, cancel := context.WithTimeout(r.Context(), newVersion)
		err := s.probe(ctx, st, it, r.Header.Get("Range"))
		cancel()
		if err == nil || errors.Is(err, ErrUnknown) || r.Context().Err() != nil {
			return it, nil
		}
		s.log.InfoContext(r.Context(), "a new version can't be had now: the one before is sent", "item", it.ID, "err", err)
		s.mu.Lock()
		if len(s.away) >= mostGone {
			clear(s.away)
		}
		s.away[it.ID] = time.Now()
		s.mu.Unlock()
	}
	// It may have been taken back meanwhile.
	s.mu.RLock()
	now, still := s.olds[it.ID]
	s.mu.RUnlock()
	if !still || now != old {
		return it, nil
	}
	return was, o
}

// passes reports whether an item is sent without being kept.
func (s *Shelf) passes(st *storage.Storage, it Item) bool {
	return st == nil || st.TooLarge(it.Length) && !st.Pinned(key(st, it.ID, it.SHA256))
}

// probe gets the first block that a request needs and that is not here, if it
// can be had.
func (s *Shelf) probe(ctx context.Context, st *storage.Storage, it Item, ranges string) error {
	it, err := s.whole(ctx, it)
	if err != nil {
		return err
	}
	off := int64(0)
	if spans, err := rfc9111.ParseRange(ranges, it.Length); err == nil && len(spans) == 1 {
		off = spans[0].Off
	}
	first, some := s.firstMissing(st, it, off)
	if !some {
		return nil
	}
	if s.passes(st, it) {
		_, err = s.block(ctx, nil, 0, it.ID, first)
		return err
	}
	o, err := s.object(ctx, st, it)
	switch {
	case errors.Is(err, object.ErrFull), errors.Is(err, block.ErrNoSpace):
		_, err = s.block(ctx, nil, 0, it.ID, first)
	case err == nil:
		_, err = s.block(ctx, st, o.Ring, it.ID, first)
	}
	return err
}

// firstMissing is the first block after an offset that is not here.
func (s *Shelf) firstMissing(st *storage.Storage, it Item, off int64) (Piece, bool) {
	at := int64(0)
	n := max(len(it.Pieces), len(it.Blocks))
	for i := range n {
		var p Piece
		if it.Listed {
			p = it.Pieces[i]
		} else {
			p = Piece{it.Blocks[i], block.BlockLen(it.Length, i)}
		}
		if at += int64(p.Length); at <= off {
			continue
		}
		if _, ok := st.Blocks().Has(p.Digest); !ok {
			return p, true
		}
	}
	return Piece{}, false
}
