package upstream

import (
	"slices"
	"time"
)

const (
	// longAfter is when a fetch counts as a long one: a download, which the
	// line holds up and not the site's work, or a long poll.
	longAfter = 5 * time.Second

	// longShare is how many long fetches there may be for each short one.
	longShare = 4

	// mostWaiting bounds the fetches that wait for their turn.
	mostWaiting = 1024
)

// gate lets fetches out in the order in which they came: so many at once, so
// many in a minute, and none while the site wants to be left alone. It is pure:
// no clock, no locks. Times are nanoseconds that never run backwards.
type gate struct {
	most  int // short fetches at once; 0: no bound
	pace  pace
	wait  int64 // how long a fetch may wait
	quiet int64 // the site wants to be left alone until then

	short, long int // fetches under way
	queue       []*turn
}

// turn is one fetch that waits. Its results are set before ready is closed.
type turn struct {
	ready chan struct{}
	err   error // why it is not to go; nil: it goes, and is counted
}

// enter reports whether a fetch may go now; then it is counted.
func (g *gate) enter(now int64) bool {
	if len(g.queue) > 0 || !g.room() || g.opens() > now {
		return false
	}
	g.take(now)
	return true
}

func (g *gate) room() bool { return g.most == 0 || g.short < g.most }

// opens is when the next fetch may go if there is room.
func (g *gate) opens() int64 { return max(g.quiet, g.pace.next()) }

func (g *gate) take(now int64) {
	g.short++
	g.pace.spend(now)
}

// hopeless is the error of a fetch that need not queue: its turn would come too
// late. It is nil for one that may.
func (g *gate) hopeless(now int64) *BusyError {
	if g.quiet-now > g.wait {
		return &BusyError{Wait: time.Duration(g.quiet - now), Asked: true}
	}
	turn := max(g.quiet, g.pace.after(now, len(g.queue)))
	if turn-now > g.wait {
		return &BusyError{Wait: time.Duration(turn - now)}
	}
	if len(g.queue) >= mostWaiting {
		return &BusyError{Wait: time.Duration(g.wait)}
	}
	return nil
}

// advance lets out who may go. It returns when to call it again, or 0 if that
// does not depend on time alone.
func (g *gate) advance(now int64) int64 {
	for len(g.queue) > 0 && g.room() {
		if at := g.opens(); at > now {
			return at
		}
		g.take(now)
		close(g.queue[0].ready)
		g.queue = slices.Delete(g.queue, 0, 1)
	}
	return 0
}

// dismiss sends all away who wait.
func (g *gate) dismiss(err error) {
	for _, t := range g.queue {
		t.err = err
		close(t.ready)
	}
	g.queue = nil
}

// forget takes t out of the queue, and reports whether it was there.
func (g *gate) forget(t *turn) bool {
	i := slices.Index(g.queue, t)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	return true
}

// lengthen counts a fetch as a long one, if there may be one more.
func (g *gate) lengthen() bool {
	if g.most == 0 || g.long >= longShare*g.most {
		return false
	}
	g.short--
	g.long++
	return true
}

func (g *gate) leave(long bool) {
	if long {
		g.long--
	} else {
		g.short--
	}
}

// pace keeps any minute to a number of fetches, half of which may go at once
// (the virtual scheduling form of the generic cell rate algorithm, ITU-T
// I.371). The zero value sets no bound.
type pace struct {
	every int64 // between two fetches, in the long run
	slack int64 // how far ahead of that a burst may run
	due   int64 // when the fetches so far would have gone without bursts
}

func newPace(perMinute int) pace {
	if perMinute == 0 {
		return pace{}
	}
	// A burst and what a minute brings after it are perMinute together.
	burst := int64(perMinute+1) / 2
	steps := int64(perMinute) - burst + 1
	every := (int64(time.Minute) + steps - 1) / steps
	return pace{every: every, slack: (burst - 1) * every}
}

// next is when the next fetch may go.
func (p *pace) next() int64 { return p.due - p.slack }

// after is when the fetch may go that has n before it.
func (p *pace) after(now int64, n int) int64 {
	return max(p.due, now) + int64(n)*p.every - p.slack
}

func (p *pace) spend(now int64) { p.due = max(p.due, now) + p.every }
