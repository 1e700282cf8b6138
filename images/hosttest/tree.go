//go:build linux

package hosttest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"preau/images/mirror"
)

// release is the Debian that hosts run.
const release = "bookworm"

// included is what a host has: what a hoster's does, so that Ansible can reach it,
// and Prometheus, which is not to be fetched for each host anew.
const included = "systemd-sysv,dbus,ca-certificates,curl,iproute2,openssh-server,python3,python3-apt,gnupg,prometheus"

// Mirror is where Debian comes from: where this machine's own does, unless
// PREAU_TEST_MIRROR names another.
func Mirror(t *testing.T) string {
	t.Helper()
	if from := os.Getenv("PREAU_TEST_MIRROR"); from != "" {
		return from
	}
	from, err := mirror.Own(t.Context())
	if err != nil {
		t.Fatalf("%v\nPREAU_TEST_MIRROR names one.", err)
	}
	return from
}

// Cache is where tests keep what is too dear to make for each run.
func Cache(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "preau-tests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// alone returns once no other test program makes what is called so.
func alone(t *testing.T, name string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(Cache(t), name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() } //nolint:errcheck // which unlocks it
}

// Tree is the Debian that hosts begin with, as a hoster hands it over, with nothing
// of ours. It is kept for the next run.
func Tree(t *testing.T) string {
	t.Helper()
	Need(t, "mmdebstrap=mmdebstrap", "unshare=util-linux")
	name := "debian-" + release + "-host-1"
	defer alone(t, name)()
	dir := filepath.Join(Cache(t), name)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	// By its last name only once it is whole. What mmdebstrap mounts is seen by itself
	// alone, so that nothing stays mounted if it is killed.
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half) //nolint:errcheck // it is gone if all went well
	root := filepath.Join(half, "root")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	Do(t, "", nil, "unshare", "--mount", "--propagation", "private", "mmdebstrap", "--variant=minbase", "--include="+included, release, root, Mirror(t))
	settle(t, root)
	if err := os.Rename(root, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// settle takes away what waits for hardware, a network or a person, where none is,
// and what runs though nobody has asked for it.
func settle(t *testing.T, root string) {
	t.Helper()
	for _, unit := range []string{"systemd-firstboot.service", "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-networkd-wait-online.service"} {
		if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)); err != nil {
			t.Fatal(err)
		}
	}
	for _, timer := range []string{"apt-daily.timer", "apt-daily-upgrade.timer"} {
		if err := os.Remove(filepath.Join(root, "etc/systemd/system/timers.target.wants", timer)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/prometheus.service")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"etc/apt/sources.list", "etc/machine-id"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
}
