//go:build system && linux

package cephtest_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/replication/central/cephtest"
)

func TestUp(t *testing.T) {
	c := cephtest.Start(t, 1)
	out, err := c.Admin(t.Context(), "user", "list")
	if err != nil || !strings.Contains(string(out), "preau") {
		t.Errorf("users: %s, %v", out, err)
	}
	if err := c.KillRGW(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	if resp, err := client.Get(c.Endpoint); err == nil {
		t.Errorf("a killed radosgw answers %s", resp.Status)
	}
	if err := c.StartRGW(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.PauseRGW(); err != nil {
		t.Fatal(err)
	}
	client.Timeout = time.Second
	if resp, err := client.Get(c.Endpoint); err == nil {
		t.Errorf("a paused radosgw answers %s", resp.Status)
	}
	if err := c.ResumeRGW(); err != nil {
		t.Fatal(err)
	}
	client.Timeout = 30 * time.Second
	if _, err := client.Get(c.Endpoint); err != nil {
		t.Errorf("after it was resumed: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartMon(); err == nil {
		t.Error("a closed cluster starts a monitor")
	}
}

func TestUpFails(t *testing.T) {
	if missing := cephtest.Missing(); missing != "" {
		t.Skip(missing)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		dir  string
		osds int
	}{
		"a folder with something in it": {dir, 1}, "no OSD": {"/tmp/ceph-none", 0},
		"a long path": {"/tmp/" + strings.Repeat("x", cephtest.MaxDir), 1},
	} {
		if _, err := cephtest.Up(t.Context(), tt.dir, tt.osds); err == nil {
			t.Errorf("Up with %s: no error", what)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	short, err := os.MkdirTemp("/tmp", "ceph") //nolint:usetesting // t.TempDir's paths are too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(short); err != nil {
			t.Error(err)
		}
	})
	if _, err := cephtest.Up(ended, short, 1); err == nil {
		t.Error("Up in a context that has ended: no error")
	}
}
