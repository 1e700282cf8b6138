//go:build appliance && linux

package ansible_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"preau/images/hosttest"
)

// files of a pattern, of which there must be some.
func files(t *testing.T, patterns ...string) []string {
	t.Helper()
	var out []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil || len(found) == 0 {
			t.Fatalf("nothing is called %s, %v", p, err)
		}
		out = append(out, found...)
	}
	return out
}

// lint runs the linter with explicit paths: with a dot it passes anything.
func lint(t *testing.T, dir string, paths []string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "ansible-lint", append([]string{"--nocolor", "-q", "-p", "-c", ".ansible-lint"}, paths...)...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	return string(out), err
}

func TestLintersFindNothing(t *testing.T) {
	t.Parallel()
	hosttest.Need(t, "ansible-lint=ansible-lint", "yamllint=yamllint")
	paths := files(t, "*.yml", "roles/*")
	if out, err := lint(t, ".", paths); err != nil {
		t.Errorf("ansible-lint: %v\n%s", err, out)
	}
	hosttest.Do(t, "", nil, "yamllint", "--strict", "-c", ".yamllint", ".")

	// A linter that looked at nothing would have found nothing.
	work := filepath.Join(t.TempDir(), "ansible")
	hosttest.Do(t, "", nil, "cp", "-r", ".", work)
	wrong := "---\n- hosts: all\n  tasks:\n    - shell: echo hello\n"
	if err := os.WriteFile(filepath.Join(work, "upgrade.yml"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := lint(t, work, []string{"upgrade.yml"}); err == nil || !strings.Contains(out, "upgrade.yml") {
		t.Errorf("ansible-lint is content with a playbook that is wrong: %v\n%s", err, out)
	}
}

func TestEveryPlaybookCanBeReadWithEveryInventory(t *testing.T) {
	t.Parallel()
	hosttest.Need(t, "ansible-playbook=ansible")
	for _, dir := range []string{"inventories/school", "inventories/region", "inventories/country"} {
		out := hosttest.Do(t, "", nil, "ansible-inventory", "-i", dir, "--list")
		if !strings.Contains(out, `"box"`) {
			t.Errorf("%s has no box:\n%s", dir, out)
		}
		hosttest.Do(t, "", nil, "ansible-playbook", append([]string{"-i", dir, "--syntax-check"}, files(t, "*.yml")...)...)
	}
}
