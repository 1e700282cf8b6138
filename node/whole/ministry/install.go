//go:build linux

package ministry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"preau/replication/central/cephtest"
)

// policy is the file that keeps Debian from starting a service that it installs.
const policy = "/usr/sbin/policy-rc.d"

// Install has Ceph on this machine if it is not there and we may: as root, with
// apt-get. Otherwise it says what to do.
func Install(ctx context.Context, out io.Writer) (err error) {
	missing := cephtest.Missing()
	if missing == "" {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New(missing + " (there is no apt-get here: install Ceph's monitor, OSD and radosgw in your system's way)")
	}
	if os.Geteuid() != 0 {
		return errors.New(missing + " (as root)")
	}
	fmt.Fprintf(out, "Ceph is installed first: %s\n", missing)
	// The ministry starts its own.
	file, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // a script that apt runs
	if err == nil {
		defer func() { err = errors.Join(err, os.Remove(policy)) }()
		_, err = file.WriteString("#!/bin/sh\nexit 101\n")
		err = errors.Join(err, file.Close())
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("keep services from being started: %w", err)
	}
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-yq", "--no-install-recommends", "ceph-mon", "ceph-osd", "radosgw"},
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", args[0], err)
		}
	}
	if missing := cephtest.Missing(); missing != "" {
		return fmt.Errorf("after it was installed: %s", missing)
	}
	return nil
}
