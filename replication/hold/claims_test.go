package hold_test

import (
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/hold"
)

func TestAClaimHoldsForItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		digests, _ := blocks(30, 8)
		c := hold.NewClaims(time.Hour, 1000)
		for i, at := range []time.Duration{0, 59 * time.Minute, 60 * time.Minute, 100 * time.Minute} {
			time.Sleep(at - time.Since(epoch()))
			c.Add(digests[i])
		}
		claimed := func(i int) bool { return c.Claimed(digests[i]) }
		for _, step := range []struct {
			at   time.Duration
			want [5]bool
		}{
			{100 * time.Minute, [5]bool{true, true, true, true, false}},
			{119 * time.Minute, [5]bool{true, true, true, true, false}},
			{120 * time.Minute, [5]bool{false, false, true, true, false}},
			{179 * time.Minute, [5]bool{false, false, true, true, false}},
			{10 * time.Hour, [5]bool{}},
		} {
			time.Sleep(step.at - time.Since(epoch()))
			for i, want := range step.want {
				if got := claimed(i); got != want {
					t.Errorf("after %s claim %d: %t, want %t", step.at, i, got, want)
				}
			}
		}
	})
}

// epoch is when every bubble begins.
func epoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func TestTooManyClaimsClaimEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		digests, _ := blocks(31, 8)
		c := hold.NewClaims(time.Hour, 4)
		c.Add(digests[:5]...)
		if !c.Claimed(digests[7]) {
			t.Error("more was claimed than is remembered, and a block counts as free")
		}
		time.Sleep(2 * time.Hour)
		if c.Claimed(digests[0]) || c.Claimed(digests[7]) {
			t.Error("claims never end")
		}
	})
}
