//go:build system && linux

package yard_test

import (
	"fmt"
	"os"
	"preau/node/whole/netns"
	"testing"
	"time"
)

// bound is a duration that a test holds the boxes to. Where the project's tests
// run for everybody the machine is shared, so times are five times as long there.
// What crosses the line is counted in bytes and has no such excuse.
func bound(d time.Duration) time.Duration {
	if os.Getenv("CI") == "true" {
		return 5 * d
	}
	return d
}

// long reports whether the tests may take longer than most people wait.
func long() bool { return os.Getenv("PREAU_YARD_LONG") != "" }

// figure tells one that is worth writing down.
func figure(t *testing.T, what, format string, args ...any) {
	t.Helper()
	t.Logf("FIGURE | %s | %s |", what, fmt.Sprintf(format, args...))
}

// carried is what a test brought over the line.
type carried struct {
	netns.Crossed
	bodies int64 // bytes of bodies that the region's servers and the site gave to the school
}

// carried is all of that since the school stands.
func (y *yard) carried(t *testing.T) carried {
	t.Helper()
	c := carried{Crossed: y.line.Crossed(t), bodies: y.site.toSchool.Load()}
	for _, s := range y.servers {
		c.bodies += int64(s.count(t, "preau_edge_sent_bytes_total"))
	}
	return c
}

func (c carried) since(before carried) carried {
	return carried{c.Since(before.Crossed), c.bodies - before.bodies}
}

// String is for the figures.
func (c carried) String() string {
	return fmt.Sprintf("bodies %d, packets down %d up %d", c.bodies, c.Down, c.Up)
}
