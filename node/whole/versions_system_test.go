//go:build system && linux

package whole_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// firstOfTheForms is the oldest commit whose log, catalogue and lists of blocks
// are of today's forms. It stands in for a release until there is one.
const firstOfTheForms = "6b15fae0094463921fbe074cc5af91448c97de44"

// The other versions of the command, each built once for all tests.
var olderBuild, nextBuild struct {
	once sync.Once
	file string
	err  error
}

// others is where they are built: TestMain removes it.
var others string

// nextVersion builds this tree as its own successor: see replication/catalogue.
func nextVersion(t *testing.T) string {
	t.Helper()
	nextBuild.once.Do(func() { nextBuild.file, nextBuild.err = build("../..", "next", "-tags", "nextversion") })
	if nextBuild.err != nil {
		t.Fatal(nextBuild.err)
	}
	return nextBuild.file
}

// errNoHistory is that no older version can be had.
var errNoHistory = errors.New("a shallow clone has no history: git fetch --unshallow")

// olderVersion builds the newest release that there was before this commit.
func olderVersion(t *testing.T) string {
	t.Helper()
	olderBuild.once.Do(func() { olderBuild.file, olderBuild.err = buildOlder() })
	if errors.Is(olderBuild.err, errNoHistory) {
		t.Skipf("NOT TRIED: an older version beside this one: %v. This version beside its own successor is tried all the same.", olderBuild.err)
	}
	if olderBuild.err != nil {
		t.Fatal(olderBuild.err)
	}
	return olderBuild.file
}

// buildOlder builds it, or finds it where an earlier run has put it: a commit does
// not change.
func buildOlder() (string, error) {
	commit := firstOfTheForms
	if tag, err := git("describe", "--tags", "--match", "v[0-9]*", "--abbrev=0", "HEAD^"); err == nil {
		commit = tag
	}
	exact, err := git("rev-parse", "--verify", commit+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%s can't be had here (%w: %s): %w", commit, err, exact, errNoHistory)
	}
	kept := others
	if cache, err := os.UserCacheDir(); err == nil {
		kept = filepath.Join(cache, "preau-tests")
	}
	kept = filepath.Join(kept, "preau-"+exact+"-"+runtime.Version())
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	tree, archive := filepath.Join(others, "tree"), filepath.Join(others, "tree.tar")
	if err := errors.Join(os.MkdirAll(tree, 0o700), os.MkdirAll(filepath.Dir(kept), 0o755)); err != nil {
		return "", err
	}
	if out, err := git("archive", "--format=tar", "--output", archive, exact); err != nil {
		return "", fmt.Errorf("%s can't be had here (%w: %s): %w", commit, err, out, errNoHistory)
	}
	if out, err := exec.CommandContext(context.Background(), "tar", "-xf", archive, "-C", tree).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", commit, err, out)
	}
	file, err := build(tree, "older")
	if err != nil {
		return "", err
	}
	// Whole at once, for whoever else builds it. Where it can't be kept it is used
	// from where it is.
	half := kept + "-" + filepath.Base(others)
	if os.Link(file, half) != nil || os.Rename(half, kept) != nil {
		return file, nil
	}
	return kept, nil
}

// git asks about this tree.
func git(args ...string) (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(context.Background(), "git", append([]string{"-C", root}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// build makes the command of a tree. It is built as the tests are, so that the
// libraries are not compiled once more.
func build(tree, name string, flags ...string) (string, error) {
	file := filepath.Join(others, name)
	args := append([]string{"build", "-buildvcs=false", "-o", file}, flags...)
	c := exec.CommandContext(context.Background(), "go", append(args, "./cmd/preau")...)
	c.Dir, c.Env = tree, append(os.Environ(), "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", tree, err, out)
	}
	return file, nil
}
