//go:build system

package consensus_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"preau/replication/consensus"
)

// A real full disk: entries are refused, nothing breaks, and it goes on when
// there is room.
func TestFullFileSystem(t *testing.T) {
	for _, store := range []string{consensus.StoreWAL, consensus.StoreBolt} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=80m"); err != nil {
				t.Skipf("mount a small file system: %v", err)
			}
			defer func() {
				if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}()
			n, m, stop := single(t, dir, store, nil)
			big := make([]byte, 256<<10)
			agreed(t, n, big)
			filler := filepath.Join(dir, "filler")
			for range 2 {
				acked := m.Count()
				if err := os.WriteFile(filler, make([]byte, 25<<20), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				refused := false
				for range 400 {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					_, _, err := n.Apply(ctx, big)
					cancel()
					if err == nil {
						acked++
						continue
					}
					if refused = errors.Is(err, consensus.ErrStorage); refused {
						break
					}
				}
				if !refused {
					t.Fatal("the disk was never full")
				}
				pass(3 * time.Second)
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				agreed(t, n, []byte("room"))
				if got := m.Count(); got < acked+1 {
					t.Errorf("%d applied, %d were acknowledged", got, acked)
				}
			}
			want := m.Count()
			stop()
			n, m, stop = single(t, dir, store, nil)
			agreed(t, n, []byte("again"))
			if got := m.Count(); got != want+1 {
				t.Errorf("%d applied after the start, want %d", got, want+1)
			}
			stop()
		})
	}
}
