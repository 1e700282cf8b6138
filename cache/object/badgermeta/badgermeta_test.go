package badgermeta_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/cache/object"
	"preau/cache/object/badgermeta"
	"preau/cache/object/objecttest"
)

func open(t *testing.T, dir string) *badgermeta.Store {
	t.Helper()
	s, _, _, err := badgermeta.Open(badgermeta.DefaultConfig(dir), slog.New(slog.DiscardHandler)) //nolint:errcheck // what is lost is another test's
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	objecttest.Run(t, func(*testing.T) object.KV { return objecttest.NewMemory() })
	objecttest.Run(t, func(t *testing.T) object.KV {
		t.Helper()
		s := open(t, t.TempDir())
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

func TestReopenKeepsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Write([]object.Change{{Key: []byte("a"), Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if v, err := s.Get([]byte("a")); err != nil || string(v) != "1" {
		t.Errorf("after reopening: %q, %v", v, err)
	}
}

// A flipped bit in any file may cost records but neither the start nor the
// truth: what can be read is what was written.
func TestFlippedBitsNeverStopTheStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 50 {
		k := []byte{'k', byte(i)}
		if err := s.Write([]object.Change{{Key: k, Value: []byte(strings.Repeat(string(rune('a'+i%26)), 2000))}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, f := range files {
		for _, at := range []float64{0, 0.3, 0.6, 0.99} {
			t.Run(filepath.Base(f), func(t *testing.T) {
				damaged := t.TempDir()
				if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				name := filepath.Join(damaged, filepath.Base(f))
				b, err := os.ReadFile(name)
				if err != nil || len(b) == 0 {
					return
				}
				b[int(float64(len(b))*at)] ^= 16
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
				s, _, _, err := badgermeta.Open(badgermeta.DefaultConfig(damaged), slog.New(slog.DiscardHandler)) //nolint:errcheck // what is lost is another test's
				if err != nil {
					t.Fatalf("open: %v", err)
				}
				defer func() { _ = s.Close() }() // it may complain about what was flipped
				for i := range 50 {
					_, err := s.Get([]byte{'k', byte(i)})
					if err != nil && !errors.Is(err, object.ErrNotFound) {
						t.Logf("key %d: %v", i, err)
					}
				}
			})
		}
	}
}

func TestDiedWhileOpeningIsPutAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "meta")
	s := open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "opening"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, fresh, lost, err := badgermeta.Open(badgermeta.DefaultConfig(dir), slog.New(slog.DiscardHandler))
	if err != nil || !fresh || lost == nil {
		t.Fatalf("fresh = %v, lost = %v, err = %v", fresh, lost, err)
	}
	defer s.Close()
	if _, err := os.Stat(dir + ".damaged"); err != nil {
		t.Errorf("the old folder was not kept: %v", err)
	}
}

func TestNoRoomIsToldBeforeTheWrite(t *testing.T) {
	cfg := badgermeta.DefaultConfig(t.TempDir())
	cfg.ReserveBytes = 1 << 60
	_, _, _, err := badgermeta.Open(cfg, slog.New(slog.DiscardHandler)) //nolint:errcheck // what is lost is another test's
	if !errors.Is(err, object.ErrFull) {
		t.Errorf("err = %v, want ErrFull", err)
	}
}
