package simtest_test

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// budget is how long the seeds may take together.
const budget = 120 * time.Second

// number is a setting from the environment.
func number(t *testing.T, name string, otherwise uint64) (uint64, bool) {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n, true
}

// play runs one world to its end.
func play(t *testing.T, seed uint64, ca *authority) *world {
	t.Helper()
	var w *world
	defer func() { // a bubble that failed does not come back
		if t.Failed() {
			t.Logf("seed %d (PREAU_SIM_SEED=%d go test ./node/simtest):\n%s", seed, seed, w.story())
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		rounds, boxes := 24, 32
		if testing.Short() {
			rounds, boxes = 6, 16
		}
		w = newWorld(t, seed, ca, []string{"s1", "s2", "s3"}, boxes)
		w.begin()
		w.startClients()
		recoverIn, promptIn, nightIn := w.rng.IntN(2*rounds), w.rng.IntN(rounds), w.rng.IntN(rounds)
		if testing.Short() {
			recoverIn = rounds / 2
		}
		for w.round = range rounds {
			time.Sleep(time.Duration(w.rng.IntN(6000)) * time.Millisecond)
			w.revive()
			w.harm()
			switch w.round {
			case recoverIn:
				w.recover()
			case promptIn:
				w.promptly()
			case nightIn:
				w.night()
			}
		}
		w.end()
	})
	for k, ops := range w.accesses {
		if res := porcupine.CheckOperationsTimeout(register, ops, 20*time.Second); res == porcupine.Illegal {
			t.Errorf("seed %d: %d operations on the policy of %s are not linearizable", seed, len(ops), k.school)
		}
	}
	return w
}

func TestRegionAndBoxes(t *testing.T) {
	runs := uint64(200)
	if testing.Short() {
		runs = 2
	}
	seed, fixed := number(t, "PREAU_SIM_SEED", 1)
	if fixed {
		runs = 1
	}
	runs, chosen := number(t, "PREAU_SIM_RUNS", runs)
	ca := newAuthority(t, []string{"s1", "s2", "s3"})
	var mu sync.Mutex
	total, ran, began := map[string]int{}, 0, time.Now()
	t.Run("seed", func(t *testing.T) {
		for i := range runs {
			s := seed + i
			if fixed {
				s = seed
			}
			t.Run(strconv.FormatUint(s, 10), func(t *testing.T) {
				if t.Parallel(); !chosen && time.Since(began) > budget {
					t.Skip("the seeds before took all the time there is")
				}
				counts := play(t, s, ca).counts
				mu.Lock()
				defer mu.Unlock()
				ran++
				for what, n := range counts {
					if what == "seconds to settle, at most" {
						total[what] = max(total[what], n)
					} else {
						total[what] += n
					}
				}
			})
		}
	})
	for _, what := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%s: %d", what, total[what])
	}
	t.Logf("%d seeds in %s", ran, time.Since(began).Round(time.Second))
	for _, what := range []string{
		"boxes purged in time", "log snapshots installed", "recoveries", "objects purged", "objects dropped in doubt", "hours passed",
	} {
		if ran >= 50 && total[what] == 0 {
			t.Errorf("%s: none in %d seeds, so nothing was tried", what, ran)
		}
	}
}
