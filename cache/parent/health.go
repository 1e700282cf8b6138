package parent

import (
	"sync"
	"time"
)

// mostHealth bounds those that are remembered.
const mostHealth = 256

// Health remembers who has failed lately, by name, and for how long each is to
// be left alone. Its methods may be called concurrently.
type Health struct {
	first, most time.Duration

	mu     sync.Mutex
	failed map[string]health
}

// health is what is remembered of one that failed.
type health struct {
	failures int
	until    time.Time // left alone until then
	trying   bool      // a request tries it now, and the others leave it alone
}

// NewHealth leaves alone whoever fails for first, and each time for twice as
// long, up to most.
func NewHealth(first, most time.Duration) *Health {
	return &Health{first: first, most: most, failed: map[string]health{}}
}

// Failed has name left alone for a while, longer each time, and reports whether
// it had been well till then. Requests that were under way together count as
// one failure.
func (h *Health) Failed(name string) (fell bool) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.failed[name]
	if was.until.After(now) && !was.trying {
		return false
	}
	wait := h.first << min(was.failures, 16)
	if wait <= 0 || wait > h.most {
		wait = h.most
	}
	if len(h.failed) >= mostHealth {
		clear(h.failed)
	}
	h.failed[name] = health{failures: was.failures + 1, until: now.Add(wait)}
	return was.failures == 0
}

// Claim has others leave name alone for that time while one request tries it,
// if it has failed before; true if it has.
func (h *Health) Claim(name string, patience time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, failed := h.failed[name]
	if !failed {
		return false
	}
	was.trying, was.until = true, time.Now().Add(patience)
	h.failed[name] = was
	return true
}

// Unclaim ends a try that has proved nothing.
func (h *Health) Unclaim(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if was, failed := h.failed[name]; failed && was.trying {
		was.trying, was.until = false, time.Time{}
		h.failed[name] = was
	}
}

// Answers forgets name's failures, and reports whether there were any.
func (h *Health) Answers(name string) (rose bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.failed[name]
	delete(h.failed, name)
	return was.failures > 0
}

// Until is when name is to be left alone no more; in the past if it is well.
func (h *Health) Until(name string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed[name].until
}
