package lesson_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/cache/page"
	"preau/node/lesson"
)

// versions draws versions of one lesson, few enough that they collide.
func versions() *rapid.Generator[lesson.Lesson] {
	return rapid.Custom(func(t *rapid.T) lesson.Lesson {
		l := lesson.Lesson{
			ID: "l-0123456789abcdef01234567", Code: "BCDFG", Title: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "title"),
			Date:    time.Unix(rapid.Int64Range(0, 2).Draw(t, "date"), 0).UTC(),
			Version: lesson.Version{N: rapid.Uint64Range(1, 3).Draw(t, "n"), Box: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "box")},
			Deleted: rapid.Bool().Draw(t, "deleted"),
		}
		if !l.Deleted && rapid.Bool().Draw(t, "item") {
			l.Items = []lesson.Item{{Kind: lesson.Link, URL: "https://a.example/"}}
		}
		return l
	})
}

// Whatever the order in which boxes hear of versions, and however often, they end
// with the same one.
func TestMergeIsTheSameInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := versions().Draw(t, "a"), versions().Draw(t, "b"), versions().Draw(t, "c")
		ab, ba := lesson.Merge(a, b), lesson.Merge(b, a)
		if !reflect.DeepEqual(ab, ba) {
			t.Fatalf("%+v and %+v are %+v one way, %+v the other", a, b, ab, ba)
		}
		if got := lesson.Merge(a, a); !reflect.DeepEqual(got, a) {
			t.Fatalf("%+v with itself is %+v", a, got)
		}
		if x, y := lesson.Merge(ab, c), lesson.Merge(a, lesson.Merge(b, c)); !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v or %+v", x, y)
		}
		if b.Version.After(a.Version) && !reflect.DeepEqual(ab, b) {
			t.Fatalf("%+v was written after %+v, and %+v counts", b, a, ab)
		}
	})
}

func open(t *testing.T, dir, box string) *lesson.Store {
	t.Helper()
	s, err := lesson.Open(dir, box, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Boxes that create, change and delete, and hear of each other now and then, end
// with the same lessons, and after a restart too.
func TestBoxesAgreeInTheEnd(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; testing.Short() && runs > 8 {
			return
		}
		dir := filepath.Join(root, strconv.Itoa(runs))
		names := []string{"a", "b", "c"}
		boxes := make([]*lesson.Store, len(names))
		for i, name := range names {
			boxes[i] = open(t, filepath.Join(dir, name), name)
		}
		pull := func(from, to int) {
			if _, err := boxes[to].Take(lesson.Newer(boxes[from].All(), boxes[to].Stamps())); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			i := rapid.IntRange(0, 2).Draw(rt, "box")
			list := boxes[i].List()
			switch op := rapid.IntRange(0, 3).Draw(rt, "op"); {
			case op == 0 || len(list) == 0 && op < 3:
				if _, err := boxes[i].Create(lesson.Lesson{Title: "new", Date: time.Unix(1e9, 0)}); err != nil {
					rt.Fatal(err)
				}
			case op == 1:
				l := list[rapid.IntRange(0, len(list)-1).Draw(rt, "which")]
				seen := l.Version
				l.Title = rapid.StringMatching("[a-z]{3}").Draw(rt, "title")
				if _, err := boxes[i].Update(l, seen); err != nil {
					rt.Fatal(err)
				}
			case op == 2:
				if err := boxes[i].Delete(list[rapid.IntRange(0, len(list)-1).Draw(rt, "which")].ID); err != nil {
					rt.Fatal(err)
				}
			default:
				pull(i, (i+1)%3)
			}
		}
		for range 2 {
			for i := range boxes {
				pull(i, (i+1)%3)
				pull(i, (i+2)%3)
			}
		}
		want := boxes[0].All()
		for i, name := range names {
			for _, s := range []*lesson.Store{boxes[i], open(t, filepath.Join(dir, name), name)} {
				if got := s.All(); !reflect.DeepEqual(got, want) {
					rt.Fatalf("%s has %+v, and a %+v", name, got, want)
				}
			}
		}
	})
}

func TestALessonIsKeptAndFoundByItsCode(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "box")
	changed, stop := s.Watch()
	defer stop()
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.Local)
	l, err := s.Create(lesson.Lesson{Title: "L’eau", Class: "6e B", Date: at, By: "ada", Items: []lesson.Item{{Kind: lesson.Link, URL: "https://a.example/"}}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	for _, s := range []*lesson.Store{s, open(t, dir, "box")} {
		if got, err := s.ByCode(" " + strings.ToLower(l.Code)); err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("by its code: %+v, %v", got, err)
		}
		for d, want := range map[time.Duration]int{0: 1, 13 * time.Hour: 1, 14 * time.Hour: 0, -10 * time.Hour: 1, -11 * time.Hour: 0} {
			if got := s.Today(at.Add(d)); len(got) != want {
				t.Errorf("%v after it: %+v", d, got)
			}
		}
	}
	for _, code := range []string{"", "AAAAA", "BCDF", "BCDFGH", l.Code + "\x00"} {
		if _, err := s.ByCode(code); !errors.Is(err, lesson.ErrUnknown) {
			t.Errorf("%q: %v", code, err)
		}
	}
}

func TestNobodyWritesOverWhatTheyHaveNotSeen(t *testing.T) {
	s := open(t, t.TempDir(), "box")
	l, err := s.Create(lesson.Lesson{Title: "one", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	seen := l.Version
	l.Title = "two"
	if l, err = s.Update(l, seen); err != nil || l.Version.N != 2 {
		t.Fatal(l, err)
	}
	l.Title = "three"
	if _, err := s.Update(l, seen); !errors.Is(err, lesson.ErrChanged) {
		t.Errorf("%v", err)
	}
	if err := s.Delete(l.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(l, l.Version); !errors.Is(err, lesson.ErrUnknown) {
		t.Errorf("what was deleted: %v", err)
	}
	if err := s.Delete(l.ID); !errors.Is(err, lesson.ErrUnknown) {
		t.Errorf("twice: %v", err)
	}
}

func TestWhatIsNoLessonIsRefused(t *testing.T) {
	good := lesson.Lesson{ID: "l-0123456789abcdef01234567", Code: "BCDFG", Title: "a", Date: time.Now(), Version: lesson.Version{N: 1, Box: "x"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3000)
	s := open(t, t.TempDir(), "box")
	for claim, change := range map[string]func(*lesson.Lesson){
		"its id":             func(l *lesson.Lesson) { l.ID = "../../etc/passwd" },
		"its code":           func(l *lesson.Lesson) { l.Code = "aeiou" },
		"no version":         func(l *lesson.Lesson) { l.Version = lesson.Version{} },
		"no title":           func(l *lesson.Lesson) { l.Title = "" },
		"a long title":       func(l *lesson.Lesson) { l.Title = long },
		"a line feed":        func(l *lesson.Lesson) { l.Class = "6\nB" },
		"the year":           func(l *lesson.Lesson) { l.Date = time.Time{} },
		"a long link":        func(l *lesson.Lesson) { l.Items = []lesson.Item{{Kind: lesson.Link, URL: long}} },
		"a link with an id":  func(l *lesson.Lesson) { l.Items = []lesson.Item{{Kind: lesson.Link, URL: "a", ID: "a"}} },
		"a file with a link": func(l *lesson.Lesson) { l.Items = []lesson.Item{{Kind: lesson.Deposit, URL: "a"}} },
		"a file with a path": func(l *lesson.Lesson) { l.Items = []lesson.Item{{Kind: lesson.Published, ID: "a/b"}} },
		"no kind":            func(l *lesson.Lesson) { l.Items = []lesson.Item{{ID: "a"}} },
		"too many":           func(l *lesson.Lesson) { l.Items = slices.Repeat([]lesson.Item{{Kind: lesson.Deposit, ID: "a"}}, 61) },
		"deleted with items": func(l *lesson.Lesson) { l.Deleted, l.Items = true, []lesson.Item{{Kind: lesson.Deposit, ID: "a"}} },
	} {
		l := good
		change(&l)
		if n, err := s.Take([]lesson.Lesson{l}); n != 0 || !errors.Is(err, lesson.ErrInvalid) {
			t.Errorf("%s: %d, %v", claim, n, err)
		}
	}
	if len(s.All()) != 0 {
		t.Errorf("%+v", s.All())
	}
}

// Each light and reason has words in both languages, and no two reasons the same.
func TestWordsAreComplete(t *testing.T) {
	for _, lang := range []page.Lang{page.French, page.English} {
		seen := map[string]bool{}
		for _, l := range lesson.Lights() {
			if w := l.Words(lang); w == "" || seen[w] {
				t.Errorf("%s in %s: %q", l, lang, w)
			} else {
				seen[w] = true
			}
		}
		for _, r := range lesson.Reasons() {
			if w := r.Words(lang); w == "" || seen[w] || !strings.HasSuffix(w, ".") {
				t.Errorf("%s in %s: %q", r, lang, w)
			} else {
				seen[w] = true
			}
		}
	}
}
