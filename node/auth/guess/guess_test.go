package guess_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/auth/guess"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestFiveWrongCodesAreFreeAndThenEverybodyWaits(t *testing.T) {
	var g guess.Guard
	now := noon
	want := []time.Duration{0, 0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour}
	for i, wait := range want {
		done, early := g.Try(now)
		if done == nil {
			t.Fatalf("try %d has to wait %v", i, early)
		}
		done(false)
		if wait == 0 {
			continue
		}
		if done, left := g.Try(now.Add(wait - time.Second)); done != nil || left != time.Second {
			t.Fatalf("after %d wrong codes: let in %v, wait %v", i+1, done != nil, left)
		}
		now = now.Add(wait)
	}
	done, _ := g.Try(now)
	done(true)
	if done, wait := g.Try(now); done == nil {
		t.Errorf("after the right code: wait %v", wait)
	}
}

func TestWrongCodesAreForgotten(t *testing.T) {
	var g guess.Guard
	for range 4 {
		done, _ := g.Try(noon)
		done(false)
	}
	done, _ := g.Try(noon.Add(25 * time.Hour))
	done(false)
	if done, wait := g.Try(noon.Add(25 * time.Hour)); done == nil {
		t.Errorf("wait %v", wait)
	} else {
		done(false)
	}
	for range 9 {
		if done, _ := g.Try(noon.Add(26 * time.Hour)); done != nil {
			done(false)
		}
	}
	if done, _ := g.Try(noon.Add(26 * time.Hour)); done != nil {
		t.Error("nobody waits")
	}
	g.Forget()
	if done, wait := g.Try(noon.Add(26 * time.Hour)); done == nil {
		t.Errorf("after Forget: wait %v", wait)
	}
}

func TestAClockPutBackLocksNobodyOut(t *testing.T) {
	var g guess.Guard
	for range 5 {
		done, _ := g.Try(noon)
		done(false)
	}
	if done, _ := g.Try(time.Unix(0, 0)); done == nil {
		t.Error("locked out for 56 years")
	}
	r := guess.NewRates(guess.Rate{Burst: 1, Every: time.Minute}, guess.Rate{Burst: 9, Every: time.Minute})
	if !r.Allow("192.0.2.1:5", noon) || !r.Allow("192.0.2.1:5", time.Unix(0, 0)) {
		t.Error("a device is locked out for 56 years")
	}
}

func TestManyTriesAtOnceAreNoWayRound(t *testing.T) {
	var g guess.Guard
	var judged atomic.Int32
	var tries sync.WaitGroup
	for range 100 {
		tries.Go(func() {
			if done, _ := g.Try(noon); done != nil {
				judged.Add(1)
				done(false)
			}
		})
	}
	tries.Wait()
	if n := judged.Load(); n < 1 || n > 5 {
		t.Errorf("%d were judged", n)
	}
}

func TestEachDeviceHasItsShare(t *testing.T) {
	r := guess.NewRates(guess.Rate{Burst: 3, Every: time.Second}, guess.Rate{Burst: 100, Every: time.Second})
	count := func(remote string, now time.Time) (n int) {
		for range 10 {
			if r.Allow(remote, now) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		remote string
		after  time.Duration
		want   int
	}{
		{"192.0.2.1:1000", 0, 3},
		{"192.0.2.1:2000", 0, 0}, // another port is no other device
		{"[::ffff:192.0.2.1]:2000", 0, 0},
		{"192.0.2.2:1000", 0, 3},
		{"@", 0, 3}, // no address at all: a socket of the machine
		{"192.0.2.1:1000", 2 * time.Second, 2},
		{"192.0.2.1:1000", time.Hour, 3},
	} {
		if n := count(tt.remote, noon.Add(tt.after)); n != tt.want {
			t.Errorf("%s after %v: %d, want %d", tt.remote, tt.after, n, tt.want)
		}
	}
}

func TestAllDevicesTogetherHaveTheirShare(t *testing.T) {
	r := guess.NewRates(guess.Rate{Burst: 3, Every: time.Second}, guess.Rate{Burst: 50, Every: time.Second})
	n := 0
	for i := range 10000 {
		if r.Allow(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256), noon) {
			n++
		}
	}
	if n != 50 {
		t.Errorf("%d, want 50", n)
	}
}
