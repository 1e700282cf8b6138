package badgermeta

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"preau/cache/object"
)

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, _, lost, err := Open(patientConfig(dir), slog.New(slog.DiscardHandler))
	if err != nil || lost != nil {
		t.Fatalf("open: %v, lost = %v", err, lost)
	}
	return s
}

// patientConfig waits for what Badger writes, however slow the machine is.
func patientConfig(dir string) Config {
	cfg := DefaultConfig(dir)
	cfg.wait = time.Minute
	return cfg
}

// fewer is n, or short if the tests are to be short.
func fewer(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

func num(prefix byte, i int) []byte { return binary.BigEndian.AppendUint32([]byte{prefix}, uint32(i)) }

// noise is a value that does not compress.
func noise(n, seed int) []byte {
	b := make([]byte, n+7)
	x := uint64(seed)*2862933555777941757 + 3037000493
	for i := 0; i < n; i += 8 {
		x = x*6364136223846793005 + 1442695040888963407
		binary.BigEndian.PutUint64(b[i:], x^x>>32)
	}
	return b[:n:n]
}

func allocated(t *testing.T, name string) (size, blocks int64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Size, st.Blocks * 512
}

func TestLogsAreAllocatedBeforeTheyAreUsed(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	defer s.Close()
	if s.room.unable {
		t.Skip("this file system can't allocate")
	}
	s.room.scarce = 1 << 62
	first := s.room.mem
	for i := 0; s.room.mem < first+3; i++ {
		if i > 200 {
			t.Fatal("the log was never changed")
		}
		if err := s.Write([]object.Change{{Key: num('k', i), Value: noise(200<<10, i)}}); err != nil {
			t.Fatal(err)
		}
		if size, have := allocated(t, memName(dir, s.room.mem)); size != 2*memTableSize || have < logReach {
			t.Fatalf("write %d: log %d has %d of %d bytes allocated", i, s.room.mem, have, size)
		}
		if size, have := allocated(t, memName(dir, s.room.mem+1)); size != 0 || have < logReach {
			t.Fatalf("write %d: the next log has %d bytes, %d allocated", i, size, have)
		}
	}
	if size, have := allocated(t, filepath.Join(dir, ballastFile)); size != 0 || have < s.room.ballastSize() {
		t.Errorf("the ballast has %d bytes allocated, want %d", have, s.room.ballastSize())
	}
	s.room.scarce = 0
	if s.room.prepare(); s.room.ballast != 0 {
		t.Error("there is ballast on a disk with plenty of room")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.mem")); len(left) > 0 {
		t.Errorf("left after Close: %v", left)
	}
}

func TestDeletionsGoOnBelowTheReserve(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer s.Close()
	if err := s.Write([]object.Change{{Key: []byte("a"), Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	reserve := s.room.cfg.ReserveBytes
	s.room.cfg.ReserveBytes = 1 << 60
	if err := s.Write([]object.Change{{Key: []byte("b"), Value: []byte("1")}}); !errors.Is(err, object.ErrFull) {
		t.Errorf("a record below the reserve: %v", err)
	}
	if err := s.Write([]object.Change{{Key: []byte("a"), Delete: true}}); err != nil {
		t.Errorf("a deletion below the reserve: %v", err)
	}
	if _, err := s.Get([]byte("a")); !errors.Is(err, object.ErrNotFound) {
		t.Errorf("the deleted record: %v", err)
	}
	s.room.cfg.ReserveBytes = reserve
}

// TestFullDisk has somebody else fill the disk to the last byte, in a process
// of its own since what it is about, a SIGBUS, ends one. It needs a small file
// system (64 to 512 MiB) of its own, named by PREAU_SMALL_DISK.
func TestFullDisk(t *testing.T) {
	disk := os.Getenv("PREAU_SMALL_DISK")
	if disk == "" {
		t.Skip("PREAU_SMALL_DISK names no small file system")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil || int64(st.Blocks)*int64(st.Bsize) > 512<<20 {
		t.Fatalf("%s: %v: not a small file system", disk, err)
	}
	dir := filepath.Join(disk, "meta")
	t.Cleanup(func() {
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+".damaged"), os.RemoveAll(filepath.Join(disk, "hog"))); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"Filled", "Deletions", "Racing", "Reopened"} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(filepath.Join(disk, "hog"))); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOnFullDisk"+name+"$", "-test.v")
			cmd.Env = append(os.Environ(), "PREAU_SMALL_DISK_CHILD=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out[:min(len(out), 4000)])
			}
		})
	}
}

// smallDisk is the folder and the hog of the process that TestFullDisk starts.
func smallDisk(t *testing.T) (dir, hog string) {
	t.Helper()
	if os.Getenv("PREAU_SMALL_DISK_CHILD") == "" {
		t.Skip("run by TestFullDisk")
	}
	disk := os.Getenv("PREAU_SMALL_DISK")
	return filepath.Join(disk, "meta"), filepath.Join(disk, "hog")
}

// fill appends to the hog until not a byte more goes.
func fill(t *testing.T, hog string) {
	t.Helper()
	fillSlowly(t, hog, 0)
}

func fillSlowly(t *testing.T, hog string, pause time.Duration) {
	t.Helper()
	f, err := os.OpenFile(hog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for n := 1 << 20; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
		time.Sleep(pause) //nolint:forbidigo // a real disk, so no bubble
	}
}

func TestOnFullDiskFilled(t *testing.T) {
	dir, hog := smallDisk(t)
	s := mustOpen(t, dir)
	for i := range 30 {
		if err := s.Write([]object.Change{{Key: num('k', i), Value: noise(50<<10, i)}}); err != nil {
			t.Fatalf("on an empty disk: %v", err)
		}
	}
	fill(t, hog)
	for i := range 200 {
		if err := s.Write([]object.Change{{Key: num('x', i), Value: noise(100<<10, i)}}); !errors.Is(err, object.ErrFull) {
			t.Fatalf("record on a full disk: %v", err)
		}
	}
	// Others fill the disk between the look at it and the write.
	s.room.cfg.ReserveBytes = -1
	for i := range 40 {
		if err := s.Write([]object.Change{{Key: num('y', i), Value: noise(100<<10, i)}}); err != nil {
			t.Fatalf("record into the allocated log: %v", err)
		}
	}
	s.room.cfg = s.cfg
	if err := s.Close(); err != nil {
		t.Fatalf("close on a full disk, with the ballast: %v", err)
	}
	fill(t, hog)
	if _, _, _, err := Open(DefaultConfig(dir), slog.New(slog.DiscardHandler)); !errors.Is(err, object.ErrFull) { //nolint:errcheck // nothing is lost
		t.Errorf("open on a full disk: %v", err)
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	defer s.Close()
	for i := range 30 {
		if b, err := s.Get(num('k', i)); err != nil || len(b) != 50<<10 {
			t.Errorf("record %d: %d bytes, %v", i, len(b), err)
		}
	}
}

func TestOnFullDiskDeletions(t *testing.T) {
	dir, hog := smallDisk(t)
	s := mustOpen(t, dir)
	fill(t, hog)
	full, n := false, 0
	for ; n < 60 && !full; n++ {
		batch := make([]object.Change, 10_000)
		for i := range batch {
			batch[i] = object.Change{Key: num('k', n*10_000+i), Delete: true}
		}
		err := s.Write(batch)
		if full = errors.Is(err, object.ErrFull); err != nil && !full {
			t.Fatal(err)
		}
		fill(t, hog)
	}
	t.Logf("%d batches of deletions", n)
	if n < 8 {
		t.Errorf("%d batches of deletions on a full disk, want more than a log of them", n)
	}
	if err := s.Close(); err != nil && !errors.Is(err, object.ErrFull) {
		t.Error(err)
	}
}

// A disk with any amount of room left, which is then filled to the last byte as
// soon as the store says that it is open.
func TestOnFullDiskReopened(t *testing.T) {
	dir, hog := smallDisk(t)
	opened, refused := 0, 0
	left := killed(t, 60, 100<<10, 1)
	for room := 2; room < 40; room += 2 {
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(left))); err != nil {
			t.Fatal(err)
		}
		spare := hog + ".spare"
		if done, err := allocate(spare, int64(room)<<20); err != nil || !done {
			t.Fatalf("set %d MiB aside: %v", room, err)
		}
		unix.Sync() // ext4 gives back what was removed with its next commit
		fill(t, hog)
		if err := os.Remove(spare); err != nil {
			t.Fatal(err)
		}
		s, fresh, lost, err := Open(DefaultConfig(dir), slog.New(slog.DiscardHandler))
		fill(t, hog)
		switch {
		case errors.Is(err, object.ErrFull):
			refused++
		case err != nil || fresh || lost != nil:
			t.Fatalf("with %d MiB: fresh = %v, lost = %v, %v", room, fresh, lost, err)
		default:
			opened++
			for i := range 60 {
				if b, err := s.Get(num('k', i)); err != nil || len(b) != 100<<10 {
					t.Errorf("record %d: %d bytes, %v", i, len(b), err)
				}
			}
			if err := s.Close(); err != nil && !errors.Is(err, object.ErrFull) {
				t.Error(err)
			}
		}
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		if s != nil { // what it could not write then
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("opened %d times, refused %d times", opened, refused)
	if opened == 0 || refused == 0 {
		t.Error("want both")
	}
}

func TestOnFullDiskRacing(t *testing.T) {
	dir, hog := smallDisk(t)
	s := mustOpen(t, dir)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for { // fills the disk at some 40 MiB/s, over and over
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				fillSlowly(t, hog, 25*time.Millisecond)
				if err := os.Remove(hog); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	wrote, refused := 0, 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		i := wrote % 50
		err := s.Write([]object.Change{{Key: num('k', i), Value: noise(100<<10, wrote)}})
		switch {
		case errors.Is(err, object.ErrFull):
			refused++
			time.Sleep(time.Millisecond) //nolint:forbidigo // a real disk, so no bubble
		case err != nil:
			t.Fatal(err)
		default:
			wrote++
		}
	}
	close(stop)
	<-done
	t.Logf("%d written, %d refused", wrote, refused)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
