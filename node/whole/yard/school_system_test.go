//go:build system && linux

package yard_test

import (
	"testing"
	"time"
)

// TestASchoolOfThreeBoxes is one school's life. Each part begins with three
// boxes that know one another, and can be run alone; the last leaves two.
func TestASchoolOfThreeBoxes(t *testing.T) {
	y := pool(t, stage{boxes: 3})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *yard)
	}{
		{"a class crosses the line once", crossesOnce},
		{"a new box is known within two seconds", knownSoon},
		{"an idle box that is gone is missed within six seconds", missedSoon},
		{"a killed box is left alone within six seconds", leftAloneSoon},
		{"another box takes over", takesOver},
		{"neighbours find one another again", foundAgain},
		{"kills and restarts give nobody wrong bytes", killsAndRestarts},
		{"strangers are no neighbours", strangers},
	} {
		t.Run(part.name, func(t *testing.T) {
			began := time.Now()
			y.line.Set(t, 20_000_000)
			y.acquainted(t, 60*time.Second, y.boxes...)
			part.run(t, y)
			t.Logf("%q took %v", part.name, time.Since(began).Round(time.Second))
		})
	}
}
