package fileblock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

func tryOpen(dir string) (*Store, error) {
	return Open(Config{Dir: dir, ReserveBytes: 1}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

func mustOpen(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := tryOpen(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustClose(tb testing.TB, s *Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
}

func mustPut(tb testing.TB, s *Store, p []byte) block.Digest {
	tb.Helper()
	d := block.Sum(p)
	if _, err := s.Put(tb.Context(), 0, d, p); err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestSuite(t *testing.T) {
	blocktest.Run(t, func(t *testing.T) block.Store {
		t.Helper()
		s := mustOpen(t, filepath.Join(t.TempDir(), "blocks"))
		t.Cleanup(func() { mustClose(t, s) })
		return s
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Dir: t.TempDir(), ReserveBytes: -1}} {
		if _, err := Open(c, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
			t.Errorf("Open with %+v: no error", c)
		}
	}
}

func TestContentOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	want := map[block.Digest][]byte{}
	var sum int64
	for i := range 20 {
		p := blocktest.Bytes(uint64(i), i*5000)
		want[mustPut(t, s, p)] = p
		sum += int64(len(p))
	}
	if _, err := tryOpen(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	mustClose(t, s)
	// What a kill in the middle of Put leaves, and what people leave.
	strange := block.Sum([]byte("strange")).String()
	for _, name := range []string{"tmp/block-1", "ab/not a digest", "00/" + strings.Replace(strange, strange[:2], "01", 1), strange[:2] + "/" + strange} {
		n := 10
		if strings.Contains(name, strange) {
			n = block.Size + 1
		}
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = mustOpen(t, dir)
	defer mustClose(t, s)
	if s.Len() != len(want) || s.Usage() != sum {
		t.Errorf("Len = %d, Usage = %d; want %d, %d", s.Len(), s.Usage(), len(want), sum)
	}
	for d, p := range want {
		blocktest.Check(t, s, d, p)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("leftovers after a kill: %v, %v", left, err)
	}
}

func TestPutRefusesWrongBytes(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer mustClose(t, s)
	if _, err := s.Put(t.Context(), 0, block.Sum([]byte("a")), []byte("b")); err == nil {
		t.Error("Put of bytes under another digest: no error")
	}
	long := make([]byte, block.Size+1)
	if _, err := s.Put(t.Context(), 0, block.Sum(long), long); err == nil {
		t.Error("Put of too long a block: no error")
	}
	if s.Len() != 0 {
		t.Errorf("Len = %d", s.Len())
	}
}

func TestSamePutIsOneWrite(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer mustClose(t, s)
	p := blocktest.Bytes(1, block.Size)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := s.Put(t.Context(), 0, block.Sum(p), p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := testutil.ToFloat64(s.metrics.written); n != 1 {
		t.Errorf("%v writes, want 1", n)
	}
}

// flip flips one bit of a file, keeping its times as a failing disk would.
func flip(t *testing.T, path string, off int64) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, fi.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	tests := map[string]func(t *testing.T, path string){
		"a flipped bit": func(t *testing.T, path string) { t.Helper(); flip(t, path, 70_000) },
		"cut":           func(t *testing.T, path string) { t.Helper(); check(t, os.Truncate(path, 99_999)) },
		"longer":        func(t *testing.T, path string) { t.Helper(); check(t, os.Truncate(path, 100_001)) },
		"empty":         func(t *testing.T, path string) { t.Helper(); check(t, os.Truncate(path, 0)) },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			defer mustClose(t, s)
			p := blocktest.Bytes(1, 100_000)
			d := mustPut(t, s, p)
			blocktest.Check(t, s, d, p)
			damage(t, s.path(d))
			if _, err := s.Open(d); !errors.Is(err, block.ErrCorrupt) {
				t.Errorf("Open: %v, want ErrCorrupt", err)
			}
			if _, err := s.Open(d); !errors.Is(err, block.ErrNotFound) || errors.Is(err, block.ErrCorrupt) {
				t.Errorf("Open again: %v, want ErrNotFound", err)
			}
			if s.Usage() != 0 || s.Len() != 0 {
				t.Errorf("Usage = %d, Len = %d", s.Usage(), s.Len())
			}
			mustPut(t, s, p)
			blocktest.Check(t, s, d, p)

			// A Put must not take a damaged block for a kept one.
			damage(t, s.path(d))
			mustPut(t, s, p)
			blocktest.Check(t, s, d, p)

			// Damage under an open block.
			b, err := s.Open(d)
			check(t, err)
			defer b.Close()
			damage(t, s.path(d))
			var out strings.Builder
			if n, err := b.WriteRange(&out, 10, 1000); n != 0 || !errors.Is(err, block.ErrCorrupt) || out.Len() > 0 {
				t.Errorf("WriteRange = %d, %v", n, err)
			}
			if _, err := b.ReadAt(make([]byte, 10), 0); !errors.Is(err, block.ErrCorrupt) {
				t.Errorf("ReadAt: %v", err)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A reader that met damage must not remove the good copy that came after it.
func TestOldReaderDoesNotDropNewCopy(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer mustClose(t, s)
	p := blocktest.Bytes(1, 1000)
	d := mustPut(t, s, p)
	b, err := s.Open(d)
	check(t, err)
	defer b.Close()
	flip(t, s.path(d), 500)
	mustPut(t, s, p) // finds the damage and writes again
	if _, err := b.ReadAt(make([]byte, 1), 0); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("ReadAt of the old copy: %v", err)
	}
	blocktest.Check(t, s, d, p)
}

// flipper damages the block after the first piece that it is given.
type flipper struct {
	t    *testing.T
	path string
	got  int
}

func (f *flipper) Write(p []byte) (int, error) {
	if f.got += len(p); f.got == pieceLen {
		flip(f.t, f.path, 900_000)
	}
	return len(p), nil
}

func TestDamageInTheMiddleOfAWrite(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer mustClose(t, s)
	d := mustPut(t, s, blocktest.Bytes(1, block.Size))
	b, err := s.Open(d)
	check(t, err)
	defer b.Close()
	n, err := b.WriteRange(&flipper{t: t, path: s.path(d)}, 0, block.Size)
	if n != pieceLen || err == nil || errors.Is(err, block.ErrCorrupt) {
		t.Errorf("WriteRange = %d, %v; want the first piece and an error of its own", n, err)
	}
	if _, ok := s.Has(d); ok {
		t.Error("the damaged block is still there")
	}
}

func TestRemovedBySomebodyElse(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer mustClose(t, s)
	d := mustPut(t, s, []byte("x"))
	check(t, os.Remove(s.path(d)))
	if _, err := s.Open(d); !errors.Is(err, block.ErrNotFound) {
		t.Errorf("Open: %v", err)
	}
	mustPut(t, s, []byte("x"))
	blocktest.Check(t, s, d, []byte("x"))
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	var all []block.Digest
	for i := range 10 {
		all = append(all, mustPut(t, s, fmt.Appendf(nil, "block %d", i)))
	}
	old := time.Now().Add(-time.Hour)
	for _, d := range all {
		check(t, os.Chtimes(s.path(d), old, old))
	}
	mustClose(t, s)
	s = mustOpen(t, dir)
	start := time.Now()
	mustPut(t, s, []byte("block 3")) // somebody needs it again
	n := 0
	check(t, s.Walk(t.Context(), func(d block.Digest, size int64, modtime time.Time) error {
		if n++; size != 7 || (d == all[3]) == modtime.Before(start) {
			t.Errorf("Walk gave size %d, modtime %v", size, modtime)
		}
		gone, err := s.RemoveOlder(d, start)
		if gone == (d == all[3]) {
			t.Errorf("RemoveOlder(%s) = %v", d, gone)
		}
		return err
	}))
	if n != 10 || s.Len() != 1 || s.Usage() != 7 {
		t.Errorf("walked %d; Len = %d, Usage = %d", n, s.Len(), s.Usage())
	}
	mustClose(t, s)
	s = mustOpen(t, dir) // the new time was written down
	defer mustClose(t, s)
	if gone, err := s.RemoveOlder(all[3], start.Add(-time.Second)); gone || err != nil {
		t.Errorf("RemoveOlder after another start = %v, %v", gone, err)
	}
	check(t, s.Remove(all[3]))
	check(t, s.Remove(all[3]))
	mine := errors.New("mine")
	mustPut(t, s, []byte("one"))
	if err := s.Walk(t.Context(), func(block.Digest, int64, time.Time) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("Walk: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Walk(ctx, func(block.Digest, int64, time.Time) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Walk: %v", err)
	}
}

func TestScrub(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer mustClose(t, s)
	var bad block.Digest
	for i := range 10 {
		d := mustPut(t, s, blocktest.Bytes(uint64(i), 10_000))
		if i == 4 {
			bad = d
			flip(t, s.path(d), 77)
		}
	}
	start := time.Now()
	seen, err := s.Scrub(t.Context(), 1_000_000)
	if err != nil || seen.Blocks != 9 || seen.Bytes != 90_000 || len(seen.Damaged) != 1 || seen.Damaged[0] != bad {
		t.Errorf("Scrub = %+v, %v", seen, err)
	}
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("90 kB at 1 MB/s took %s", took)
	}
	if _, ok := s.Has(bad); ok {
		t.Error("the damaged block is still there")
	}
	if _, err := s.Scrub(t.Context(), 0); err == nil {
		t.Error("Scrub at no speed: no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if seen, err := s.Scrub(ctx, 100_000); !errors.Is(err, context.DeadlineExceeded) || seen.Blocks == 9 {
		t.Errorf("Scrub with a deadline = %+v, %v", seen, err)
	}
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	free, _, err := diskSpace(dir)
	check(t, err)
	s, err := Open(Config{Dir: dir, ReserveBytes: free + 1<<40}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	check(t, err)
	defer mustClose(t, s)
	p := []byte("x")
	if _, err := s.Put(t.Context(), 0, block.Sum(p), p); !errors.Is(err, block.ErrNoSpace) {
		t.Errorf("Put within the reserve: %v", err)
	}
	if s.Len() != 0 || s.pending != 0 {
		t.Errorf("Len = %d, pending = %d", s.Len(), s.pending)
	}
}

func TestClosed(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	d := mustPut(t, s, []byte("x"))
	b, err := s.Open(d)
	check(t, err)
	mustClose(t, s)
	if n, err := b.ReadAt(make([]byte, 1), 0); n != 1 || err != nil {
		t.Errorf("an open block of a closed store: %d, %v", n, err)
	}
	check(t, b.Close())
	if _, err := s.Open(d); err == nil || errors.Is(err, block.ErrNotFound) {
		t.Errorf("Open: %v", err)
	}
	if _, err := s.Put(t.Context(), 0, block.Sum(nil), nil); err == nil {
		t.Error("Put: no error")
	}
	if err := s.Close(); err == nil {
		t.Error("second Close: no error")
	}
}
