// Package hosttest boots Debian hosts with systemd for tests: in control groups and
// networks of their own, on a thin disk over one tree that all share. It needs root
// and systemd-nspawn. It mounts nothing outside a test's own folder, touches no
// network of the machine, and leaves nothing behind but the tree.
package hosttest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Epoch is the time of all that tests build.
const Epoch = "SOURCE_DATE_EPOCH=1763890000"

// Need finds tools, each written as PROGRAM=PACKAGE, and says what to install for
// those that are missing.
func Need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test has hosts of its own, and needs root")
	}
	for _, tool := range tools {
		name, debian, _ := strings.Cut(tool, "=")
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", name, debian)
		}
	}
}

// Do runs a command of this machine, which must succeed. dir and env may be empty.
func Do(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Within repeats fn until it returns nil. If it never does, the test fails with what
// it returned last.
func Within(t *testing.T, limit time.Duration, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if err = fn(); err == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatalf("still, after %v: %v", limit, err)
}
