package shelf

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/storage"
)

// recount is by how many items the list of what is held may outgrow what the
// storage had, before what was evicted meanwhile is struck from it.
const recount = 1000

// holding is the version of an item that the storage may have bytes of.
type holding struct {
	sum     block.Digest
	list    block.Digest // as in Item.list
	expires int64        // Unix time, 0: never
}

func holdingOf(it Item) holding {
	h := holding{sum: it.SHA256, list: it.list()}
	if !it.Expires.IsZero() {
		h.expires = it.Expires.Unix()
	}
	return h
}

// of reports whether it is that version of the item.
func (h holding) of(it Item) bool { return h.sum == it.SHA256 && h.list == it.list() }

// path names one version of an item in the storage's list.
func path(id string, sum block.Digest) string { return Prefix + id + "/" + sum.String() }

func key(st *storage.Storage, id string, sum block.Digest) object.Key {
	return st.Key(siteName, id, sum.String())
}

// Sync brings the storage in line with what is published: call it when one has
// been opened, before anything is served from it. Items that went while it was
// closed are removed from it.
func (s *Shelf) Sync(ctx context.Context) error {
	st := s.store()
	if st == nil {
		return nil
	}
	s.storing.Lock()
	defer s.storing.Unlock()
	errs := []error{s.count(ctx, st)}
	s.mu.Lock()
	var pinned []string
	for id := range s.pinned {
		s.pinned[id] = block.Digest{} // as far as this storage is concerned
		pinned = append(pinned, id)
	}
	s.mu.Unlock()
	for _, id := range pinned {
		err := s.pin(st, id)
		if !errors.Is(err, ErrUnknown) && !errors.Is(err, storage.ErrPinsFull) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// count makes the list of what is held anew, and drops what is not published.
// s.storing is held.
func (s *Shelf) count(ctx context.Context, st *storage.Storage) error {
	type found struct {
		key      object.Key
		id       string
		h        holding
		complete bool
		stored   time.Time
	}
	var all []found
	err := st.Objects().Listed(ctx, siteName, func(o *object.Object) bool {
		f := found{key: o.Key, complete: o.Complete, stored: o.ResponseTime}
		id, sum, _ := strings.Cut(strings.TrimPrefix(o.Lists, Prefix), "/")
		if d, err := block.ParseDigest(sum); err == nil && key(st, id, d) == o.Key {
			f.id, f.h = id, holding{sum: d, list: kindOf(o).list}
		}
		all = append(all, f)
		return true
	})
	if err != nil {
		return fmt.Errorf("list what is held of published items: %w", err)
	}
	held, olds := map[string]holding{}, map[string]holding{}
	since := map[string]time.Time{} // of olds
	var errs []error
	for _, f := range all {
		it, err := s.cat.Item(f.id)
		switch {
		case err == nil && f.h.of(it):
			held[f.id] = holdingOf(it)
		case err == nil:
			keep := f.complete && f.h.sum != it.SHA256 && f.stored.After(since[f.id])
			if keep {
				keep, err = s.cat.Keeps(it, f.stored)
			}
			if !keep || err != nil {
				errs = append(errs, err, s.dropKey(ctx, st, f.key))
				continue
			}
			if before, twice := olds[f.id]; twice {
				errs = append(errs, s.dropKey(ctx, st, key(st, f.id, before.sum)))
			}
			olds[f.id], since[f.id] = f.h, f.stored
		case errors.Is(err, ErrUnknown):
			errs = append(errs, s.dropKey(ctx, st, f.key))
		default:
			errs = append(errs, err)
			held[f.id] = f.h
		}
	}
	s.mu.Lock()
	s.held, s.counted, s.olds = held, len(held), olds
	s.mu.Unlock()
	return errors.Join(append(errs, s.settleAll(ctx, st))...)
}

// Changed makes an end of what is held of an item in another version than the
// one that is published now. It is to be called after the catalogue changed.
// A version that is whole on the disk stays until the one of now is, for when
// that can't be had. When it returns without an error, nothing else of an older
// version is left but what is being sent already.
func (s *Shelf) Changed(ctx context.Context, id string) error {
	s.storing.Lock()
	defer s.storing.Unlock()
	if !s.concerns(id) {
		return nil
	}
	it, err := s.cat.Item(id)
	if errors.Is(err, ErrUnknown) {
		return s.remove(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("see what is published as %q: %w", id, err)
	}
	st := s.store()
	if st == nil {
		return nil // Sync does it when there is one again
	}
	if err := s.turn(ctx, st, it); err != nil {
		return err
	}
	s.mu.RLock()
	_, pinned := s.pinned[id]
	s.mu.RUnlock()
	if pinned {
		if err := s.pin(st, id); !errors.Is(err, storage.ErrPinsFull) {
			return err
		}
	}
	return nil
}

// concerns reports whether there may be anything of an item in the storage.
func (s *Shelf) concerns(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, held := s.held[id]
	_, old := s.olds[id]
	_, pinned := s.pinned[id]
	return held || old || pinned
}

// Remove makes an end of an item that is not published any more. It is to be
// called after the catalogue changed. When it returns without an error nothing
// is left of the item but what is being sent already.
func (s *Shelf) Remove(ctx context.Context, id string) error {
	s.storing.Lock()
	defer s.storing.Unlock()
	return s.remove(ctx, id)
}

func (s *Shelf) remove(ctx context.Context, id string) error {
	s.mu.Lock()
	if len(s.gone) >= mostGone {
		clear(s.gone)
	}
	s.gone[id] = struct{}{}
	h, held := s.held[id]
	old, before := s.olds[id]
	pin, pinned := s.pinned[id]
	s.mu.Unlock()
	st := s.store()
	if st == nil {
		return nil // Sync does it when there is one again
	}
	var errs []error
	if held {
		errs = append(errs, s.dropKey(ctx, st, key(st, id, h.sum)))
	}
	if before {
		errs = append(errs, s.dropKey(ctx, st, key(st, id, old.sum)))
	}
	if !pin.IsZero() && pin != h.sum {
		errs = append(errs, st.Unpin(key(st, id, pin)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove %q: %w", id, err)
	}
	if held || before || pinned {
		s.mu.Lock()
		delete(s.held, id)
		delete(s.olds, id)
		delete(s.pinned, id)
		s.mu.Unlock()
	}
	return nil
}

func (s *Shelf) dropKey(ctx context.Context, st *storage.Storage, k object.Key) error {
	_, err := st.Objects().RemoveAll(ctx, k, "purged")
	return errors.Join(err, st.Unpin(k))
}

// Expire removes what is held of items that the catalogue has no more for that
// their time is over, and versions that nobody can need any more.
func (s *Shelf) Expire(ctx context.Context, now time.Time) error {
	s.mu.RLock()
	var over []string
	for _, versions := range []map[string]holding{s.held, s.olds} {
		for id, h := range versions {
			if h.expires != 0 && h.expires <= now.Unix() {
				over = append(over, id)
			}
		}
	}
	s.mu.RUnlock()
	var errs []error
	for _, id := range over {
		errs = append(errs, s.Changed(ctx, id))
	}
	if st := s.store(); st != nil {
		s.storing.Lock()
		defer s.storing.Unlock()
		errs = append(errs, s.settleAll(ctx, st))
	}
	return errors.Join(errs...)
}

// hold notes that the storage is to have bytes of an item, beside those of a
// version before it at most. s.storing is held.
func (s *Shelf) hold(ctx context.Context, st *storage.Storage, it Item) error {
	s.mu.RLock()
	many := len(s.held) > 2*s.counted+recount
	s.mu.RUnlock()
	if many {
		if err := s.count(ctx, st); err != nil {
			return err
		}
	}
	if err := s.turn(ctx, st, it); err != nil {
		return err
	}
	s.mu.Lock()
	s.held[it.ID] = holdingOf(it)
	s.mu.Unlock()
	return nil
}
