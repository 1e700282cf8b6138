package edge

import (
	"sync"
	"time"
)

// liveAfter is how long people are taken to be talking after the last request
// of theirs has ended: polls come one after the other.
const liveAfter = 30 * time.Second

// calls knows whether people talk to each other over the line.
type calls struct {
	mu    sync.Mutex
	open  int
	since time.Time // when it began
	ended time.Time // when the last request ended
}

func (c *calls) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live(now) {
		c.since = now
	}
	c.open++
}

func (c *calls) end(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	c.ended = now
}

// live is to be called with mu held.
func (c *calls) live(now time.Time) bool {
	return c.open > 0 || !c.ended.IsZero() && now.Sub(c.ended) < liveAfter
}

// Live reports whether people talk to each other over the school's line now,
// or did until half a minute ago, and since when it has been so. Background
// traffic keeps quiet meanwhile.
func (h *Handler) Live() (since time.Time, now bool) {
	c := &h.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live(time.Now()) {
		return time.Time{}, false
	}
	return c.since, true
}

// lives counts x among what is live until the returned function is called.
func (x *exchange) lives() func() {
	if x.plan == nil || !x.plan.Live {
		return func() {}
	}
	x.h.calls.begin(time.Now())
	x.site.counters.live.Inc()
	return func() {
		x.site.counters.live.Dec()
		x.h.calls.end(time.Now())
	}
}
