package lockfile_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"preau/cache/block/lockfile"
)

func TestOneHasTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := lockfile.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockfile.Take(path); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("a second one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l, err = lockfile.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), os.Remove(path)); err != nil {
		t.Error(err)
	}
	if _, err := lockfile.Take(filepath.Join(path, "none", "lock")); err == nil || errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("where nothing can be: %v", err)
	}
}

// A program that is being started has the file too until it is under way.
func TestALockThatWasGivenUpIsFreeWhoeverHasTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := lockfile.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	child, err := unix.Dup(l.Descriptor())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	again, err := lockfile.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// The same with real ones, as many as can be started meanwhile.
func TestALockIsFreeAtOnceWhileProgramsStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ctx, stop := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	for range 8 {
		starting.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, "true").Run() // or it is ended with the test
			}
		})
	}
	for range 3000 {
		l, err := lockfile.Take(path)
		if err != nil {
			t.Error(err)
			break
		}
		if err := l.Close(); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	starting.Wait()
}
