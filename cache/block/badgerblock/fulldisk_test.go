package badgerblock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// TestFullDisk has somebody else fill the disk to the last byte. It needs a
// small file system (64 to 512 MiB) of its own, named by PREAU_SMALL_DISK:
// what it is about, a SIGBUS, cannot be had otherwise.
func TestFullDisk(t *testing.T) {
	disk := os.Getenv("PREAU_SMALL_DISK")
	if disk == "" {
		t.Skip("PREAU_SMALL_DISK names no small file system")
	}
	if _, total, err := diskSpace(disk); err != nil || total > 512*mib {
		t.Fatalf("%s has %d bytes, %v: not a small file system", disk, total, err)
	}
	cfg := testConfig(filepath.Join(disk, "store"))
	cfg.BudgetBytes = 4 << 30
	cfg.SegmentBytes = 2 * mib
	hog := filepath.Join(disk, "hog")
	t.Cleanup(func() {
		if err := errors.Join(os.RemoveAll(cfg.Dir), os.RemoveAll(hog)); err != nil {
			t.Error(err)
		}
	})
	fill := func() {
		f, err := os.OpenFile(hog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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
	next := 0
	put := func(s *Store, n int) (refused int) {
		for range n {
			next++
			p := blocktest.Bytes(uint64(next), 1+next*9973%block.Size)
			_, err := s.Put(t.Context(), block.Ring(next%3), block.Sum(p), p)
			switch {
			case errors.Is(err, block.ErrNoSpace):
				refused++
			case err != nil:
				t.Errorf("Put: %v", err)
			default:
				blocktest.Check(t, s, block.Sum(p), p)
			}
		}
		return refused
	}
	k := &shelf{err: errors.New("everything is pinned")} // so that nothing makes way
	s := mustOpen(t, cfg, k)
	if n := put(s, 30); n > 0 {
		t.Fatalf("%d blocks refused on an empty disk", n)
	}
	fill()
	if n := put(s, 30); n != 30 {
		t.Errorf("%d of 30 blocks refused on a full disk", n)
	}
	fill()
	if err := s.Close(); err != nil {
		t.Logf("Close on a full disk: %v", err)
	}
	fill()
	s = mustOpen(t, cfg, k)
	put(s, 30)
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	k.err = nil
	k.mu.Unlock()
	s.stuckUntil = s.stuckUntil.Add(-maxStuck)
	if n := put(s, 300); n > 0 {
		t.Errorf("%d of 300 blocks refused with room again", n)
	}
}
