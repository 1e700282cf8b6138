//go:build system && linux

package whole_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/control"
)

// spoil changes bytes of files, where the pieces begin that pick names.
func spoil(t *testing.T, pattern string, pick func(content []byte) []int) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	for _, file := range files {
		p, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		places := pick(p)
		if len(places) == 0 {
			t.Fatalf("%s, of %d bytes, has no place to spoil", file, len(p))
		}
		for _, at := range places {
			p[at] ^= 0x5a
		}
		if err := os.WriteFile(file, p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// middle is in the middle of what was written to a file of zeros.
func middle(p []byte) []int { return []int{len(bytes.TrimRight(p, "\x00")) / 2} }

// pages are all pages of bbolt's but the two that say where the others are.
func pages(p []byte) []int {
	var at []int
	for i := 2 * os.Getpagesize(); i < len(p); i += os.Getpagesize() {
		at = append(at, i+8, i+16, i+17, i+40)
	}
	return at
}

// each is every occurrence of a word.
func each(word string) func(p []byte) []int {
	return func(p []byte) []int {
		var at []int
		for from := 0; ; {
			i := bytes.Index(p[from:], []byte(word))
			if i < 0 {
				return at
			}
			at = append(at, from+i)
			from += i + len(word)
		}
	}
}

// TestADamagedServerIsRefusedAndResets damages what a stopped server has, file
// by file.
func TestADamagedServerIsRefusedAndResets(t *testing.T) {
	t.Parallel()
	w := found(t, seeded(t), filepath.Join(t.TempDir(), "s1"))
	s1 := w.servers[0]
	// What was recovered begins with a snapshot, which the others get too.
	says(t, command(w.ctx, "region", "recover", "--data", s1.data, "--yes", "--json"), 0)
	s1.run(t)
	s2 := w.join(t, "s2")
	w.join(t, "s3")
	w.healthy(t, 3)
	content := w.bytes(1<<20 + 1)
	w.publish(t, "first.pdf", "lessons", content)

	spoils := func(pattern string, pick func([]byte) []int) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			spoil(t, filepath.Join(s2.data, pattern), pick)
		}
	}
	reset := "preau region reset --data " + s2.data
	tests := []struct {
		name string
		stop func(*testing.T)
		harm func(*testing.T)
		want string
	}{
		{"a word in the catalogue", s2.stop, spoils("catalogue.db", each("lessons")), reset},
		{"pages of the catalogue", s2.kill, spoils("catalogue.db", pages), reset},
		{"the log", s2.stop, spoils("raft/log/*/*.wal", middle), reset},
		{"the log of one that was killed", s2.kill, spoils("raft/log/*/*.wal", middle), reset},
		{"the vote", s2.stop, spoils("raft/vote.db", pages), reset},
		{"the snapshots", s2.stop, spoils("raft/snapshots/*/state.bin", middle), reset},
		{"what it noted of itself", s2.stop, spoils("raft/server.json", middle), reset},
		{"no log at all", s2.stop, func(t *testing.T) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(s2.data, "raft/log")); err != nil {
				t.Fatal(err)
			}
		}, reset},
	}
	for i, tt := range tests {
		var last published
		for j := range 3 { // so that there is something after what it began with
			last = w.publish(t, fmt.Sprintf("file-%d-%d.bin", i, j), "lessons", w.bytes(2000))
		}
		// It has written it down after the rest: damage to the last that a killed
		// server wrote is a write that it did not end.
		within(t, 60*time.Second, func() error {
			all, err := w.everything(s2)
			if err == nil && !strings.Contains(all, last.ID) {
				err = errors.New("s2 does not know the last file yet")
			}
			return err
		})
		tt.stop(t)
		tt.harm(t)
		a := commandFor(w.ctx, 15*time.Second, s2.args...)
		t.Logf("%s: %s", tt.name, a.err)
		says(t, a, 1, tt.want)
		missed := w.publish(t, fmt.Sprintf("missed-%d.bin", i), "lessons", w.bytes(3000))
		says(t, command(w.ctx, "region", "reset", "--data", s2.data, "--yes"), 0, "region run")
		s2.run(t)
		w.healthy(t, 3)
		w.agree(t, w.servers...)
		var known []control.Record
		w.insist(t, &known, "list", "resources", "--region", s2.address)
		if !slices.ContainsFunc(known, func(r control.Record) bool { return r.ID == missed.ID }) {
			t.Errorf("%s: it lacks what was decided in its absence", tt.name)
		}
	}
	within(t, 2*time.Minute, func() error { return holds(s2, content) })
	// With it as one half of a majority the region goes on.
	w.servers[2].kill(t)
	w.publish(t, "last.bin", "lessons", content[:1000])
}
