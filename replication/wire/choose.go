package wire

import (
	"fmt"
	"time"
)

// mode is how many connections of each kind bulk uses at once.
type mode struct{ tcp, quic int }

func (m mode) String() string {
	switch {
	case m.quic == 0:
		return fmt.Sprintf("tcp %d", m.tcp)
	case m.tcp == 0:
		return fmt.Sprintf("quic %d", m.quic)
	}
	return fmt.Sprintf("tcp %d, quic %d", m.tcp, m.quic)
}

func (m mode) lanes() int { return m.tcp + m.quic }

// The modes. A mix fills the line whatever it is like: if the server has BBR its
// two TCP connections shrug off a random loss, and if it has not, or UDP fares
// better, QUIC's do more. What is narrower costs less, what is wider more.
var (
	mix        = mode{tcp: 2, quic: 4}
	wide       = mode{tcp: 4, quic: 8}
	narrow     = mode{tcp: 2}
	onlyQUIC   = mode{quic: 6}
	onlyTCP    = mode{tcp: 6}
	widestQUIC = mode{quic: 8}
)

// What a trial must bring compared to the mix: less of everything may cost next
// to nothing, more of everything must be worth it.
const (
	asGood = 0.98
	better = 1.10
)

// When to look again.
const (
	againAfter = time.Minute     // at the mix, if something else was chosen
	retryAfter = 5 * time.Minute // at something else, if the mix was
	collapsed  = 0.6             // of what was expected: at once
)

// epoch is a while in which bulk had enough to do.
type epoch struct {
	rate  float64 // bytes a second
	share float64 // of it over TCP
	took  time.Duration
}

// chooser decides which mode is next. It sees what epochs brought, keeps no
// time and does nothing else.
type chooser struct {
	now    mode
	base   mode
	stage  stage
	rate   float64 // of base, and once settled of what was settled for
	trials []mode
	busy   time.Duration // since it was settled
	fixed  bool          // nothing is to be decided
}

type stage int

const (
	measuring stage = iota // base
	trying                 // trials[0]
	settled
)

// newChooser begins with what is known of the place, or with everything there is.
func newChooser(tcp, quic bool, known mode) *chooser {
	c := &chooser{base: mix}
	switch {
	case !quic:
		c.base = onlyTCP
	case !tcp:
		c.base = onlyQUIC
	}
	c.now = c.base
	if known.lanes() > 0 && (tcp || known.tcp == 0) && (quic || known.quic == 0) {
		c.now, c.stage = known, settled
	}
	return c
}

// next takes what an epoch in the present mode brought and says which mode is
// next, and whether that is settled for now.
func (c *chooser) next(e epoch) (mode, bool) {
	if c.fixed {
		return c.now, false
	}
	switch c.stage {
	case measuring:
		c.rate = e.rate
		c.trials = c.candidates(e.share)
		c.tryNext()
	case trying:
		need := asGood
		if c.now.lanes() > c.base.lanes() {
			need = better
		}
		if e.rate >= need*c.rate {
			c.settle(c.now, e.rate)
		} else {
			c.trials = c.trials[1:]
			c.tryNext()
		}
	case settled:
		c.busy += e.took
		wait := againAfter
		if c.now == c.base {
			wait = retryAfter
		}
		if c.rate == 0 { // known from before
			c.rate = e.rate
		}
		if c.busy >= wait || e.rate < collapsed*c.rate {
			c.now, c.stage = c.base, measuring
		} else {
			c.rate += (e.rate - c.rate) / 4
		}
	}
	return c.now, c.stage == settled
}

// has says that a way is among what may be used.
func (c *chooser) has(way Way) bool {
	if way == OverQUIC {
		return c.base.quic > 0
	}
	return c.base.tcp > 0
}

func (c *chooser) tryNext() {
	if len(c.trials) == 0 {
		c.settle(c.base, c.rate)
		return
	}
	c.now, c.stage = c.trials[0], trying
}

func (c *chooser) settle(m mode, rate float64) {
	c.now, c.stage, c.rate, c.busy = m, settled, rate, 0
}

// candidates are worth a trial, by the share of the mix that went over TCP: a
// kind that carried little of it would carry little alone.
func (c *chooser) candidates(share float64) []mode {
	switch {
	case c.base == onlyTCP:
		return []mode{narrow}
	case c.base == onlyQUIC:
		return []mode{widestQUIC}
	case share >= 0.6:
		return []mode{narrow}
	case share >= 0.4:
		return []mode{narrow, wide}
	case share < 0.15:
		return []mode{onlyQUIC, wide}
	}
	return []mode{wide}
}
