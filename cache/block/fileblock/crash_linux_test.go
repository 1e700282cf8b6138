package fileblock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// childEnv makes the test binary a process that puts blocks into the folder it
// names until somebody kills it.
const childEnv = "PREAU_FILEBLOCK_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func blockOf(i int) []byte { return blocktest.Bytes(uint64(i), 1+i*7919%block.Size) }

func child(dir string) error {
	s, err := tryOpen(dir)
	if err != nil {
		return err
	}
	for i := s.Len(); ; i++ {
		p := blockOf(i)
		if _, err := s.Put(context.Background(), 0, block.Sum(p), p); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestKill(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	check(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	acked := -1
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		lines := bufio.NewScanner(out)
		lines.Scan()
		timer := time.AfterFunc(time.Duration(rng.IntN(20_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for more := true; more; more = lines.Scan() {
			if acked, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		timer.Stop()
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		s := mustOpen(t, dir)
		if n := s.Len(); n < acked+1 || n > acked+2 {
			t.Fatalf("round %d: %d blocks, acknowledged: %d", round, n, acked+1)
		}
		for i := range s.Len() {
			p := blockOf(i)
			blocktest.Check(t, s, block.Sum(p), p)
		}
		if left, err := os.ReadDir(filepath.Join(dir, tempName)); err != nil || len(left) > 0 {
			t.Fatalf("round %d: leftovers %v, %v", round, left, err)
		}
		mustClose(t, s)
	}
}

// A disk that somebody else fills to the last byte. It takes root, to mount one.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s := mustOpen(t, filepath.Join(disk, "blocks"))
	defer mustClose(t, s)
	next := 0
	put := func() error {
		next++
		p := blockOf(next)
		_, err := s.Put(t.Context(), 0, block.Sum(p), p)
		if err == nil {
			blocktest.Check(t, s, block.Sum(p), p)
		}
		return err
	}
	for range 5 {
		check(t, put())
	}
	hog := filepath.Join(disk, "hog")
	f, err := os.Create(hog)
	check(t, err)
	for n := mib; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	check(t, f.Close())
	for range 20 {
		if err := put(); !errors.Is(err, block.ErrNoSpace) {
			t.Errorf("Put on a full disk: %v", err)
		}
	}
	// The last bytes: past the reserve, but not enough for the block.
	check(t, os.Truncate(hog, 13*mib))
	s.cfg.ReserveBytes = 0
	if err := put(); !errors.Is(err, block.ErrNoSpace) {
		t.Errorf("Put with a quarter of the disk as the reserve: %v", err)
	}
	s.cfg.ReserveBytes = 1
	var last error
	for i := 0; i < 40 && last == nil; i++ {
		last = put()
	}
	if !errors.Is(last, block.ErrNoSpace) {
		t.Errorf("the disk took more than it has: %v", last)
	}
	if left, err := os.ReadDir(filepath.Join(disk, "blocks", tempName)); err != nil || len(left) > 0 {
		t.Errorf("leftovers of refused blocks: %v, %v", left, err)
	}
	check(t, os.Remove(hog))
	check(t, put())
	for i := range 5 {
		p := blockOf(i + 1)
		blocktest.Check(t, s, block.Sum(p), p)
	}
}

func BenchmarkPut(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	defer mustClose(b, s)
	p := blocktest.Bytes(1, block.Size)
	b.SetBytes(block.Size)
	i := 0
	for b.Loop() {
		i++
		copy(p, strconv.Itoa(i))
		mustPut(b, s, p)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	defer mustClose(b, s)
	d := mustPut(b, s, blocktest.Bytes(1, block.Size))
	b.SetBytes(block.Size)
	for b.Loop() {
		f, err := s.Open(d)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
