//go:build system && linux

package wiretest_test

import (
	"fmt"
	"testing"
	"time"

	"preau/replication/wire/wiretest"
)

// A transfer goes on by itself when its line comes back, soon, and without
// fetching much twice.
func TestACutOfTheLine(t *testing.T) {
	line := wiretest.Line{Rate: 50_000_000, Delay: 20 * time.Millisecond, Queue: 256}
	const (
		blocks = 100
		away   = 15 * time.Second
	)
	p := open(t, line, line)
	s := stage(t, p)
	steadily(t, func() error {
		cut, err := wiretest.Cut(t.Context(), s, p, wiretest.Job{Count: blocks, Size: 1 << 20, Callers: 16}, 6*time.Second, away)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", cut)
		if cut.Resumed > 2*slack || cut.Twice > 8<<20 {
			return fmt.Errorf("resumed %v after the line's return, and %d bytes came twice, want 8 MiB at most", cut.Resumed, cut.Twice)
		}
		return nil
	})
}
