//go:build system && linux

package dirstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

// A disk that is full, and one that has become read-only.
func TestFullAndReadOnlyDisks(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed to mount a small disk")
		}
		t.Skip("root is needed to mount a small disk")
	}
	disk := t.TempDir()
	if err := syscall.Mount("preau", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s := withBucket(t, filepath.Join(disk, "s"))
	p := storetest.Bytes(1, 1<<20)
	if err := put(t.Context(), s, "k", p, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	large := storetest.Bytes(2, 10<<20)
	if err := put(t.Context(), s, "large", large, store.Condition{}); !errors.Is(err, store.ErrFull) {
		t.Errorf("Put on a full disk: %v, want ErrFull", err)
	}
	if err := put(t.Context(), s, "k", large, store.Condition{}); !errors.Is(err, store.ErrFull) {
		t.Errorf("Put over an object on a full disk: %v, want ErrFull", err)
	}
	id, err := s.Begin(t.Context(), bucket, "parts", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.PutPart(t.Context(), bucket, "parts", id, 1, bytes.NewReader(large), 5<<20)
	if !errors.Is(err, store.ErrInvalid) {
		t.Errorf("PutPart of a longer body: %v, want ErrInvalid", err)
	}
	part, err := s.PutPart(t.Context(), bucket, "parts", id, 1, bytes.NewReader(large[:5<<20]), 5<<20)
	if err != nil {
		t.Fatalf("PutPart after failures: %v: they have left something behind", err)
	}
	if _, err := s.Complete(t.Context(), bucket, "parts", id, []store.Part{part}); !errors.Is(err, store.ErrFull) {
		t.Errorf("Complete on a full disk: %v, want ErrFull", err)
	}
	if err := s.Delete(t.Context(), bucket, "k"); err != nil {
		t.Errorf("Delete on a full disk: %v", err)
	}
	if err := s.Abort(t.Context(), bucket, "parts", id); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), s, "k", p, store.Condition{}); err != nil {
		t.Errorf("Put once there is room: %v", err)
	}
	// Closing the lock's file needs no writing, but open files for writing keep
	// a disk from becoming read-only; a read-only bind mount over it does.
	if err := syscall.Mount(disk, disk, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mount("", disk, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), s, "k", []byte("x"), store.Condition{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Put on a read-only disk: %v, want ErrUnavailable", err)
	}
	if err := s.Delete(t.Context(), bucket, "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Delete on a read-only disk: %v, want ErrUnavailable", err)
	}
	if got, _, err := get(t.Context(), s, "k"); err != nil || !bytes.Equal(got, p) {
		t.Errorf("Get on a read-only disk: %d bytes, %v", len(got), err)
	}
	closed(t, s)
}
