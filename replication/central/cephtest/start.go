//go:build linux

package cephtest

import (
	"context"
	"os"
	"testing"
	"time"
)

// Start brings up a cluster for a test and takes it away after it. Without Ceph on
// the machine the test is skipped, but not where CI is true: there it fails.
func Start(tb testing.TB, osds int) *Cluster {
	tb.Helper()
	if missing := Missing(); missing != "" {
		if os.Getenv("CI") == "true" {
			tb.Fatal(missing)
		}
		tb.Skip(missing)
	}
	// Not tb.TempDir, whose paths are too long for Ceph's sockets.
	dir, err := os.MkdirTemp("/tmp", "ceph") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	c, err := Up(ctx, dir, osds)
	tb.Cleanup(func() {
		if c != nil {
			if err := c.Close(); err != nil {
				tb.Error(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("Ceph with %d OSDs is up after %v", osds, time.Since(began).Round(time.Millisecond))
	return c
}
