package lesson

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"preau/node/keep"
	"preau/node/watch"
)

// Most is how many lessons a school keeps, those that were deleted among them.
const Most = 2000

// Store keeps a school's lessons on this box. Its methods may be called
// concurrently.
type Store struct {
	box  string
	log  *slog.Logger
	recs *keep.Folder

	writing sync.Mutex        // one change at a time; locked before mu
	adopted map[string]string // authors by the names that they had before; guarded by writing

	mu      sync.Mutex
	lessons map[string]Lesson
	bell    watch.Bell
}

// Open reads the lessons in a folder, which is made if it is not there. box is this
// box's own name among those of its school.
func Open(dir, box string, log *slog.Logger) (*Store, error) {
	if box == "" || !text(box, maxID) {
		return nil, fmt.Errorf("lessons: %q is no name of a box", box)
	}
	log = log.With("part", "lesson")
	recs, err := keep.Open(dir, log)
	if err != nil {
		return nil, err
	}
	s := &Store{box: box, log: log, recs: recs, adopted: map[string]string{}}
	s.lessons, err = keep.Load(recs, func(name string, l Lesson) error {
		if l.ID != name {
			return fmt.Errorf("it calls itself %q", l.ID)
		}
		return l.Validate()
	})
	return s, err
}

// List returns all lessons that were not deleted, those of the latest day first.
func (s *Store) List() []Lesson {
	return s.some(func(l Lesson) bool { return !l.Deleted })
}

// All returns all lessons, and what is left of those that were deleted.
func (s *Store) All() []Lesson { return s.some(func(Lesson) bool { return true }) }

// Today returns the lessons of the day of now, in the order of their times.
func (s *Store) Today(now time.Time) []Lesson {
	y, m, d := now.Date()
	out := s.some(func(l Lesson) bool {
		ly, lm, ld := l.Date.In(now.Location()).Date()
		return !l.Deleted && ly == y && lm == m && ld == d
	})
	slices.Reverse(out)
	return out
}

func (s *Store) some(want func(Lesson) bool) []Lesson {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Lesson
	for _, l := range s.lessons {
		if want(l) {
			l.Items = slices.Clone(l.Items)
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Lesson) int {
		if c := b.Date.Compare(a.Date); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Get returns a lesson. Error: ErrUnknown.
func (s *Store) Get(id string) (Lesson, error) {
	if all := s.some(func(l Lesson) bool { return l.ID == id && !l.Deleted }); len(all) > 0 {
		return all[0], nil
	}
	return Lesson{}, fmt.Errorf("%w: %q", ErrUnknown, id)
}

// ByCode returns the lesson that has a short address. Error: ErrUnknown.
func (s *Store) ByCode(code string) (Lesson, error) {
	code, ok := ValidCode(code)
	if all := s.some(func(l Lesson) bool { return l.Code == code && !l.Deleted }); ok && len(all) > 0 {
		return all[0], nil
	}
	return Lesson{}, fmt.Errorf("%w: code %q", ErrUnknown, code)
}

// Create keeps a new lesson, gives it its id, code and version, and returns it.
// Errors: ErrInvalid, ErrFull, the disk's.
func (s *Store) Create(l Lesson) (Lesson, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	l.ID, l.Code, l.Deleted = newID(), newCode(), false
	for s.codeTaken(l.Code) {
		l.Code = newCode()
	}
	l.Version = Version{1, s.box}
	return s.put(l)
}

func (s *Store) codeTaken(code string) bool {
	return len(s.some(func(l Lesson) bool { return l.Code == code })) > 0
}

// Update keeps what somebody made of the version of a lesson that they saw.
// Errors: ErrChanged, ErrUnknown, ErrInvalid, the disk's.
func (s *Store) Update(l Lesson, seen Version) (Lesson, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.Get(l.ID)
	switch {
	case err != nil:
		return l, err
	case old.Version != seen:
		return old, fmt.Errorf("%w: %q", ErrChanged, l.ID)
	}
	l.Code, l.By, l.Deleted = old.Code, old.By, false
	l.Version = Version{old.Version.N + 1, s.box}
	return s.put(l)
}

// Delete deletes a lesson, on all boxes in the end. Errors: ErrUnknown, the disk's.
func (s *Store) Delete(id string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.Get(id)
	if err != nil {
		return err
	}
	_, err = s.put(Lesson{ID: id, Code: old.Code, By: old.By, Date: old.Date, Deleted: true, Version: Version{old.Version.N + 1, s.box}})
	return err
}

// Take merges lessons of another box into one's own, and says how many of them
// were news. What is no lesson is left out, and told as an error; whose a lesson is
// stays as it is known here.
func (s *Store) Take(lessons []Lesson) (news int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	var errs []error
	for _, l := range lessons {
		if err := l.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		l = l.plain()
		s.mu.Lock()
		old, known := s.lessons[l.ID]
		s.mu.Unlock()
		claimed := l.By
		l, err := received(old, l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if known {
			if l = Merge(old, l); l.Version == old.Version && same(l, old) {
				continue
			}
		}
		if _, err := s.put(l); err != nil {
			errs = append(errs, err)
			continue
		}
		news++
		// Who has not heard of the other name yet learns it by a version of its own.
		l.By = claimed
		if err := s.adopt(l); err != nil {
			errs = append(errs, err)
		}
	}
	return news, errors.Join(errs...)
}

func same(a, b Lesson) bool {
	return a.Version == b.Version && a.Code == b.Code && a.Title == b.Title && a.Class == b.Class && a.By == b.By &&
		a.Date.Equal(b.Date) && a.Deleted == b.Deleted && slices.Equal(a.Items, b.Items)
}

// put keeps a lesson as it is. s.writing is held.
func (s *Store) put(l Lesson) (Lesson, error) {
	l = l.plain()
	if err := l.Validate(); err != nil {
		return l, err
	}
	if err := s.makeRoom(l.ID); err != nil {
		return l, err
	}
	if err := s.recs.Write(l.ID, l); err != nil {
		return l, err
	}
	l.Items = slices.Clone(l.Items)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lessons[l.ID] = l
	s.bell.Tell()
	return l, nil
}

// makeRoom forgets the oldest of those that were deleted if there are too many. It
// goes by their order and not by the time of day, which a box may not know.
func (s *Store) makeRoom(but string) error {
	s.mu.Lock()
	_, known := s.lessons[but]
	n := len(s.lessons)
	s.mu.Unlock()
	if known || n < Most {
		return nil
	}
	deleted := s.some(func(l Lesson) bool { return l.Deleted })
	if len(deleted) == 0 {
		return ErrFull
	}
	oldest := deleted[len(deleted)-1].ID
	if err := s.recs.Remove(oldest); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lessons, oldest)
	return nil
}

// Watch returns a channel that has something to receive whenever lessons have
// changed, until stop is called.
func (s *Store) Watch() (changed <-chan struct{}, stop func()) { return s.bell.Watch() }
