//go:build linux

package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"preau/images/mirror"
)

// debian is the release that hosts run.
const debian = "bookworm"

// included is what a host has: what a hoster's does, so that Ansible can reach it,
// and Prometheus, which is not to be fetched for each host anew.
const included = "systemd-sysv,dbus,ca-certificates,curl,iproute2,openssh-server,python3,python3-apt,gnupg,prometheus"

// Mirror is where Debian comes from: where this machine's own does, unless
// PREAU_TEST_MIRROR names another.
func Mirror(t *testing.T) string {
	t.Helper()
	return must(t)(mirrorOf(t.Context()))
}

func mirrorOf(ctx context.Context) (string, error) {
	if from := os.Getenv("PREAU_TEST_MIRROR"); from != "" {
		return from, nil
	}
	from, err := mirror.Own(ctx)
	if err != nil {
		return "", fmt.Errorf("%w\nPREAU_TEST_MIRROR names one", err)
	}
	return from, nil
}

// Cache is where tests keep what is too dear to make for each run.
func Cache(t *testing.T) string {
	t.Helper()
	return must(t)(cache())
}

func cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "preau-tests")
	return dir, os.MkdirAll(dir, 0o755)
}

// alone returns once no other test program makes what is called so.
func alone(name string) (release func(), err error) {
	dir, err := cache()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil //nolint:errcheck // which unlocks it
}

// Tree is the Debian that hosts begin with, as a hoster hands it over, with nothing
// of ours. It is kept for the next run.
func Tree(t *testing.T) string {
	t.Helper()
	Need(t, Tools...)
	return must(t)(tree(t.Context()))
}

func tree(ctx context.Context) (dir string, err error) {
	top, err := cache()
	if err != nil {
		return "", err
	}
	name := "debian-" + debian + "-host-1"
	release, err := alone(name)
	if err != nil {
		return "", err
	}
	defer release()
	dir = filepath.Join(top, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// By its last name only once it is whole. What mmdebstrap mounts is seen by itself
	// alone, so that nothing stays mounted if it is killed.
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		return "", err
	}
	defer os.RemoveAll(half) //nolint:errcheck // it is gone if all went well
	root := filepath.Join(half, "root")
	if err := os.MkdirAll(half, 0o755); err != nil {
		return "", err
	}
	from, err := mirrorOf(ctx)
	if err != nil {
		return "", err
	}
	if _, err := do(ctx, "", nil, "unshare", "--mount", "--propagation", "private", "mmdebstrap", "--variant=minbase", "--include="+included, debian, root, from); err != nil {
		return "", err
	}
	if err := settle(root); err != nil {
		return "", err
	}
	return dir, os.Rename(root, dir)
}

// settle takes away what waits for hardware, a network or a person, where none is,
// and what runs though nobody has asked for it.
func settle(root string) error {
	var errs []error
	for _, unit := range []string{"systemd-firstboot.service", "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-networkd-wait-online.service"} {
		errs = append(errs, os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)))
	}
	for _, timer := range []string{"apt-daily.timer", "apt-daily-upgrade.timer"} {
		if err := os.Remove(filepath.Join(root, "etc/systemd/system/timers.target.wants", timer)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, os.Remove(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/prometheus.service")))
	for _, file := range []string{"etc/apt/sources.list", "etc/machine-id"} {
		errs = append(errs, os.WriteFile(filepath.Join(root, file), nil, 0o644))
	}
	return errors.Join(append(errs, os.Chmod(root, 0o755))...)
}
