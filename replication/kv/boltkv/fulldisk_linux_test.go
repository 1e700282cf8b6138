package boltkv

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

// smallDisk mounts a file system of n bytes, for which it takes root.
func smallDisk(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", n)); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes all room on the disk that holds path.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := mib; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 24*mib)
	path, hog := filepath.Join(dir, "kv"), filepath.Join(dir, "hog")
	s := mustOpen(t, path)
	want := map[string]string{}
	n := 0
	// add puts until it is refused or has put this many updates of 100 KiB.
	add := func(most int) error {
		for range most {
			n++
			next := maps.Clone(want)
			if err := s.Update(func(tx kv.Tx) error {
				for i := range 100 {
					k, v := fmt.Sprintf("k/%d/%d", n, i), strings.Repeat("x", 1000)
					next[k] = v
					if err := tx.Put([]byte(k), []byte(v)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			want = next
		}
		return nil
	}
	if err := add(10); err != nil {
		t.Fatal(err)
	}
	fill(t, hog)
	for range 5 {
		if err := add(100); !errors.Is(err, kv.ErrFull) {
			t.Fatalf("Update on a full disk: %v", err)
		}
		kvtest.Check(t, s, want)
	}
	if err := s.Replace(func(put func(k, v []byte) error) error {
		for i := range 5000 {
			if err := put(fmt.Appendf(nil, "%d", i), make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	}); !errors.Is(err, kv.ErrFull) {
		t.Fatalf("Replace on a full disk: %v", err)
	}
	kvtest.Check(t, s, want)
	// What fits in free pages still goes: an operator can make room.
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	mustClose(t, s)
	s = mustOpen(t, path)
	kvtest.Check(t, s, want)
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	if err := add(20); err != nil {
		t.Errorf("Update with room again: %v", err)
	}
	kvtest.Check(t, s, want)
	if err := s.Replace(func(put func(k, v []byte) error) error { return put([]byte("a"), []byte("1")) }); err != nil {
		t.Errorf("Replace with room again: %v", err)
	}
	kvtest.Check(t, s, map[string]string{"a": "1"})
	mustClose(t, s)

	// A store that cannot even be made leaves nothing that stops the next try.
	fill(t, hog)
	other := filepath.Join(dir, "other")
	if _, err := Open(other, testConfig()); !errors.Is(err, kv.ErrFull) {
		t.Errorf("Open of a new store on a full disk: %v", err)
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, other))
}
