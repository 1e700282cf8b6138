//go:build system && linux

package box

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"preau/node/config"
)

// cannot ends a test that the machine has no means for: a machine of the
// project's own tests must have them.
func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// command runs a tool and returns what it says.
func command(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// mount mounts something until the test ends and returns where.
func mount(t *testing.T, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, "only root can mount a small disk")
	}
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "mount", append(args, dir)...); err != nil {
		cannot(t, "mount %s: %v: %s", strings.Join(args, " "), err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH) // so that the folder can be removed
		}
	})
	return dir
}

// smallDisks are the file systems that a full disk is tried on.
func smallDisks() map[string]func(t *testing.T) string {
	return map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string {
			t.Helper()
			return mount(t, "-t", "tmpfs", "-o", "size=128m", "tmpfs")
		},
		"ext4": func(t *testing.T) string {
			t.Helper()
			image := filepath.Join(t.TempDir(), "image")
			f, err := os.Create(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(144 << 20); err != nil {
				t.Fatal(err)
			}
			mkfs, err := exec.LookPath("mkfs.ext4")
			if err != nil {
				cannot(t, "there is no mkfs.ext4")
			}
			if out, err := command(t, mkfs, "-q", "-m", "0", image); err != nil {
				t.Fatalf("mkfs.ext4: %v: %s", err, out)
			}
			return mount(t, "-t", "ext4", "-o", "loop", image)
		},
	}
}

// patience is what a box is given for one answer, and for noticing that there is
// room again: a disk that others keep busy may take half a minute for a sync.
const patience = 2 * time.Minute

// hog fills the disk to the last byte.
func hog(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for p := make([]byte, 1<<20); len(p) > 0; {
		if _, err := f.Write(p); err != nil {
			p = p[:len(p)/2]
		}
	}
}

// TestFullDisk is a box on a disk that is much smaller than its budget, and
// that somebody else then fills to the last byte.
func TestFullDisk(t *testing.T) {
	for name, disk := range smallDisks() {
		t.Run(name, func(t *testing.T) { fullDisk(t, disk(t)) })
	}
}

func fullDisk(t *testing.T, disk string) {
	t.Helper()
	o := newOrigin(t, 0)
	cfg := oneSite(filepath.Join(disk, "data"), o.url())
	cfg.Budget = 2 * config.GiB
	c := newClients(t, o, patience)
	rng := newRand(t)
	n := 0
	fresh := func(total int64) []string {
		var out []string
		for total > 0 {
			size := 4<<10 + rng.Int64N(200<<10)
			if rng.IntN(2) == 0 {
				size = rng.Int64N(5 << 20)
			}
			n++
			total -= size
			out = append(out, path(size, n))
		}
		return out
	}
	says := func(box *process, when string) int {
		status, text, err := box.ready(t.Context())
		if err != nil {
			t.Errorf("/readyz %s: %v", when, err)
		}
		t.Logf("/readyz %s: %d %q; %.1f MiB in the data folder", when, status, text, float64(diskUse(cfg.Data))/(1<<20))
		return status
	}

	box := begin(t, cfg)
	c.mustAll(t, box, fresh(300<<20), "on a small disk")
	box.alive(t)
	says(box, "on a small disk")

	file := filepath.Join(disk, "hog")
	var outsider sync.WaitGroup
	outsider.Go(func() {
		for range 20 {
			hog(t, file)
			time.Sleep(100 * time.Millisecond)
		}
	})
	c.mustAll(t, box, fresh(100<<20), "while the disk fills up")
	outsider.Wait()
	hog(t, file)
	some := fresh(20 << 20)
	c.mustAll(t, box, some, "on a full disk")
	box.alive(t)
	says(box, "on a full disk")
	box.kill(t)

	hog(t, file)
	box = begin(t, cfg)
	t.Logf("started on a full disk after %v", box.took.Round(time.Millisecond))
	hog(t, file)
	c.mustAll(t, box, some, "started on a full disk")
	says(box, "started on a full disk")
	box.stop(t)
	box = begin(t, cfg)
	c.mustAll(t, box, some, "started on a full disk again")

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	// It looks again every ten seconds, both at the start and while it runs.
	some = fresh(8 << 20)
	held := func() bool {
		c.mustAll(t, box, some, "with room again")
		before := o.sentBytes()
		c.mustAll(t, box, some, "with room again")
		after := o.sentBytes()
		for _, p := range some {
			if after[p] != before[p] {
				return false
			}
		}
		return true
	}
	for began := time.Now(); !held(); time.Sleep(500 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("nothing is stored %v after there was room again", patience)
		}
	}
	if status := says(box, "with room again"); status != 200 {
		t.Errorf("not ready with room again")
	}
	// What is in memory must reach the disk, or be given up, without the room.
	hog(t, file)
	box.stop(t)
	box = begin(t, cfg)
	c.mustAll(t, box, some, "stopped and started on a full disk")
	box.stop(t)
}

// TestBlockStoreOnAFullDisk runs the body store's own test, which needs a small
// file system.
func TestBlockStoreOnAFullDisk(t *testing.T) {
	for name, disk := range smallDisks() {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^TestFullDisk$", "preau/cache/block/badgerblock")
			cmd.Env = append(os.Environ(), "PREAU_SMALL_DISK="+disk(t))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
