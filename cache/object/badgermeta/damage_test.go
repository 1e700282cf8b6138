package badgermeta

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"preau/cache/object"
)

// copyOf is the folder as a kill -9 would leave it now.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "meta")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func edit(t *testing.T, name string, fn func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, fn(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsSeenAtEveryRead damages what was read before: a page of the file
// that was dropped from memory may come back otherwise.
func TestDamageIsSeenAtEveryRead(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for i := range 500 {
		if err := s.Write([]object.Change{{Key: num('k', i), Value: noise(100, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // a table
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	for range 3 {
		for i := range 500 {
			if got, err := s.Get(num('k', i)); err != nil || !bytes.Equal(got, noise(100, i)) {
				t.Fatalf("key %d: %x, %v", i, got, err)
			}
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // what is kept in memory is taken in in the background
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	f, err := os.OpenFile(tables[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 16<<10), 8<<10); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for i := range 500 {
		switch got, err := s.Get(num('k', i)); {
		case err != nil: // Badger takes what it can't read for what it has not
			lost++
		case !bytes.Equal(got, noise(100, i)):
			t.Fatalf("key %d in a damaged table: %x", i, got)
		}
	}
	if lost < 100 {
		t.Errorf("%d of 500 reads found nothing: about 150 lie in what was damaged", lost)
	}
}

func TestWhatIsMissingIsToldOf(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for i := range 60 {
		if err := s.Write([]object.Change{{Key: num('k', i), Value: noise(200<<10, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // tables
		t.Fatal(err)
	}
	closed := copyOf(t, dir)
	s = mustOpen(t, dir)
	for i := range 20 { // and a log
		if err := s.Write([]object.Change{{Key: num('l', i), Value: noise(3000, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Base(memName(dir, s.room.mem))
	end := 0
	if b, err := os.ReadFile(memName(dir, s.room.mem)); err != nil {
		t.Fatal(err)
	} else {
		end = len(bytes.TrimRight(b, "\x00"))
	}
	killed := copyOf(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, n := range names {
				found, err := filepath.Glob(filepath.Join(dir, n))
				if err != nil || len(found) == 0 {
					t.Fatal("nothing to remove", n, err)
				}
				for _, f := range found {
					if err := os.Remove(f); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	change := func(name string, fn func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, name), fn)
		}
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 32; return b }
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	nothing := func(*testing.T, string) {}
	for _, c := range []struct {
		name, dir string
		damage    func(*testing.T, string)
		lost      bool
	}{
		{"closed", closed, nothing, false},
		{"killed", killed, nothing, false},
		{"killed within an entry", killed, change(log, func(b []byte) []byte { clear(b[end-1500:]); return b }), false},
		{"killed before the end of a transaction", killed, change(log, flip(end-1)), false},
		{"killed beside the next log", killed, func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, "00099.mem"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"manifest and sums gone", closed, remove("MANIFEST", "sums"), true},
		{"manifest gone", killed, remove("MANIFEST"), true},
		{"manifest cut to its head", closed, change("MANIFEST", cut(8)), true},
		{"manifest cut to its head, sums gone", closed, func(t *testing.T, dir string) {
			t.Helper()
			remove("sums")(t, dir)
			edit(t, filepath.Join(dir, "MANIFEST"), cut(8))
		}, true},
		{"manifest cut by a byte", killed, change("MANIFEST", func(b []byte) []byte { return b[:len(b)-1] }), true},
		{"manifest with more", closed, change("MANIFEST", func(b []byte) []byte { return append(b, 0) }), true},
		{"sums damaged", closed, change("sums", flip(3)), true},
		{"a table gone", closed, remove("*.sst"), true},
		{"log gone", killed, remove(log), true},
		{"log cut", killed, change(log, cut(9000)), true},
		{"log: a flip in a value", killed, change(log, flip(5000)), true},
		{"log: a flip in a length", killed, change(log, flip(walHeader+3)), true},
		{"log: a length beyond all entries", killed, change(log, func(b []byte) []byte {
			b[walHeader+5] |= 0x3c // of the value
			return b
		}), true},
		{"log: zeroes at its beginning", killed, change(log, func(b []byte) []byte { clear(b[walHeader:4096]); return b }), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyOf(t, c.dir)
			c.damage(t, dir)
			s, fresh, lost, err := Open(DefaultConfig(dir), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if fresh != c.lost || (lost != nil) != c.lost {
				t.Errorf("fresh = %v, lost = %v; want %v", fresh, lost, c.lost)
			}
			want := error(nil)
			if c.lost {
				want = object.ErrNotFound
			}
			if _, err := s.Get(num('k', 1)); !errors.Is(err, want) {
				t.Errorf("an old record: %v, want %v", err, want)
			}
		})
	}
}

// A batch within the bounds is one transaction, so that it is whole or not there.
func TestBatchesWithinTheBoundsAreOneTransaction(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer s.Close()
	many := make([]object.Change, AtomicChanges)
	for i := range many {
		many[i] = object.Change{Key: num('k', i), Value: noise(AtomicBytes/AtomicChanges-5, i)}
	}
	big := []object.Change{{Key: num('b', 0), Value: noise(AtomicBytes-100, 1)}, {Key: num('b', 1), Value: noise(90, 2)}}
	for _, c := range []struct {
		name  string
		batch []object.Change
		steps uint64
	}{
		{"most changes", many, 1},
		{"most bytes", big, 1},
		{"one more change", append(slices.Clip(many), object.Change{Key: []byte("x"), Delete: true}), 2},
		{"one more byte", append(big[:2:2], object.Change{Key: []byte("y"), Value: []byte("1")}), 2},
	} {
		before := s.db.MaxVersion()
		if err := s.Write(c.batch); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := s.db.MaxVersion() - before; n != c.steps {
			t.Errorf("%s: %d transactions, want %d", c.name, n, c.steps)
		}
	}
	// One that can't be carried out leaves nothing.
	err := s.Write([]object.Change{{Key: []byte("z"), Value: []byte("1")}, {Key: nil, Value: []byte("1")}})
	if _, got := s.Get([]byte("z")); err == nil || !errors.Is(got, object.ErrNotFound) {
		t.Errorf("half a batch: %v, %v", err, got)
	}
}

// A disk that has just been filled may have no room for a second list.
func TestTheListIsWrittenOverTheOldOneWhereThereIsNoRoom(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if err := s.Write([]object.Change{{Key: num('k', 1), Value: noise(3000, 1)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, sumsFile+".new"), 0o700); err != nil { // so that it can't be written
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	if err := s.Write([]object.Change{{Key: num('k', 2), Value: noise(3000, 2)}}); err != nil {
		t.Fatal(err)
	}
	killed := copyOf(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"killed": killed, "closed": dir} {
		s := mustOpen(t, dir)
		for i := 1; i <= 2; i++ {
			if got, err := s.Get(num('k', i)); err != nil || !bytes.Equal(got, noise(3000, i)) {
				t.Errorf("%s: record %d is not what was written: %v", name, i, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
