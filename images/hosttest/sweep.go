//go:build linux

package hosttest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// spaces begins the names of what this package makes for itself: a process's number
// follows, so that it is known whether anybody still wants it.
const spaces = "preau-"

var sweeping sync.Once

// sweepOnce takes away, at a process's first host, what runs of the past have left
// that were killed.
func sweepOnce(t *testing.T) {
	t.Helper()
	sweeping.Do(func() {
		dead := func(name string) bool {
			rest, ours := strings.CutPrefix(name, spaces)
			number, _, two := strings.Cut(rest, "-")
			pid, err := strconv.Atoi(number)
			return ours && two && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		}
		if err := sweep(dead); err != nil {
			t.Error(err)
		}
		out, err := exec.CommandContext(t.Context(), "ip", "netns", "list").Output()
		if err != nil {
			t.Errorf("list namespaces: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); dead(name) {
				Do(t, "", nil, "ip", "netns", "del", name)
			}
		}
	})
}

// Sweep takes away what hosts in namespaces whose names begin so have left on this
// machine, where the process that booted them was killed: their processes, their
// disks and their control groups. The namespaces are the caller's.
func Sweep(prefix string) error {
	return sweep(func(name string) bool { return strings.HasPrefix(name, prefix) })
}

func sweep(is func(name string) bool) error {
	var errs []error
	for _, name := range grouped(is) {
		gone := false
		for end := time.Now().Add(10 * time.Second); !gone && time.Now().Before(end); <-time.After(50 * time.Millisecond) {
			killGroups(name)
			gone = removeGroups(name)
		}
		if !gone {
			errs = append(errs, fmt.Errorf("the control groups of %s can't be removed", name))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for line := range strings.Lines(string(mounts)) {
		// … mount point … - type source options; see proc_pid_mountinfo(5).
		head, tail, _ := strings.Cut(line, " - ")
		at, what := strings.Fields(head), strings.Fields(tail)
		if len(at) > 4 && len(what) > 1 && what[0] == "overlay" && is(what[1]) {
			errs = append(errs, syscall.Unmount(at[4], syscall.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// tops are where control groups are, on machines of either kind.
var tops = []string{"systemd", "unified", "memory", "pids", "cpu", "."}

// grouped are the hosts that have control groups.
func grouped(is func(name string) bool) []string {
	found := map[string]bool{}
	for _, top := range tops {
		entries, err := os.ReadDir(filepath.Join("/sys/fs/cgroup", top))
		for _, e := range entries {
			if err == nil && e.IsDir() && is(e.Name()) {
				found[e.Name()] = true
			}
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	return names
}

// groups are a host's control groups, the outermost first.
func groups(name string) (dirs []string) {
	for _, top := range tops {
		filepath.WalkDir(filepath.Join("/sys/fs/cgroup", top, name), func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // it may not be there
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	return dirs
}

// killGroups ends every process of a host.
func killGroups(name string) {
	for _, dir := range groups(name) {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // it has just gone
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // or it has just ended
			}
		}
	}
}

// removeGroups removes a host's control groups, the innermost first, and reports
// whether all are gone.
func removeGroups(name string) bool {
	gone, dirs := true, groups(name)
	for _, dir := range slices.Backward(dirs) {
		gone = os.Remove(dir) == nil && gone
	}
	return gone
}
