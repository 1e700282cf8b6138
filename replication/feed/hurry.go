package feed

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// A box that found no server waits for up to a Spread, with all others: when the
// region comes back they must not all come at once. But where only this box's line
// was cut there is nobody to make room for. Whoever sees the line come back says so.

const (
	// hurryOver is over how long boxes come whose lines came back in the same moment.
	hurryOver = time.Second
	// signs is how many hints within a Spread make a box try sooner. A line that comes
	// and goes, or hints that mean nothing, cost the region no more than that.
	signs = 3
)

// errHurried ends an attempt that began before the line came back: what it has sent
// was lost, and it would be a while before it is sent again.
var errHurried = errors.New("the line is back: tried anew")

// hurry is what is known of hints. It is guarded by Follower.mu, but for the channel.
type hurry struct {
	at    [signs]time.Time // of the latest, the oldest first
	abort context.CancelCauseFunc
	wake  chan struct{}
}

func newHurry() hurry { return hurry{wake: make(chan struct{}, 1)} }

// over forgets that there was a hurry.
func (h *hurry) over() {
	h.abort = nil
	select {
	case <-h.wake:
	default:
	}
}

// Hurry says that the box's own line has just come back, and reports whether that
// makes a difference: a box that follows no server tries within a second. It is not
// for signs that all boxes see at once, such as a server of the region that answers
// again. It may be called at any time.
func (f *Follower) Hurry() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, now := &f.hurry, time.Now()
	if f.server != "" || !h.at[0].IsZero() && now.Sub(h.at[0]) < f.cfg.Spread {
		return false
	}
	copy(h.at[:], h.at[1:])
	h.at[signs-1] = now
	select {
	case h.wake <- struct{}{}:
	default: // it is awake already
	}
	if h.abort != nil {
		h.abort(errHurried)
	}
	return true
}

// trying has Hurry end an attempt by abort, until a server is connected or done is
// called.
func (f *Follower) trying(abort context.CancelCauseFunc) (done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hurry.abort = abort
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hurry.abort = nil
	}
}

// rest waits, or for less after a Hurry: then no server has failed.
func (f *Follower) rest(ctx context.Context, c *choice, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-f.hurry.wake:
		clear(c.failed)
		pause(ctx, rand.N(hurryOver))
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
