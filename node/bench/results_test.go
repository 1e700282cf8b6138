//go:build bench

package bench

import (
	"strings"
	"testing"
	"time"
)

// TestResultsKeepWhatWasNotMeasured: a run of one scenario renews its section
// and leaves the others as they were, in the order of the scenarios.
func TestResultsKeepWhatWasNotMeasured(t *testing.T) {
	titles := []string{"One", "Two", "Three"}
	run := func(old string, measured map[string]string) string {
		r := &report{scale: "normal", began: time.Now(), peers: []string{"nginx: 1.0"}}
		for title, cell := range measured {
			out := r.table(title, "a", "b")
			out.row("x", cell)
			out.alone = title == "Three"
		}
		return r.markdown(old, titles)
	}
	first := run("", map[string]string{"Three": "old 3", "One": "old 1"})
	second := run(first, map[string]string{"Two": "new 2", "One": "new 1"})
	if again := run(second, nil); again != second {
		t.Errorf("nothing measured, and something changed:\n%s\n%s", second, again)
	}
	var at []int
	for _, want := range []string{"# Results", "## One", "new 1", "## Two", "new 2", "## Three", "old 3"} {
		at = append(at, strings.Index(second, want))
	}
	for i := range at {
		if at[i] < 0 || i > 0 && at[i] < at[i-1] {
			t.Fatalf("places %v in:\n%s", at, second)
		}
	}
	if strings.Contains(second, "old 1") || strings.Count(second, "nginx: 1.0") != 2 {
		t.Errorf("results:\n%s", second)
	}
}
