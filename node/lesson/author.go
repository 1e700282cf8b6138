package lesson

import (
	"errors"
	"fmt"
	"strings"
)

// What names of authors begin with, as whoever knows who is signed in makes them.
// Somebody with a badge may turn out to have an account; the account's name is then
// theirs for good.
const (
	byBadge   = "badge:"
	byAccount = "oidc:"
)

// mostStep is how many versions further than here another box may be. A box that
// claims the last number there is would have the last word for ever.
const mostStep = 1 << 20

var errStep = errors.New("its version is further ahead than anybody can have written")

// received is another box's version of a lesson that is known here, as far as it
// is believed. Boxes of a school change one another's lessons, for a teacher may
// sign in at any of them, and nobody can tell what a teacher did from what a box
// makes up. But whose a lesson is, and its code, no box changes: so whatever was
// done to it, its author can put it right, anywhere. A box that knows it as
// nobody's takes the author of what it had before it was deleted.
func received(old, l Lesson) (Lesson, error) {
	if l.Version.N > old.Version.N && l.Version.N-old.Version.N > mostStep {
		return l, fmt.Errorf("%w: %s: version %d, here %d", errStep, l.ID, l.Version.N, old.Version.N)
	}
	if old.ID == "" {
		return l, nil
	}
	l.Code = old.Code
	known := old.By != "" || !old.Deleted
	if moved := strings.HasPrefix(old.By, byBadge) && strings.HasPrefix(l.By, byAccount); known && !moved {
		l.By = old.By
	}
	return l, nil
}

// Adopt makes what somebody prepared by one name another name's, on all boxes in the
// end, and goes on to do so with what other boxes still bring by the first. It may
// be called again. Errors: the disk's; what could be adopted is.
func (s *Store) Adopt(from, to string) error {
	if from == "" || to == "" || from == to {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.adopted[from] = to
	var errs []error
	for _, l := range s.some(func(l Lesson) bool { return l.By == from }) {
		errs = append(errs, s.adopt(l))
	}
	return errors.Join(errs...)
}

// adopt writes a version of a lesson that is somebody's by their other name, if it
// is by the first. s.writing is held.
func (s *Store) adopt(l Lesson) error {
	to, ok := s.adopted[l.By]
	if !ok {
		return nil
	}
	l.By, l.Version = to, Version{l.Version.N + 1, s.box}
	_, err := s.put(l)
	return err
}
