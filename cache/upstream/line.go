package upstream

import "time"

// State is what is known about a site's line at one moment.
type State struct {
	Up     bool
	Cause  Cause     // why it is down; empty while it is up
	Since  time.Time // when it came up or went down
	LastOK time.Time // when the origin last gave a real answer; zero if never

	// BusyUntil is how long the site wants to be left alone (Retry-After), the
	// line being up or down; zero if it does not.
	BusyUntil time.Time
}

// How far probes that ask about an up line keep from each other. A fetch that
// is silent has already waited, so its question is put soon; answers that were
// cut or are 5xx can come by the hundred from an origin in good health.
const (
	silenceGap = 100 * time.Millisecond
	doubtGap   = 500 * time.Millisecond
)

type eventKind int

const (
	evAnswered     eventKind = iota // a response header that proves the line
	evSilent                        // a fetch waits too long for its next byte
	evDoubt                         // a request was cut, or answered 502, 503 or 504
	evDialFailed                    // cause, err, started, lastByte
	evProbeStarted                  //
	evProbeUp                       //
	evProbeDown                     // cause
	evProbeUnclear                  // neither: bytes move but the probe got no answer, or the box failed itself
)

// event is one thing seen on the line.
type event struct {
	kind     eventKind
	cause    Cause
	err      error     // of the dial: what those are told whom it takes the line from
	started  time.Time // when the dial began
	lastByte time.Time // when any connection last received anything
	jitter   float64   // [0, 1), spreads the probes of many boxes
}

// effect is what the edge must do after an event.
type effect struct {
	wentDown   bool // tell everyone, break off those that wait
	wentUp     bool // tell everyone
	stillDown  bool // a probe failed on a line that was down: break off those that are silent
	newProbeAt bool // the prober must look at probeAt again
}

// line is the state machine of one site's line: pure, no clock, no locks. It
// starts up, since an unknown line is best tried.
//
// A failed dial is proof; silence, cuts and gateway errors are doubts that a
// probe settles; a real answer is proof of the contrary and beats a probe or a
// dial that began before it.
type line struct {
	first, max time.Duration // pause between probes while down

	state     State
	probing   bool
	probeFrom time.Time // start of the probe under way, or of the last one
	probeEnd  time.Time
	probeAt   time.Time // when the next probe is due; zero: none
	failures  int
	quiet     time.Time // no background probe of a line that is down before then
}

func newLine(now time.Time, first, most time.Duration) line {
	return line{first: first, max: most, state: State{Up: true, Since: now}}
}

// step applies one event at a time that never runs backwards.
func (l *line) step(now time.Time, ev event) effect {
	before := l.probeAt
	var eff effect
	switch ev.kind {
	case evAnswered:
		eff = l.proven(now)
	case evSilent:
		l.ask(now, silenceGap)
	case evDoubt:
		if l.state.Up {
			l.ask(now, doubtGap)
		}
	case evDialFailed:
		eff = l.dialFailed(now, ev)
	case evProbeStarted:
		l.probing, l.probeFrom, l.probeAt = true, now, time.Time{}
	case evProbeUp:
		l.probing, l.probeEnd = false, now
		eff = l.proven(now)
	case evProbeDown:
		l.probing, l.probeEnd = false, now
		eff = l.probeFailed(now, ev)
	case evProbeUnclear:
		l.probing, l.probeEnd = false, now
		l.schedule(now, ev.jitter)
	}
	eff.newProbeAt = !l.probeAt.Equal(before)
	return eff
}

// proven ends every doubt.
func (l *line) proven(now time.Time) effect {
	l.state.LastOK = now
	l.probeAt, l.failures = time.Time{}, 0
	if l.state.Up {
		return effect{}
	}
	l.state.Up, l.state.Cause, l.state.Since = true, "", now
	return effect{wentUp: true}
}

// ask brings the next probe forward. One that is under way answers this
// question too: its answer, if any, is yet to come.
func (l *line) ask(now time.Time, gap time.Duration) {
	if l.probing {
		return
	}
	at := now
	if next := l.probeEnd.Add(gap); !l.probeEnd.IsZero() && next.After(at) {
		at = next
	}
	if l.probeAt.IsZero() || at.Before(l.probeAt) {
		l.probeAt = at
	}
}

func (l *line) dialFailed(now time.Time, ev event) effect {
	if !l.state.Up {
		l.state.Cause = ev.cause
		return effect{}
	}
	// The origin spoke to somebody while this dial was failing: that is a
	// contradiction, so it is put to a probe.
	if l.state.LastOK.After(ev.started) || ev.lastByte.After(ev.started) {
		l.ask(now, silenceGap)
		return effect{}
	}
	return l.down(now, ev)
}

func (l *line) probeFailed(now time.Time, ev event) effect {
	if l.state.LastOK.After(l.probeFrom) {
		l.schedule(now, ev.jitter)
		return effect{}
	}
	if l.state.Up {
		return l.down(now, ev)
	}
	l.state.Cause = ev.cause
	l.schedule(now, ev.jitter)
	return effect{stillDown: true}
}

func (l *line) down(now time.Time, ev event) effect {
	l.state.Up, l.state.Cause, l.state.Since = false, ev.cause, now
	l.failures, l.probeAt = 0, time.Time{}
	l.schedule(now, ev.jitter)
	return effect{wentDown: true}
}

// schedule sets the next background probe of a line that is down. While one is
// under way its end will schedule the next.
func (l *line) schedule(now time.Time, jitter float64) {
	if l.state.Up || l.probing {
		return
	}
	l.probeAt = now.Add(backoff(l.first, l.max, l.failures, jitter))
	if l.quiet.After(l.probeAt) {
		l.probeAt = l.quiet
	}
	l.failures++
}

// backoff doubles from first to most, shortened by up to a quarter.
func backoff(first, most time.Duration, failures int, jitter float64) time.Duration {
	d := first
	for range failures {
		if d >= most/2 {
			d = most
			break
		}
		d *= 2
	}
	return d - time.Duration(float64(d)*jitter/4)
}
