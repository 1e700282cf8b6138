//go:build system && linux

package whole_test

import (
	"testing"
	"time"
)

// killingFor is how long processes are killed while clients work.
const killingFor = 25 * time.Second

// TestNothingConfirmedIsLostByKilling kills servers, one at a time, and boxes
// while clients publish, purge and pin.
func TestNothingConfirmedIsLostByKilling(t *testing.T) {
	t.Parallel()
	rng := seeded(t)
	w := three(t, rng, "box-a", "box-b")
	settle := w.writing(t)
	kills := 0
	for end := time.Now().Add(killingFor); time.Now().Before(end) && !t.Failed(); kills++ {
		victims := append([]*machine{w.servers[rng.IntN(3)]}, w.boxes[rng.IntN(2)])
		if rng.IntN(3) == 0 {
			victims = victims[rng.IntN(2):][:1]
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		for _, m := range victims {
			m.kill(t)
		}
		time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond)
		for _, m := range victims {
			m.run(t)
		}
	}
	t.Logf("%d rounds of killing", kills)
	settle()
}
