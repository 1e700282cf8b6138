package follow

import (
	"context"
	"errors"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/replication/feed"
)

const (
	// lookAgain is how often what is wanted is compared with what is held, for
	// what was given up for room or failed.
	lookAgain = time.Minute
	// settle is how long news wait for more before anything is fetched.
	settle = 200 * time.Millisecond
)

// stock is the shelf as prefetching needs it.
type stock interface {
	StateOf(it shelf.Item) (shelf.State, error)
	Fetch(ctx context.Context, id string, limit shelf.Limiter) error
	Want(id string, pinned bool) error
	Pinned() map[string]bool
	Unpin() error
	Expire(ctx context.Context, now time.Time) error
}

func (f *Follower) wake() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// runPrefetch brings what is wanted and not held, most urgent first, within
// the policy's hours and at its rate, until ctx ends.
func (f *Follower) runPrefetch(ctx context.Context) error {
	var looked time.Time // at all that is wanted
	for {
		all := f.reopened.Swap(false) || looked.IsZero() || time.Since(looked) >= lookAgain
		if all {
			looked = time.Now()
		}
		next := f.prefetch(ctx, all)
		if err := f.forget(); err != nil {
			f.log.WarnContext(ctx, "marks of what is gone can't be dropped", "err", err)
		}
		wait := time.NewTimer(next)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		case <-f.poke:
			wait.Stop()
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
			select { // what came meanwhile is looked at now
			case <-f.poke:
			default:
			}
		}
	}
}

// prefetch goes once through what is wanted, and says when to look again. News
// end it early. Unless all is to be looked at, what was here stays counted as
// here.
func (f *Follower) prefetch(ctx context.Context, all bool) time.Duration {
	if err := f.readNear(ctx); err != nil {
		if ctx.Err() == nil {
			f.log.WarnContext(ctx, "what is wanted here can't be told yet", "err", err)
		}
		return lookAgain / 4 // before that, nothing may be let go
	}
	now := f.now()
	if err := f.stock.Expire(ctx, now); err != nil {
		f.log.WarnContext(ctx, "what has expired could not be removed yet", "err", err)
	}
	f.mu.Lock()
	wants, change := f.known.wants(f.id.School, now)
	policy := f.known.policy(f.id.School)
	f.mu.Unlock()
	f.pin(ctx, wants, all)
	missing := f.look(wants, all)
	open, opens := within(policy.PrefetchHours, now)
	failed := false
	if open {
		fetching, done := ctx, func() {}
		if left := until(policy.PrefetchHours, now); left > 0 {
			fetching, done = context.WithTimeout(ctx, left)
		}
		failed = f.bring(fetching, missing, policy.PrefetchRate)
		done()
	}
	again := lookAgain
	if failed {
		again = lookAgain / 4
	}
	for _, t := range []time.Time{change, opens} {
		if !t.IsZero() {
			again = min(again, max(t.Sub(now), 0)+time.Millisecond)
		}
	}
	return again
}

// pin tells the shelf what must not be given up, and what may be again.
func (f *Follower) pin(ctx context.Context, wants []want, all bool) {
	pinned, has := map[string]bool{}, f.stock.Pinned()
	for _, w := range wants {
		if w.pinned {
			pinned[w.id] = true
		}
	}
	try := func(id string, on bool) (full bool) {
		err := f.stock.Want(id, on)
		if err != nil && !errors.Is(err, shelf.ErrUnknown) && !errors.Is(err, storage.ErrPinsFull) {
			f.log.WarnContext(ctx, "a pin can't be noted", "resource", id, "err", err)
		}
		return errors.Is(err, storage.ErrPinsFull)
	}
	for id := range has {
		if !pinned[id] {
			try(id, false)
		}
	}
	full := false
	for _, w := range wants { // in their order: the room goes to the most urgent
		if w.pinned && !has[w.id] {
			full = try(w.id, true) || full
		}
	}
	if !f.pinsFull.Swap(full) && full {
		f.log.WarnContext(ctx, "there is no room to keep all that is pinned: unpin something, or give the cache more disk")
	}
	if all {
		if err := f.stock.Unpin(); err != nil {
			f.log.WarnContext(ctx, "pins of an earlier run can't be let go", "err", err)
		}
	}
}

// look finds out what of wants is not here, and counts what is for the region
// to know. Unless it is to look at all, it takes what was here for here.
func (f *Follower) look(wants []want, all bool) (missing []want) {
	f.mu.Lock()
	known := make([]bool, len(wants))
	for i, w := range wants {
		known[i] = w.r.whole && !all
	}
	f.mu.Unlock()
	held := feed.Held{Wanted: uint64(len(wants))}
	for i, w := range wants {
		whole := known[i]
		if !whole {
			st, err := f.stock.StateOf(w.item())
			whole = err == nil && st.Complete
			f.setWhole(w, whole)
		}
		if !whole {
			missing = append(missing, w)
			continue
		}
		held.Present++
		held.Bytes += uint64(w.r.length)
	}
	f.tally(held)
	return missing
}

func (f *Follower) setWhole(w want, whole bool) {
	f.mu.Lock()
	w.r.whole = whole
	f.mu.Unlock()
}

// bring fetches what is not held, and reports whether something failed.
func (f *Follower) bring(ctx context.Context, missing []want, rate int64) (failed bool) {
	limit := f.limiter(rate)
	for _, w := range missing {
		err := f.stock.Fetch(ctx, w.id, limit)
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			f.setWhole(w, true)
			held := region{f}.Held()
			held.Present++
			held.Bytes += uint64(w.r.length)
			f.tally(held)
		case errors.Is(err, shelf.ErrUnknown):
		case errors.Is(err, block.ErrNoSpace), errors.Is(err, shelf.ErrNoStorage):
			return true // nothing else fits either
		default:
			failed = true
			f.met.failures.Inc()
			f.log.InfoContext(ctx, "a resource could not be fetched ahead", "resource", w.id, "err", err)
		}
		if len(f.poke) > 0 {
			return failed // something more urgent may be wanted now
		}
	}
	return failed
}

// limiter keeps what is fetched ahead over this box's line to a rate, whether it
// is for this box or for another one, and quiet while people talk. 0 is no rate.
func (f *Follower) limiter(rate int64) shelf.Limiter {
	if rate <= 0 {
		return quiet{talking: f.cfg.Talking}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rate == nil {
		f.rate = shelf.NewRate(rate)
	}
	f.rate.Set(rate)
	return quiet{talking: f.cfg.Talking, next: f.rate}
}

// tally notes what is held of what is wanted, for the region to know.
func (f *Follower) tally(held feed.Held) {
	f.mu.Lock()
	f.held = held
	f.mu.Unlock()
	f.met.wanted.Set(float64(held.Wanted))
	f.met.present.Set(float64(held.Present))
}
