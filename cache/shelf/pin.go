package shelf

import (
	"errors"
	"fmt"
	"maps"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/storage"
)

// Want says whether an item is pinned: kept whatever else wants the room. An
// error that matches storage.ErrPinsFull says that pins have no more room: it
// is worth another try later.
func (s *Shelf) Want(id string, pinned bool) error {
	s.storing.Lock()
	defer s.storing.Unlock()
	st := s.store()
	if pinned {
		return s.pin(st, id)
	}
	s.mu.Lock()
	sums := []block.Digest{s.pinned[id], s.olds[id].sum}
	delete(s.pinned, id)
	s.mu.Unlock()
	if st == nil {
		return nil
	}
	for _, sum := range sums {
		if sum.IsZero() {
			continue
		}
		if err := st.Unpin(key(st, id, sum)); err != nil {
			return fmt.Errorf("unpin %q: %w", id, err)
		}
	}
	return nil
}

// pin has the storage keep the version that is published now.
// s.storing is held.
func (s *Shelf) pin(st *storage.Storage, id string) error {
	it, err := s.find(id)
	if err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	s.mu.Lock()
	old := s.pinned[id]
	if old != it.SHA256 {
		s.pinned[id] = block.Digest{}
	}
	s.mu.Unlock()
	if st == nil || old == it.SHA256 {
		return nil
	}
	s.mu.RLock()
	before, kept := s.olds[id]
	s.mu.RUnlock()
	// The version before stays pinned until this one is whole, if there is room
	// for both.
	if !old.IsZero() && !(kept && before.sum == old) {
		err = st.Unpin(key(st, id, old))
	}
	if err == nil {
		err = st.Pin(key(st, id, it.SHA256), it.Length)
	}
	if kept && errors.Is(err, storage.ErrPinsFull) {
		if err = st.Unpin(key(st, id, before.sum)); err == nil {
			err = st.Pin(key(st, id, it.SHA256), it.Length)
		}
	}
	if err != nil {
		return fmt.Errorf("pin %q: %w", id, err)
	}
	s.mu.Lock()
	s.pinned[id] = it.SHA256
	s.mu.Unlock()
	return nil
}

// Pinned lists what is to be pinned, and whether the storage keeps it so.
func (s *Shelf) Pinned() map[string]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string]bool, len(s.pinned))
	for id, sum := range s.pinned {
		out[id] = !sum.IsZero()
	}
	return out
}

// Unpin lets go of pins of the storage's that no Want asked for: those of an
// earlier run. Nobody else pins anything there.
func (s *Shelf) Unpin() error {
	s.storing.Lock()
	defer s.storing.Unlock()
	st := s.store()
	if st == nil {
		return nil
	}
	s.mu.RLock()
	pinned, olds := maps.Clone(s.pinned), maps.Clone(s.olds)
	s.mu.RUnlock()
	if keys, _, _ := st.PinUsage(); keys <= 0 {
		return nil
	}
	mine := make(map[object.Key]bool, len(pinned))
	for id, sum := range pinned {
		if !sum.IsZero() {
			mine[key(st, id, sum)] = true
		}
		if old, kept := olds[id]; kept {
			mine[key(st, id, old.sum)] = true
		}
	}
	var errs []error
	for _, k := range st.PinnedKeys() {
		if !mine[k] {
			errs = append(errs, st.Unpin(k))
		}
	}
	return errors.Join(errs...)
}
