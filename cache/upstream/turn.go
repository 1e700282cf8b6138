package upstream

import (
	"context"
	"time"
)

// wait returns nil when it is the fetch's turn, which is counted from then on,
// or why there is none.
func (u *Upstream) wait(ctx context.Context) error {
	t := &turn{ready: make(chan struct{})}
	u.mu.Lock()
	now := u.meter.now()
	if busy := u.gate.hopeless(now); busy != nil {
		defer u.mu.Unlock()
		return u.why(busy)
	}
	u.gate.queue = append(u.gate.queue, t)
	u.arm(now)
	u.mu.Unlock()

	patience := time.NewTimer(u.cfg.MaxWait)
	defer patience.Stop()
	select {
	case <-t.ready:
	case <-patience.C:
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now = u.meter.now()
	if u.gate.forget(t) {
		u.arm(now) // the next in the queue may have waited for something else
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if left := u.gate.quiet - now; left > 0 {
			return u.why(&BusyError{Wait: time.Duration(left), Asked: true})
		}
		return u.why(&BusyError{Wait: u.cfg.MaxWait})
	}
	if t.err == nil && ctx.Err() != nil {
		u.gate.leave(false)
		u.arm(now)
		return context.Cause(ctx)
	}
	return t.err
}

// why is the error of a fetch that is not sent: of a line that is down it says
// that first. Callers hold u.mu.
func (u *Upstream) why(busy *BusyError) error {
	if st := u.line.state; !st.Up {
		return &LineError{Cause: st.Cause, Err: busy}
	}
	return busy
}

// arm lets out who may go and comes back when the next one may. Callers hold
// u.mu.
func (u *Upstream) arm(now int64) {
	if len(u.gate.queue) == 0 {
		if u.turns != nil {
			u.turns.Stop()
		}
		return
	}
	at := u.gate.advance(now)
	if at == 0 {
		return
	}
	if d := time.Duration(at - now); u.turns != nil {
		u.turns.Reset(d)
	} else {
		u.turns = time.AfterFunc(d, func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.arm(u.meter.now())
		})
	}
}

// fetching is how many fetches are under way, and waitingTurn how many wait.
func (u *Upstream) fetching() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.gate.short + u.gate.long
}

func (u *Upstream) waitingTurn() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.gate.queue)
}
