package actions_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/auth/actions"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *actions.Log {
	t.Helper()
	l, err := actions.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l *actions.Log, at time.Time, what string) {
	t.Helper()
	if err := l.Add(actions.Action{Time: at, Subject: "s", Name: "Anne", Role: "school", Action: "make badge", What: what}); err != nil {
		t.Fatal(err)
	}
}

func last(t *testing.T, l *actions.Log, n int) (what []string) {
	t.Helper()
	list, err := l.Last(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		what = append(what, a.What)
	}
	return what
}

func TestActionsAreReadBackNewestFirst(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for i := range 6 {
		add(t, l, noon.AddDate(0, i/2, 0), fmt.Sprint(i))
	}
	l = open(t, dir)
	if got := last(t, l, 100); !slices.Equal(got, []string{"5", "4", "3", "2", "1", "0"}) {
		t.Errorf("%v", got)
	}
	if got := last(t, l, 3); !slices.Equal(got, []string{"5", "4", "3"}) {
		t.Errorf("%v", got)
	}
	list, _ := l.Last(1)
	if want := (actions.Action{Time: noon.AddDate(0, 2, 0), Subject: "s", Name: "Anne", Role: "school", Action: "make badge", What: "5"}); list[0] != want {
		t.Errorf("%+v", list[0])
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if info, _ := f.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", f.Name(), info.Mode())
		}
	}
}

func TestAPowerCutCostsHalfALineAtMost(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, noon, "one")
	add(t, l, noon, "two")
	name := filepath.Join(dir, "2026-11.0000.jsonl")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(whole); cut += 7 {
		if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		add(t, l, noon, "three")
		got := last(t, l, 9)
		lines := strings.Count(string(whole[:cut]), "\n")
		if got[0] != "three" || len(got) < 1+lines || len(got) > 2+lines {
			t.Fatalf("cut at %d: %v", cut, got)
		}
	}
}

func TestActionsAreKeptForTwelveMonths(t *testing.T) {
	l := open(t, t.TempDir())
	for i := range 20 {
		add(t, l, time.Date(2026, time.Month(1+i), 5, 0, 0, 0, 0, time.UTC), fmt.Sprint(i))
	}
	if err := l.Tidy(time.Date(2027, 8, 31, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if got := last(t, l, 100); len(got) != 12 || got[11] != "8" {
		t.Errorf("%v", got)
	}
	if err := l.Tidy(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if got := last(t, l, 100); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestAWrongClockLosesNothing(t *testing.T) {
	l := open(t, t.TempDir())
	add(t, l, time.Unix(0, 0), "in 1970")
	add(t, l, noon, "now")
	if got := last(t, l, 100); !slices.Equal(got, []string{"now", "in 1970"}) {
		t.Errorf("%v", got)
	}
	add(t, l, noon.AddDate(64, 0, 0), "in 2090")
	add(t, l, time.Unix(0, 0), "in 1970 again")
	add(t, l, noon.AddDate(0, 1, 0), "in December")
	if got := last(t, l, 100); len(got) != 5 || got[0] != "in December" {
		t.Errorf("%v", got)
	}
	if err := l.Tidy(noon.AddDate(2, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if got := last(t, l, 100); len(got) != 0 {
		t.Errorf("kept for ever: %v", got)
	}
}

func TestThereIsABoundOnActions(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	full := []byte(strings.Repeat("x", 1<<20-1) + "\n")
	for i := range 70 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("2026-11.%04d.jsonl", i)), full[:1<<10], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "2026-11.0069.jsonl"), full, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), full, 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, l, noon, strings.Repeat("é", 5000)+"\n\x00")
	files, _ := os.ReadDir(dir)
	if len(files) != 65 {
		t.Errorf("%d files", len(files))
	}
	if _, err := os.Stat(filepath.Join(dir, "2026-11.0070.jsonl")); err != nil {
		t.Error(err)
	}
	if got := last(t, l, 100); len(got) != 1 || len(got[0]) > 310 {
		t.Errorf("%d actions", len(got))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-23T12:00:00Z","action":"a","what":"b"}`))
	f.Add([]byte(`{"action":"\u0000\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		a, ok := actions.Decode(line)
		if ok && (a.Action == "" || len(a.What) > 310 || strings.ContainsAny(a.What, "\n\x00")) {
			t.Errorf("%+v", a)
		}
	})
}
