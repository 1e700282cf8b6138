//go:build linux

package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Run runs a command on the host.
func (h *Host) Run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return h.run(t.Context(), args...)
}

func (h *Host) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(h.leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", h.Name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// Must is Run for what must succeed.
func (h *Host) Must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.Run(t, args...)
	if err != nil {
		journal, _ := h.Run(t, "journalctl", "--no-pager", "-n", "60") //nolint:errcheck // as much as there is
		t.Fatalf("%v\n%s\nthe journal of %s:\n%s", err, out, h.Name, journal)
	}
	return out
}

// Tail is the end of a service's journal, and of the console of a host that does not run.
func (h *Host) Tail(ctx context.Context, unit string) string {
	if h.leader == 0 {
		text := h.console.String()
		return text[max(0, len(text)-3000):]
	}
	out, err := h.run(ctx, "journalctl", "--no-pager", "-n", "40", "-u", unit)
	if err != nil {
		return err.Error()
	}
	return out
}

// path is where this machine finds a file of the host that runs. Its folders in
// memory, such as /run and /tmp, are seen only so.
func (h *Host) path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(h.leader), "root", path)
}

// Write writes a file on the host.
func (h *Host) Write(t *testing.T, path, text string) {
	t.Helper()
	path = h.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Read reads a file of the host.
func (h *Host) Read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(h.path(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Has reports whether the host has a file or folder.
func (h *Host) Has(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(h.path(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// Carry copies a file or folder of this machine to the host's /srv, and says where
// it is there.
func (h *Host) Carry(t *testing.T, from string) string {
	t.Helper()
	there := filepath.Join("/srv", filepath.Base(from))
	Do(t, "", nil, "cp", "-a", from, h.path(there))
	return there
}

// Fetch copies a file or folder of the host to this machine.
func (h *Host) Fetch(t *testing.T, from, to string) {
	t.Helper()
	Do(t, "", nil, "cp", "-r", h.path(from), to)
}
