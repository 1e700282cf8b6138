// Package hosttest boots Debian hosts with systemd for tests: in control groups and
// networks of their own, on a thin disk over one tree that all share. It needs root
// and systemd-nspawn. It mounts nothing outside a test's own folder, touches no
// network of the machine, and leaves nothing behind but the tree.
package hosttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Epoch is the time of all that tests build.
const Epoch = "SOURCE_DATE_EPOCH=1763890000"

// Tools are what hosts need, for Need and Missing.
var Tools = []string{"mmdebstrap=mmdebstrap", "systemd-nspawn=systemd-container", "ip=iproute2", "nsenter=util-linux", "unshare=util-linux"}

// Missing finds tools, each written as PROGRAM=PACKAGE, and says for each that is
// missing what to install.
func Missing(tools ...string) (missing []string) {
	for _, tool := range tools {
		name, debian, _ := strings.Cut(tool, "=")
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name+" is missing: apt-get install "+debian)
		}
	}
	return missing
}

// Need fails the test where Missing finds something, or where it is not root's.
func Need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test has hosts of its own, and needs root")
	}
	if missing := Missing(tools...); len(missing) > 0 {
		t.Fatal(strings.Join(missing, "\n"))
	}
}

// Do runs a command of this machine, which must succeed. dir and env may be empty.
func Do(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	return must(t)(do(t.Context(), dir, env, name, args...))
}

func do(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// must ends the test where what it is called with has an error.
func must(t *testing.T) func(string, error) string {
	t.Helper()
	return func(text string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
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
