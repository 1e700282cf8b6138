package upload

import (
	"context"
	"errors"
)

// Adopt makes one owner's uploads another's: of somebody who turned out to have had
// two names. It waits for those that are being written to, as whoever sends them
// comes back by the other name. Errors: the disk's, and ctx's.
func (s *Server) Adopt(ctx context.Context, from, to string) error {
	if from == "" || to == "" || from == to {
		return nil
	}
	s.mu.Lock()
	var theirs []*upload
	for _, u := range s.uploads {
		if u.rec.Owner == from {
			theirs = append(theirs, u)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, u := range theirs {
		if err := s.adoptOne(ctx, u, to); err != nil && !errors.Is(err, errUnknown) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Server) adoptOne(ctx context.Context, u *upload, to string) error {
	if err := s.take(ctx, u); err != nil {
		return err
	}
	defer u.leave()
	rec := s.record(u)
	rec.Owner = to
	return s.save(u, rec)
}
