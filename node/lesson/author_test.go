package lesson_test

import (
	"math"
	"testing"
	"time"

	"preau/node/lesson"
)

// tell has one box hear of what another has.
func tell(t *testing.T, from, to *lesson.Store) {
	t.Helper()
	if _, err := to.Take(lesson.Newer(from.All(), to.Stamps())); err != nil {
		t.Fatal(err)
	}
}

func TestALessonFollowsItsAuthorToTheirAccount(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, "a"), open(t, t.TempDir(), "b")
	made := func(title, by string) lesson.Lesson {
		t.Helper()
		l, err := a.Create(lesson.Lesson{Title: title, Date: time.Now(), By: by})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	theirs, other := made("L’eau", "badge:1"), made("Le vent", "badge:2")
	tell(t, a, b)
	// Meanwhile it is changed at another box, which knows of no account yet.
	there, err := b.Get(theirs.ID)
	if err != nil {
		t.Fatal(err)
	}
	seen := there.Version
	for _, there.Title = range []string{"L’eau et", "L’eau et la pluie"} {
		if there, err = b.Update(there, seen); err != nil {
			t.Fatal(err)
		}
		seen = there.Version
	}
	if err := a.Adopt("badge:1", "oidc:anne"); err != nil {
		t.Fatal(err)
	}
	owned := func(s *lesson.Store, name, title string) {
		t.Helper()
		got, err := s.Get(theirs.ID)
		if err != nil || got.Title != title || !got.MayChange("oidc:anne", false) || got.MayChange("badge:1", false) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
		if got, err := s.Get(other.ID); err != nil || got.By != "badge:2" {
			t.Errorf("%s: somebody else's became %+v %v", name, got, err)
		}
	}
	owned(a, "where it was made", "L’eau")
	tell(t, b, a)
	owned(a, "after it was changed elsewhere", "L’eau et la pluie")
	tell(t, a, b)
	owned(b, "the other box", "L’eau et la pluie")
	again := open(t, dir, "a")
	owned(again, "after a restart", "L’eau et la pluie")
	before := again.Stamps()
	if err := again.Adopt("badge:1", "oidc:anne"); err != nil {
		t.Fatal(err)
	}
	tell(t, b, again)
	for i, st := range again.Stamps() {
		if st != before[i] {
			t.Errorf("written again for nothing: %+v, %+v before", st, before[i])
		}
	}
}

func TestWhoseALessonIsNoOtherBoxChanges(t *testing.T) {
	a := open(t, t.TempDir(), "a")
	l, err := a.Create(lesson.Lesson{Title: "L’eau", Date: time.Now(), By: "oidc:anne"})
	if err != nil {
		t.Fatal(err)
	}
	is := func(title string) lesson.Lesson {
		t.Helper()
		got, err := a.Get(l.ID)
		if err != nil || got.Title != title || got.By != "oidc:anne" || got.Code != l.Code {
			t.Fatalf("%+v %v", got, err)
		}
		return got
	}
	bad := l
	for _, by := range []string{"oidc:paul", "badge:3", ""} {
		bad.By, bad.Code, bad.Title, bad.Version = by, "BCDFG", "bad", lesson.Version{N: bad.Version.N + 1, Box: "bad"}
		if _, err := a.Take([]lesson.Lesson{bad}); err != nil {
			t.Fatal(err)
		}
		is("bad")
	}
	// Deleted and brought back it is still hers.
	gone := lesson.Lesson{ID: l.ID, Code: l.Code, Date: l.Date, Deleted: true, Version: lesson.Version{N: bad.Version.N + 1, Box: "bad"}}
	back := bad
	back.By, back.Title, back.Version = "oidc:paul", "back", lesson.Version{N: gone.Version.N + 1, Box: "bad"}
	if _, err := a.Take([]lesson.Lesson{gone, back}); err != nil {
		t.Fatal(err)
	}
	is("back")
	// No box has the last word for ever.
	last := back
	last.Title, last.Version.N = "last", math.MaxUint64
	if _, err := a.Take([]lesson.Lesson{last}); err == nil {
		t.Error("taken")
	}
	now := is("back")
	now.Title = "L’eau"
	if _, err := a.Update(now, now.Version); err != nil {
		t.Errorf("its author can't put it right: %v", err)
	}
	is("L’eau")
	fresh := last
	fresh.ID = "l-0123456789abcdef01234567"
	if _, err := a.Take([]lesson.Lesson{fresh}); err == nil {
		t.Error("a new one is taken with the last number there is")
	}
}
