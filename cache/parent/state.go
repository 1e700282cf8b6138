package parent

import (
	"context"
	"errors"
	"time"

	"preau/cache/upstream"
)

// unwell has a parent left alone for a while.
func (o *Origin) unwell(p Parent, why string) {
	if o.health.Failed(p.Name) {
		o.log.Info("parent left alone", "parent", p.Name, "why", why)
	}
}

// healthy forgets a parent's failures.
func (o *Origin) healthy(p Parent) {
	if o.health.Answers(p.Name) {
		o.log.Info("parent answers again", "parent", p.Name)
	}
}

// Run watches the site's line and the parents' pauses, so that whoever waits on
// Up or Down is woken, until ctx ends; then it returns nil. State is right
// without it.
func (o *Origin) Run(ctx context.Context) error {
	if !o.running.CompareAndSwap(false, true) {
		return errors.New("parents of site " + o.name + " run already")
	}
	defer o.running.Store(false)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := o.review()
		up, down := o.site.Up(), o.site.Down()
		if o.site.State().Up {
			up = nil
		} else {
			down = nil
		}
		// The list of parents may change without a word.
		wait := time.Second
		if !next.IsZero() {
			wait = min(wait, max(time.Millisecond, time.Until(next)))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-up:
		case <-down:
		case <-o.kick:
		case <-timer.C:
		}
	}
}

// State says whether it makes sense to fetch: while the site's line is up, or a
// parent can be tried.
func (o *Origin) State() upstream.State {
	o.review()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state
}

// Up returns a channel that is closed when the state is up.
func (o *Origin) Up() <-chan struct{} {
	o.review()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.up
}

// Down returns a channel that is closed when the state is down.
func (o *Origin) Down() <-chan struct{} {
	o.review()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down
}

// review brings the state up to date and returns when a parent may be tried
// again, if that would change it.
func (o *Origin) review() (next time.Time) {
	st := o.site.State()
	list := o.list("/")
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	up := st.Up
	for _, p := range list {
		until := o.health.Until(p.Name)
		if !until.After(now) {
			up = true
		} else if next.IsZero() || until.Before(next) {
			next = until
		}
	}
	before := o.state
	o.state.LastOK, o.state.BusyUntil = st.LastOK, st.BusyUntil
	switch {
	case up && !before.Up:
		o.state.Up, o.state.Cause, o.state.Since = true, "", now
		close(o.up)
		o.down = make(chan struct{})
	case !up && before.Up:
		o.state.Up, o.state.Cause, o.state.Since = false, st.Cause, now
		close(o.down)
		o.up = make(chan struct{})
	case !up:
		o.state.Cause = st.Cause
	}
	if before.Up != o.state.Up {
		select {
		case o.kick <- struct{}{}:
		default: // Run is told already
		}
	}
	if up {
		return time.Time{}
	}
	return next
}
