package region

import (
	"sync"

	"preau/replication/catalogue"
	"preau/replication/wire"
)

// revoked is who may not connect any more, at hand for every handshake.
type revoked struct {
	mu  sync.RWMutex
	ids map[string]struct{}
}

// load replaces everything by what view tells.
func (s *revoked) load(view *catalogue.View) error {
	ids := map[string]struct{}{}
	err := view.List(catalogue.KindRevocation, "", func(r catalogue.Record) bool {
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
	s.ids = ids
	return nil
}

// note takes in changed records and reports whether anybody was revoked.
func (s *revoked) note(records []catalogue.Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := false
	for _, r := range records {
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

func (s *revoked) has(p wire.Peer) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[catalogue.RevocationID(p.Role, string(p.Name))]
	return ok
}
