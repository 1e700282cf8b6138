//go:build system && linux

package whole_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// firstOfTheForms is the oldest commit whose log, catalogue and lists of blocks
// are of today's forms. It stands in for a release until there is one.
const firstOfTheForms = "6b15fae0094463921fbe074cc5af91448c97de44"

// nextVersion builds this tree as its own successor: see replication/catalogue.
func nextVersion(t *testing.T) string {
	t.Helper()
	return build(t, "../..", "-tags", "nextversion")
}

// olderVersion builds the newest release that there was before this commit.
func olderVersion(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "tree.tar")
	commit := firstOfTheForms
	if tag, err := git(t, "describe", "--tags", "--match", "v[0-9]*", "--abbrev=0", "HEAD^"); err == nil {
		commit = tag
	}
	if out, err := git(t, "archive", "--format=tar", "--output", archive, commit); err != nil {
		t.Skipf("NOT TRIED: an older version beside this one: %s can't be had here (%v: %s). A shallow clone has no history: "+
			"git fetch --unshallow. This version beside its own successor is tried all the same.", commit, err, out)
	}
	t.Logf("the older version is %s", commit)
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v: %s", commit, err, out)
	}
	return build(t, dir)
}

// git asks about this tree.
func git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", root}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// build makes the command of a tree. Where it lies makes no difference to what is
// built already.
func build(t *testing.T, tree string, flags ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "preau")
	c := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-trimpath", "-buildvcs=false", "-o", file}, flags...), "./cmd/preau")...)
	c.Dir, c.Env = tree, append(os.Environ(), "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", tree, err, out)
	}
	return file
}
