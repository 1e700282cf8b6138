package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// program is what the package installs.
const program = "/usr/bin/preau"

// DPKG installs packages with dpkg and no more: what a school's box needs must be
// there already, for no archive of Debian's need be in reach. An administrator's
// settings stay.
type DPKG struct{}

// Installed is the version that is there, and whether dpkg has done all its work
// for it.
func (DPKG) Installed(ctx context.Context) (version string, whole bool, err error) {
	out, err := command(ctx, "dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", "preau")
	if err != nil {
		return "", false, err
	}
	version, status, _ := strings.Cut(strings.TrimSpace(out), " ")
	return version, status == "installed", nil
}

// Arch is dpkg's word for this machine.
func (DPKG) Arch(ctx context.Context) (string, error) {
	out, err := command(ctx, "dpkg", "--print-architecture")
	return strings.TrimSpace(out), err
}

// Holds returns an error unless a file is a package of ours, of that version and
// architecture.
func (DPKG) Holds(ctx context.Context, file string, k Package) error {
	out, err := command(ctx, "dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", file)
	if err != nil {
		return err
	}
	if want := "preau " + k.Version + " " + k.Arch; strings.TrimSpace(out) != want {
		return fmt.Errorf("%s is %q, and the plan says that it is %q", file, strings.TrimSpace(out), want)
	}
	return nil
}

// Repair has dpkg end what it was interrupted in.
func (DPKG) Repair(ctx context.Context) error {
	_, err := command(context.WithoutCancel(ctx), "dpkg", "--force-confdef", "--force-confold", "--configure", "-a")
	return err
}

// Install installs a file, be it older or newer than what is there.
func (DPKG) Install(ctx context.Context, file string) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs("/usr", &disk); err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	// Unpacked it is three times as large, and what is there stays until it is.
	if need, free := 5*st.Size(), int64(disk.Bavail)*disk.Bsize; free < need { //nolint:unconvert // the type differs between machines
		return fmt.Errorf("%w: %d MB are needed on the disk and %d MB are free", errNoRoom, need>>20, free>>20)
	}
	// Whoever stops the updater does not stop dpkg in the middle.
	_, err = command(context.WithoutCancel(ctx), "dpkg", "--force-confdef", "--force-confold", "--force-downgrade", "--install", file)
	return err
}

// Program is what the installed program calls its version.
func (DPKG) Program(ctx context.Context) (string, error) {
	out, err := command(ctx, program, "version")
	if err != nil {
		return "", err
	}
	if fields := strings.Fields(out); len(fields) > 1 {
		return fields[1], nil
	}
	return "", fmt.Errorf("preau version says %q", out)
}

var errNoRoom = errors.New("there is no room")

func command(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		said := oneLine(errs.String())
		return "", fmt.Errorf("%s %s: %w: %.500s", name, args[0], err, said)
	}
	return out.String(), nil
}
