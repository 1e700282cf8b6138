package region

import (
	"errors"
	"sync"

	"preau/replication/catalogue"
	"preau/replication/wire"
)

// revoked is who may not connect any more, and the key of each box that may, at
// hand for every handshake.
type revoked struct {
	mu   sync.RWMutex
	ids  map[string]struct{}
	keys map[string][32]byte // by box
}

// load replaces everything by what view tells.
func (s *revoked) load(view *catalogue.View) error {
	ids, keys := map[string]struct{}{}, map[string][32]byte{}
	var bad error
	err := view.List(catalogue.KindBox, "", func(r catalogue.Record) bool {
		box, err := catalogue.Body[catalogue.Box](r)
		bad = errors.Join(bad, err)
		keys[r.ID] = box.SPKI
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	err = view.List(catalogue.KindRevocation, "", func(r catalogue.Record) bool {
		if !r.Deleted {
			ids[r.ID] = struct{}{}
		}
		return true
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids, s.keys = ids, keys
	return nil
}

// note takes in changed records and reports whether somebody lost the right to
// connect.
func (s *revoked) note(records []catalogue.Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := false
	for _, r := range records {
		if r.Kind == catalogue.KindBox {
			more = s.noteBox(r) || more
		}
		if r.Kind != catalogue.KindRevocation {
			continue
		}
		if r.Deleted {
			delete(s.ids, r.ID)
			continue
		}
		s.ids[r.ID] = struct{}{}
		more = true
	}
	return more
}

// noteBox takes in a box, and reports whether another key than before is its.
func (s *revoked) noteBox(r catalogue.Record) bool {
	old, known := s.keys[r.ID]
	if r.Deleted {
		delete(s.keys, r.ID)
		return known
	}
	box, err := catalogue.Body[catalogue.Box](r)
	if err != nil {
		return false // Apply has checked it
	}
	s.keys[r.ID] = box.SPKI
	return known && old != box.SPKI
}

// keyOf is the key of an enrolled box.
func (s *revoked) keyOf(box string) (key [32]byte, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	key, ok = s.keys[box]
	return key, ok
}

func (s *revoked) has(p wire.Peer) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[catalogue.RevocationID(p.Role, string(p.Name))]
	return ok
}
