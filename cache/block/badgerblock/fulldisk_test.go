package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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
		if err := fillDisk(hog); err != nil {
			t.Fatal(err)
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

// closingEnv tells a process of its own what to close: a Badger that could not
// be closed is left as it is, which the tests' own process would complain of.
const closingEnv = "PREAU_BADGERBLOCK_CLOSING"

// closeInChild writes blocks to a new segment in dir and closes it when its
// folder is gone or, with a hog, the disk is full to the last byte. It returns
// what the child says: the error, and how many blocks can be read.
func closeInChild(t *testing.T, dir, hog string, blocks int) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", closingEnv, dir, hog, blocks))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("closing with %d blocks: %v\n%s", blocks, err, out[:min(len(out), 3000)])
	}
	return strings.TrimSpace(string(out))
}

func closingMain(spec string) error {
	parts := strings.SplitN(spec, "|", 3)
	dir, hog := parts[0], parts[1]
	blocks, err := strconv.Atoi(parts[2])
	if err != nil {
		return err
	}
	w, vlog, err := openedWriter(dir, blocks)
	if err != nil {
		return err
	}
	if hog == "" {
		err = os.RemoveAll(dir)
	} else {
		// Somebody takes the ballast's room before the table does.
		err = errors.Join(os.Remove(filepath.Join(dir, ballastName)), fillDisk(hog))
	}
	if err != nil {
		return err
	}
	closed := w.close(dir)
	n, err := readable(w, vlog)
	fmt.Printf("%d blocks, error: %v\n", n, closed)
	return err
}

func TestClosingWithoutRoom(t *testing.T) {
	disk := os.Getenv("PREAU_SMALL_DISK")
	if disk == "" {
		t.Skip("PREAU_SMALL_DISK names no small file system")
	}
	dir, hog := filepath.Join(disk, "segment"), filepath.Join(disk, "hog")
	clear := func() {
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(hog)); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(clear)
	for _, blocks := range []int{0, 3, 500} { // no table, one of a page, one of many
		said := closeInChild(t, dir, hog, blocks)
		t.Log(said)
		if !strings.HasPrefix(said, fmt.Sprintf("%d blocks, ", blocks)) {
			t.Errorf("%s, want %d blocks", said, blocks)
		}
		if fine := strings.HasSuffix(said, "<nil>"); blocks == 0 && !fine || blocks == 500 && fine {
			t.Errorf("%d blocks: %s", blocks, said)
		}
		clear()
	}
}

// Badger tries again for ever to write a table that it can't write.
func TestClosingEndsWhereNoTableCanBeWritten(t *testing.T) {
	said := closeInChild(t, filepath.Join(t.TempDir(), "segment"), "", 3)
	if !strings.HasPrefix(said, "3 blocks, ") || strings.HasSuffix(said, "<nil>") {
		t.Errorf("%s, want 3 blocks and an error", said)
	}
}

func TestClosingLeavesTheValueLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "segment")
	for _, blocks := range []int{0, 30} {
		w, vlog, err := openedWriter(dir, blocks)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.close(dir); err != nil {
			t.Fatal(err)
		}
		if !w.db.IsClosed() {
			t.Error("it is still open")
		}
		if n, err := readable(w, vlog); err != nil || n != blocks {
			t.Errorf("%d of %d blocks, %v", n, blocks, err)
		}
		if err := errors.Join(vlog.Close(), os.RemoveAll(dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// readable counts the blocks in vlog that are whole.
func readable(w *writer, vlog *os.File) (n int, err error) {
	_, err = scan(vlog, make([]byte, scanBuffer), vlogHeader, w.size, func(e entry) error {
		if _, ok := digestOf(e.key); !ok {
			return nil
		}
		p := make([]byte, e.end()-e.start)
		if _, err := vlog.ReadAt(p, e.start); err != nil {
			return err
		}
		if checkEntry(p) {
			n++
		}
		return nil
	})
	return n, err
}

// openedWriter is a writer in dir with n blocks.
func openedWriter(dir string, n int) (*writer, *os.File, error) {
	w, err := openWriter(dir, geometryFor(2*mib), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	vlog, err := os.Open(filepath.Join(dir, vlogName))
	if err != nil {
		return nil, nil, err
	}
	for i := range n {
		p := blocktest.Bytes(uint64(i), 2000)
		if err := w.commit(vlog, []pair{{blockKey(block.Sum(p)), p}}, func(entry) {}); err != nil {
			return nil, nil, err
		}
	}
	return w, vlog, nil
}

// fillDisk appends to the hog until not a byte more goes.
func fillDisk(hog string) error {
	f, err := os.OpenFile(hog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for n := mib; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	return f.Close()
}
