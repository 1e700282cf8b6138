//go:build system && linux

package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/whole/netns"
)

// report is the page that is left at the end: what happened when, how long it
// took, and what crossed the lines meanwhile.
type report struct {
	began time.Time
	where []string // it happened

	mu      sync.Mutex
	last    time.Time
	crossed []netns.Crossed // of each line, at last
	steps   []string
	figures []string
}

func newReport(where ...string) *report {
	now := time.Now()
	return &report{began: now, last: now, where: where}
}

func (r *report) step(what, more, lines string) {
	now := time.Now()
	r.steps = append(r.steps, fmt.Sprintf("| %6.1f s | %5.1f s | %s | %s | %s |", now.Sub(r.began).Seconds(), now.Sub(r.last).Seconds(), what, more, lines))
	r.last = now
}

// figure notes what was measured, and how it ought to be.
func (r *report) figure(what, got string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, fmt.Sprintf("| %s | %s |", what, fmt.Sprintf(got, args...)))
}

// did notes a step that has just ended, and what has crossed the schools' lines since
// the one before, where it began.
func (c *country) did(t *testing.T, what, more string, args ...any) {
	t.Helper()
	var now []netns.Crossed
	for _, s := range c.schools {
		now = append(now, s.line.Crossed(t))
	}
	r := c.report
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for i, n := range now {
		if r.crossed != nil {
			n = n.Since(r.crossed[i])
		}
		lines = append(lines, fmt.Sprintf("%s ↓ %s ↑", megabytes(n.Down), megabytes(n.Up)))
	}
	r.crossed = now
	text := fmt.Sprintf(more, args...)
	r.step(what, text, strings.Join(lines, " / "))
	t.Logf("%s: %s", what, text)
}

func megabytes(n int64) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }

// write writes the page among the test's artifacts.
func (r *report) write(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	end := "Everything came true."
	if t.Failed() {
		end = "SOMETHING FAILED: see the test's log."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The story of a country, %s\n\n%s\n\n%s\n\n", r.began.Format("2 January 2006 15:04"), end, strings.Join(r.where, " "))
	fmt.Fprintf(&b, "| At | Took | What | | Over the lines, school 1 / school 2 |\n|---|---|---|---|---|\n%s\n", strings.Join(r.steps, "\n"))
	if len(r.figures) > 0 {
		fmt.Fprintf(&b, "\n| Figure | |\n|---|---|\n%s\n", strings.Join(r.figures, "\n"))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Fprintf(&b, "\nThe machine's load at the end: %s\n", strings.Join(strings.Fields(string(load))[:3], " "))
	}
	file := filepath.Join(t.ArtifactDir(), "report.md")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil { //nolint:gosec // for everybody to read
		t.Error(err)
	}
	t.Logf("the report is %s:\n%s", file, b.String())
}
