package feed

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"preau/replication/identity"
)

// Target is a server that a box may follow.
type Target struct {
	Name identity.Name
	URL  string // https://host:port
}

// outcome is how following a server ended.
type outcome string

const (
	cut      outcome = "failed"  // the connection, or never one
	refused  outcome = "refused" // what came was wrong
	full     outcome = "full"    // no room on our disk
	tired    outcome = "ended"   // we wanted it: a nearer server may be back
	parted   outcome = "goodbye" // draining, behind
	again    outcome = "again"
	twice    outcome = "moved"
	banished outcome = "revoked"
	hurried  outcome = "hurried" // the line came back meanwhile
)

const (
	// long is how long a connection was good for one cut to mean nothing.
	long = time.Minute
	// hop is over how long boxes that lost one server come to the next.
	hop = 2 * time.Second
)

// choice decides which server to follow, and when. Boxes are spread over the
// servers by their names, so that all don't go to one and each comes back to
// its own.
//
// Each server has a mark of its own for having failed. A box that loses a
// connection goes on, at once, to every server that it has not tried since, and
// waits for long only when all it knows have failed since.
type choice struct {
	box    identity.Name
	spread time.Duration // after everybody failed
	last   identity.Name
	failed map[identity.Name]bool
	// fails has when each server failed last, and the time before that.
	fails map[identity.Name][2]time.Time
}

// order is the box's own order of servers.
func (c *choice) order(targets []Target) []Target {
	score := func(t Target) uint64 { return xxhash.Sum64String(string(c.box) + "\x00" + string(t.Name)) }
	out := slices.Clone(targets)
	slices.SortStableFunc(out, func(a, b Target) int {
		switch x, y := score(a), score(b); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return out
}

// next is the server to try: the last one as long as it holds, then the first in
// order that has not failed.
func (c *choice) next(targets []Target) (Target, bool) {
	order := c.order(targets)
	for _, t := range order {
		if t.Name == c.last && !c.failed[t.Name] {
			return t, true
		}
	}
	for _, t := range order {
		if !c.failed[t.Name] {
			return t, true
		}
	}
	if len(order) == 0 {
		return Target{}, false
	}
	clear(c.failed)
	return order[0], true
}

// home says whether t is the box's first choice.
func (c *choice) home(t Target, targets []Target) bool {
	order := c.order(targets)
	return len(order) == 0 || order[0].Name == t.Name
}

// ended notes how t ended after lived, which is 0 if it never answered, and says
// how long to wait. at is a random number from 0 to 1.
func (c *choice) ended(t Target, targets []Target, how outcome, lived time.Duration, at float64) time.Duration {
	upto := func(d time.Duration) time.Duration { return time.Duration(at * float64(d)) }
	if c.failed == nil {
		c.failed = make(map[identity.Name]bool)
		c.fails = make(map[identity.Name][2]time.Time)
	}
	if lived >= long {
		clear(c.failed)
	} else if lived > 0 {
		c.forgive()
	}
	switch how {
	case tired:
		c.last = ""
		clear(c.failed)
		return 0
	case again, hurried:
		return upto(hop)
	case full, twice:
		return c.spread/2 + upto(c.spread/2)
	case banished:
		return c.spread + upto(c.spread)
	case cut:
		if lived >= long {
			// One cut of a line that was good: the server is the likeliest there is.
			c.last = t.Name
			return upto(hop)
		}
	case parted, refused:
	}
	c.fail(t.Name)
	if c.last == t.Name {
		c.last = ""
	}
	for _, other := range targets {
		if !c.failed[other.Name] {
			return upto(hop)
		}
	}
	// Nobody is there, so everybody looks: come back one by one.
	clear(c.failed)
	return upto(c.spread)
}

// fail marks a server, and forgets failures of long ago: servers come and go over
// the years.
func (c *choice) fail(name identity.Name) {
	now := time.Now()
	for other, when := range c.fails {
		if now.Sub(when[0]) >= c.spread {
			delete(c.fails, other)
		}
	}
	c.failed[name] = true
	c.fails[name] = [2]time.Time{now, c.fails[name][0]}
}

// forgive takes away the marks from before a connection that has just ended:
// what failed then may be back. Only a server that failed twice in a spread, and
// just now, keeps its mark; else boxes would run in a circle, without a pause,
// through servers that all answer and then fail.
func (c *choice) forgive() {
	for name := range c.failed {
		last, before := time.Since(c.fails[name][0]), c.fails[name][1]
		if last >= c.spread/4 || before.IsZero() || time.Since(before) >= c.spread {
			delete(c.failed, name)
		}
	}
}
