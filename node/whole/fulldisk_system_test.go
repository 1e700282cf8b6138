//go:build system && linux

package whole_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a disk in memory until the test ends.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, "only root can mount a small disk")
	}
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		cannot(t, "mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH) // so that the folder can be removed
		}
	})
	return dir
}

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

// TestTheLeadersDiskIsFull fills the disk of the server that leads to its last
// byte, and kills it there.
func TestTheLeadersDiskIsFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "320m")
	w := found(t, seeded(t), filepath.Join(disk, "s1"))
	s1 := w.servers[0]
	s1.run(t)
	w.join(t, "s2")
	w.join(t, "s3")
	w.healthy(t, 3)
	b := w.box(t, "box-a", "0690001A")
	files := map[string][]byte{} // by URL
	publish := func(n int) {
		t.Helper()
		name := fmt.Sprintf("file-%d.bin", len(files))
		content := w.bytes(n)
		files[w.publish(t, name, "lessons", content).URL] = content
	}
	everything := func(when string, servers ...*machine) {
		t.Helper()
		for url, content := range files {
			within(t, 60*time.Second, func() error {
				if err := w.has(b, url, content); err != nil {
					return fmt.Errorf("%s: %w", when, err)
				}
				for _, s := range servers {
					if err := holds(s, content); err != nil {
						return fmt.Errorf("%s: %w", when, err)
					}
				}
				return nil
			})
		}
	}
	publish(3<<20 + 5)
	publish(1000)
	everything("before", w.servers...)
	if w.leader(t) != s1 {
		w.insist(t, &struct{}{}, "region", "lead", "s1")
	}
	if l := w.leader(t); l != s1 {
		t.Fatalf("%s leads", l.name)
	}

	file := filepath.Join(disk, "hog")
	hog(t, file)
	for range 5 {
		publish(5000)
		hog(t, file) // what it has given up itself
	}
	publish(4<<20 + 1)
	everything("on a full disk", w.servers[1:]...)
	s1.alive(t)
	h, err := w.status()
	t.Logf("%q leads; problems %q, %v", h.Leader, h.Problems, err)

	s1.kill(t)
	hog(t, file)
	s1.run(t)
	publish(6000)
	publish(2 << 20)
	everything("killed and started on a full disk", w.servers[1:]...)
	select {
	case <-s1.exited:
		t.Logf("it does not run on a full disk: %s", s1.tail())
	default:
	}

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s1.exited:
		s1.run(t)
	default:
	}
	w.healthy(t, 3)
	w.agree(t, w.servers...)
	everything("with room again", w.servers...)
	w.insist(t, &struct{}{}, "region", "lead", "s1")
	publish(7000)
	everything("when it leads again", w.servers...)
}
