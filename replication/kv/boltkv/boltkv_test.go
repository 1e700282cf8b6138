package boltkv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

func testConfig() Config {
	c := DefaultConfig()
	c.LockTimeout = 0
	return c
}

func mustOpen(tb testing.TB, path string) *Store {
	tb.Helper()
	s, err := Open(path, testConfig())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustClose(tb testing.TB, s kv.Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store {
		t.Helper()
		return mustOpen(t, filepath.Join(t.TempDir(), "sub", "kv"))
	}, func(t *testing.T, s kv.Store) kv.Store {
		t.Helper()
		if err := s.(*Store).Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
		mustClose(t, s)
		return mustOpen(t, s.(*Store).path)
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {MaxBytes: 1 << 50}, {MaxBytes: gib, LockTimeout: -1}} {
		if _, err := Open(filepath.Join(t.TempDir(), "kv"), c); err == nil {
			t.Errorf("Open with %+v: no error", c)
		}
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv")
	s := mustOpen(t, path)
	// Also after the file has become another one.
	if err := s.Replace(func(put func(k, v []byte) error) error { return put([]byte("a"), nil) }); err != nil {
		t.Fatal(err)
	}
	c := testConfig()
	c.LockTimeout = 50 * time.Millisecond
	if _, err := Open(path, c); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, path))
}

func TestLeftoversOfReplaceAreRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv")
	s := mustOpen(t, path)
	kvtest.Put(t, s, "a", "1")
	mustClose(t, s)
	if err := os.WriteFile(path+newSuffix, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	kvtest.Check(t, s, map[string]string{"a": "1"})
	mustClose(t, s)
	if _, err := os.Stat(path + newSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftover is still there: %v", err)
	}
}

// A view held while the same keys are written again and again must not make
// the file grow with every update.
func TestLongView(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "kv"))
	defer mustClose(t, s)
	rng := rand.New(rand.NewPCG(1, 1))
	write := func() {
		if err := s.Update(func(tx kv.Tx) error {
			for range 20 {
				k := fmt.Sprintf("key/%03d", rng.IntN(500))
				if err := tx.Put([]byte(k), bytes.Repeat([]byte{byte(rng.Uint32())}, 300)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		write()
	}
	before := s.Size()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	dump := func(b *bytes.Buffer) {
		if err := v.Scan(nil, nil, func(k, val []byte) bool {
			b.Write(k)
			b.Write(val)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	dump(&want)
	for range 150 { // each writes about 25 pages: 15 MiB if none were used again
		write()
	}
	var got bytes.Buffer
	if dump(&got); !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("the view has changed")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if after := s.Size(); after > before+2*mib {
		t.Errorf("the file grew from %d to %d bytes under one view", before, after)
	}
}

func TestLimit(t *testing.T) {
	cfg := testConfig()
	cfg.MaxBytes = 16 * mib
	s, err := Open(filepath.Join(t.TempDir(), "kv"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	value := make([]byte, mib)
	n := 0
	for ; n < 40; n++ {
		err = s.Update(func(tx kv.Tx) error { return tx.Put([]byte{byte(n), 1}, value) })
		if err != nil {
			break
		}
	}
	if !errors.Is(err, kv.ErrFull) || n < 8 {
		t.Fatalf("after %d MiB: %v, want ErrFull", n, err)
	}
	if err := s.Replace(func(put func(k, v []byte) error) error { return put([]byte("a"), []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	kvtest.Put(t, s, "b", "2")
	kvtest.Check(t, s, map[string]string{"a": "1", "b": "2"})
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	s := mustOpen(t, good)
	for i := range 20 {
		kvtest.Put(t, s, fmt.Sprintf("k%d", i), strings.Repeat("v", 1000))
	}
	mustClose(t, s)
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, 100_000)
	for i := range garbage {
		garbage[i] = byte(i * 7)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "a byte": {1}, "garbage": garbage, "zeros": make([]byte, 1<<16),
		"half a page": whole[:2048], "two pages": whole[:8192], "cut": whole[:len(whole)/64],
	} {
		path := filepath.Join(dir, "bad")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, testConfig())
		if !errors.Is(err, kv.ErrDamaged) || !strings.Contains(err.Error(), "remove this file") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Open: %v; want ErrDamaged, the path and advice", name, err)
		}
	}
}
