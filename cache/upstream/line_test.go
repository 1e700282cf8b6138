package upstream

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// at is an event so long after the start.
type at struct {
	t  time.Duration
	ev event
}

func TestLineFollowsItsTable(t *testing.T) {
	const ms = time.Millisecond
	epoch := time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)
	refused := event{kind: evDialFailed, cause: CauseRefused}
	silent := event{kind: evProbeDown, cause: CauseSilent}
	tests := map[string]struct {
		events  []at
		up      bool
		cause   Cause
		since   time.Duration
		last    effect
		probeAt time.Duration // -1: none
	}{
		"unknown is up": {up: true, probeAt: -1},
		"an answer asks for nothing": {
			events: []at{{5 * ms, event{kind: evAnswered}}}, up: true, probeAt: -1,
		},
		"silence asks at once": {
			events: []at{{1000 * ms, event{kind: evSilent}}}, up: true, probeAt: 1000 * ms,
			last: effect{newProbeAt: true},
		},
		"an answer withdraws the question": {
			events: []at{{1000 * ms, event{kind: evSilent}}, {1001 * ms, event{kind: evAnswered}}},
			up:     true, probeAt: -1, last: effect{newProbeAt: true},
		},
		"a cut right after an acquittal waits": {
			events: []at{
				{0, event{kind: evDoubt}},
				{0, event{kind: evProbeStarted}}, {10 * ms, event{kind: evProbeUp}},
				{20 * ms, event{kind: evDoubt}},
			},
			up: true, probeAt: 510 * ms, last: effect{newProbeAt: true},
		},
		"silence brings a deferred probe forward": {
			events: []at{
				{0, event{kind: evProbeStarted}}, {10 * ms, event{kind: evProbeUp}},
				{20 * ms, event{kind: evDoubt}}, {30 * ms, event{kind: evSilent}},
			},
			up: true, probeAt: 110 * ms, last: effect{newProbeAt: true},
		},
		"questions join the probe under way": {
			events: []at{{0, event{kind: evProbeStarted}}, {10 * ms, event{kind: evSilent}}},
			up:     true, probeAt: -1,
		},
		"a refused dial is proof": {
			events: []at{{40 * ms, refused}},
			cause:  CauseRefused, since: 40 * ms, probeAt: 540 * ms,
			last: effect{wentDown: true, newProbeAt: true},
		},
		"a dial that failed while the origin answered is put to a probe": {
			events: []at{
				{40 * ms, event{kind: evAnswered}},
				{50 * ms, event{kind: evDialFailed, cause: CauseTimeout, started: epoch.Add(10 * ms)}},
			},
			up: true, probeAt: 50 * ms, last: effect{newProbeAt: true},
		},
		"a dial that failed while bytes came is put to a probe": {
			events: []at{{50 * ms, event{
				kind: evDialFailed, cause: CauseTimeout, started: epoch.Add(10 * ms), lastByte: epoch.Add(20 * ms),
			}}},
			up: true, probeAt: 50 * ms, last: effect{newProbeAt: true},
		},
		"a failed probe is proof": {
			events: []at{{1000 * ms, event{kind: evProbeStarted}}, {1900 * ms, silent}},
			cause:  CauseSilent, since: 1900 * ms, probeAt: 2400 * ms,
			last: effect{wentDown: true, newProbeAt: true},
		},
		"an answer beats a probe that began before it": {
			events: []at{
				{1000 * ms, event{kind: evProbeStarted}}, {1500 * ms, event{kind: evAnswered}}, {1900 * ms, silent},
			},
			up: true, probeAt: -1,
		},
		"an unclear probe changes nothing": {
			events: []at{{0, event{kind: evProbeStarted}}, {900 * ms, event{kind: evProbeUnclear}}},
			up:     true, probeAt: -1,
		},
		"down stays down, with a new cause and the old time": {
			events: []at{
				{0, refused}, {500 * ms, event{kind: evProbeStarted}},
				{1400 * ms, silent},
			},
			cause: CauseSilent, probeAt: 2400 * ms, last: effect{stillDown: true, newProbeAt: true},
		},
		"silence on a line that is down asks at once": {
			events: []at{{0, refused}, {100 * ms, event{kind: evSilent}}},
			cause:  CauseRefused, probeAt: 100 * ms, last: effect{newProbeAt: true},
		},
		"a gateway error on a line that is down changes nothing": {
			events: []at{{0, refused}, {100 * ms, event{kind: evDoubt}}},
			cause:  CauseRefused, probeAt: 500 * ms,
		},
		"an answer ends an outage": {
			events: []at{{0, refused}, {100 * ms, event{kind: evAnswered}}},
			up:     true, since: 100 * ms, probeAt: -1, last: effect{wentUp: true, newProbeAt: true},
		},
		"a probe ends an outage": {
			events: []at{{0, refused}, {500 * ms, event{kind: evProbeStarted}}, {510 * ms, event{kind: evProbeUp}}},
			up:     true, since: 510 * ms, probeAt: -1, last: effect{wentUp: true},
		},
		"a dial that fails under a probe leaves the schedule to it": {
			events: []at{{0, event{kind: evProbeStarted}}, {10 * ms, refused}},
			cause:  CauseRefused, since: 10 * ms, probeAt: -1, last: effect{wentDown: true},
		},
		"an unclear probe on a line that is down is repeated": {
			events: []at{
				{0, event{kind: evProbeStarted}}, {10 * ms, refused}, {20 * ms, event{kind: evProbeUnclear}},
			},
			cause: CauseRefused, since: 10 * ms, probeAt: 520 * ms, last: effect{newProbeAt: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLine(epoch, 500*ms, 5*time.Second)
			var last effect
			for _, e := range tt.events {
				if e.ev.kind == evDialFailed && e.ev.started.IsZero() {
					e.ev.started = epoch.Add(e.t)
				}
				last = l.step(epoch.Add(e.t), e.ev)
			}
			if l.state.Up != tt.up || l.state.Cause != tt.cause {
				t.Errorf("up = %v, cause = %q; want %v, %q", l.state.Up, l.state.Cause, tt.up, tt.cause)
			}
			if got := l.state.Since.Sub(epoch); got != tt.since {
				t.Errorf("since = %v, want %v", got, tt.since)
			}
			probeAt := time.Duration(-1)
			if !l.probeAt.IsZero() {
				probeAt = l.probeAt.Sub(epoch)
			}
			if probeAt != tt.probeAt {
				t.Errorf("probe at %v, want %v", probeAt, tt.probeAt)
			}
			if last != tt.last {
				t.Errorf("last effect = %+v, want %+v", last, tt.last)
			}
		})
	}
}

func TestBackoffDoublesToItsBound(t *testing.T) {
	tests := map[string]struct {
		failures int
		jitter   float64
		want     time.Duration
	}{
		"first":           {0, 0, 500 * time.Millisecond},
		"second":          {1, 0, time.Second},
		"fourth":          {3, 0, 4 * time.Second},
		"bounded":         {4, 0, 5 * time.Second},
		"long after":      {1 << 20, 0, 5 * time.Second},
		"jitter shortens": {0, 0.5, 437500 * time.Microsecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := backoff(500*time.Millisecond, 5*time.Second, tt.failures, tt.jitter); got != tt.want {
				t.Errorf("backoff = %v, want %v", got, tt.want)
			}
		})
	}
}

// Whatever happens in whatever order: an outage always has a next probe, an up
// line without a doubt never has one, and only proof changes the state.
func TestLineKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)
		l := newLine(now, 500*time.Millisecond, 5*time.Second)
		doubted := false // something asked since the last proof or verdict
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			kinds := []eventKind{evAnswered, evSilent, evDoubt, evDialFailed}
			if l.probing {
				kinds = append(kinds, evProbeUp, evProbeDown, evProbeUnclear)
			} else if !l.probeAt.IsZero() && !l.probeAt.After(now) {
				kinds = append(kinds, evProbeStarted)
			}
			ev := event{kind: rapid.SampledFrom(kinds).Draw(t, "event"), jitter: rapid.Float64Range(0, 0.99).Draw(t, "jitter")}
			if ev.kind == evDialFailed || ev.kind == evProbeDown {
				ev.cause = rapid.SampledFrom([]Cause{CauseRefused, CauseTimeout, CauseSilent}).Draw(t, "cause")
				ev.started = now.Add(-time.Duration(rapid.IntRange(0, 1500).Draw(t, "dial ms")) * time.Millisecond)
			}
			before := l
			eff := l.step(now, ev)

			switch ev.kind {
			case evSilent, evDoubt, evDialFailed:
				doubted = true
			case evAnswered, evProbeUp, evProbeDown, evProbeUnclear:
				doubted = false
			}
			if !l.state.Up && !l.probing && l.probeAt.IsZero() {
				t.Fatal("down, and nothing will ever look for the end of it")
			}
			if !l.state.Up && !l.probing && l.probeAt.Sub(now) > 5*time.Second {
				t.Fatalf("down, and the next probe is %v away", l.probeAt.Sub(now))
			}
			if l.state.Up && !doubted && !l.probeAt.IsZero() {
				t.Fatal("a probe of a line that nobody doubts")
			}
			if l.state.Up != (l.state.Cause == "") {
				t.Fatalf("up = %v with cause %q", l.state.Up, l.state.Cause)
			}
			if eff.wentDown != (before.state.Up && !l.state.Up) || eff.wentUp != (!before.state.Up && l.state.Up) {
				t.Fatalf("effect %+v for up %v -> %v", eff, before.state.Up, l.state.Up)
			}
			if eff.wentDown && ev.kind != evDialFailed && ev.kind != evProbeDown {
				t.Fatalf("event %d took the line down", ev.kind)
			}
			if eff.wentDown && ev.kind == evProbeDown && before.state.LastOK.After(before.probeFrom) {
				t.Fatal("a probe overruled an answer that came after it began")
			}
			if (ev.kind == evAnswered || ev.kind == evProbeUp) && !l.state.Up {
				t.Fatal("a real answer did not bring the line up")
			}
			if l.state.Since.Before(before.state.Since) || l.state.LastOK.Before(before.state.LastOK) {
				t.Fatal("time ran backwards")
			}
		}
	})
}
