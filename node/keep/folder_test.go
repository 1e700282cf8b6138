package keep_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/keep"
)

type note struct {
	Text string
	N    int
}

func open(t *testing.T, dir string) *keep.Folder {
	t.Helper()
	f, err := keep.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func load(t *testing.T, f *keep.Folder) map[string]note {
	t.Helper()
	all, err := keep.Load(f, func(name string, n note) error {
		if n.Text == "refused" {
			return errors.New(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestARecordIsThereAfterARestartAsItWasWrittenLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "re[co]rds")
	f := open(t, dir)
	for n, text := range []string{"one", "two"} {
		if err := f.Write("a", note{text, n}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Write("b-1_X", note{"b", 0}), f.Write("c", note{"c", 0}), f.Remove("c"), f.Remove("never")); err != nil {
		t.Fatal(err)
	}
	got := load(t, open(t, dir))
	if len(got) != 2 || got["a"] != (note{"two", 1}) || got["b-1_X"] != (note{"b", 0}) {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsDamagedIsPutAsideAndTheRestIsRead(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	for _, name := range []string{"good", "flipped", "cut", "empty", "long", "foreign"} {
		if err := f.Write(name, note{name, 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Write("refused", note{"refused", 1}); err != nil {
		t.Fatal(err)
	}
	harm := func(name string, change func([]byte) []byte) {
		t.Helper()
		name = filepath.Join(dir, name+".json")
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, change(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	harm("flipped", func(p []byte) []byte { p[len(p)-2] ^= 1; return p })
	harm("cut", func(p []byte) []byte { return p[:20] })
	harm("empty", func([]byte) []byte { return nil })
	harm("long", func([]byte) []byte { return make([]byte, keep.MaxSize+1) })
	harm("foreign", func([]byte) []byte { return []byte("{}") })
	if err := os.WriteFile(filepath.Join(dir, "good.json.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and the second time
		if got := load(t, open(t, dir)); len(got) != 1 || got["good"] != (note{"good", 1}) {
			t.Errorf("%+v", got)
		}
	}
	aside, err := filepath.Glob(filepath.Join(dir, "*.damaged"))
	if err != nil || len(aside) != 6 {
		t.Errorf("aside are %v, %v", aside, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "good.json.new")); !os.IsNotExist(err) {
		t.Errorf("what was half written is still there: %v", err)
	}
}

func TestWhatCantBeARecordIsRefused(t *testing.T) {
	f := open(t, t.TempDir())
	for _, name := range []string{"", "..", "a/b", "a.b", "é", strings.Repeat("a", 101)} {
		if err := f.Write(name, note{}); !errors.Is(err, keep.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if err := f.Remove(name); !errors.Is(err, keep.ErrName) {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if err := f.Write("big", note{strings.Repeat("x", keep.MaxSize), 0}); !errors.Is(err, keep.ErrTooBig) {
		t.Errorf("%v", err)
	}
	if err := f.Write("func", func() {}); err == nil {
		t.Error("what is no JSON was written")
	}
}

// What a later version has put into a record does not make an earlier one lose it.
func TestALaterVersionsRecordIsRead(t *testing.T) {
	f := open(t, t.TempDir())
	later := struct {
		note
		More []string
	}{note{"two", 2}, []string{"x"}}
	if err := f.Write("a", later); err != nil {
		t.Fatal(err)
	}
	if got := load(t, f); got["a"] != later.note {
		t.Errorf("%+v", got)
	}
}
