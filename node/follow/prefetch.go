package follow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/hold"
	"preau/replication/kv"
)

const (
	// lookAgain is how often what is wanted is compared with what is held, for
	// what was given up for room or failed.
	lookAgain = time.Minute
	// settle is how long news wait for more before anything is fetched.
	settle = 200 * time.Millisecond
)

// blockSource has the region's servers give blocks to the shelf.
type blockSource struct{ p *parents }

// Block implements shelf.Source. What it gives is checked already.
func (s blockSource) Block(ctx context.Context, d block.Digest, _ int) (io.ReadCloser, error) {
	b, err := s.p.block(ctx, d)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(b)), nil
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
	for {
		if err := f.forget(); err != nil {
			f.log.WarnContext(ctx, "marks of what is gone can't be dropped", "err", err)
		}
		next := f.prefetch(ctx)
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
		}
	}
}

// prefetch goes once through what is wanted, and says when to look again. News
// end it early.
func (f *Follower) prefetch(ctx context.Context) time.Duration {
	f.expire(ctx)
	now := f.now()
	f.mu.Lock()
	wants, change := f.known.wants(f.id.School, now)
	policy := f.known.policy(f.id.School)
	var long []catalogue.Resource
	for _, r := range f.known.resources {
		if !r.Manifest.IsZero() {
			long = append(long, r)
		}
	}
	f.mu.Unlock()
	// Without its list of blocks a long file can't even be shown. The lists are
	// small and come first, at any hour.
	missing := f.fetchManifests(ctx, long)
	f.pin(ctx, wants)
	open, opens := within(policy.PrefetchHours, now)
	failed := missing
	if open {
		failed = f.bring(ctx, wants, policy.PrefetchRate) || failed
	}
	f.tally(wants)
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
func (f *Follower) pin(ctx context.Context, wants []want) {
	pinned := map[string]bool{}
	for _, w := range wants {
		if w.pinned {
			pinned[w.id] = true
		}
	}
	for _, it := range f.shelf.Items() {
		st, err := f.shelf.State(it.ID)
		if err == nil && st.Pinned != pinned[it.ID] {
			err = f.shelf.Want(it.ID, pinned[it.ID])
		}
		switch {
		case errors.Is(err, storage.ErrPinsFull):
			f.log.WarnContext(ctx, "there is no room to keep all that is pinned", "resource", it.ID, "err", err)
		case err != nil && !errors.Is(err, shelf.ErrUnknown):
			f.log.WarnContext(ctx, "a pin can't be noted", "resource", it.ID, "err", err)
		}
	}
}

// bring fetches what is not held, and reports whether something failed.
func (f *Follower) bring(ctx context.Context, wants []want, rate int64) (failed bool) {
	var limit shelf.Limiter
	if rate > 0 {
		limit = shelf.NewRate(rate)
	}
	for _, w := range wants {
		st, err := f.shelf.State(w.id)
		if err != nil || st.Complete {
			continue // what is not on the shelf yet waits for its list of blocks
		}
		err = f.shelf.Fetch(ctx, w.id, limit)
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			f.tally(wants)
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

// tally counts what is held of what is wanted, for the region to know.
func (f *Follower) tally(wants []want) {
	held := feed.Held{Wanted: uint64(len(wants))}
	for _, w := range wants {
		if st, err := f.shelf.State(w.id); err == nil && st.Complete {
			held.Present++
			held.Bytes += uint64(st.Held)
		}
	}
	f.mu.Lock()
	f.held = held
	f.mu.Unlock()
	f.met.wanted.Set(float64(held.Wanted))
	f.met.present.Set(float64(held.Present))
}

func keyManifest(d block.Digest) []byte { return append([]byte("node/list/"), d[:]...) }

// manifest is the list of blocks that a long resource has, if it is here.
func (f *Follower) manifest(d block.Digest) ([]block.Digest, error) {
	var whole []byte
	for part := byte(0); ; part++ {
		b, err := f.store.Get(append(keyManifest(d), part))
		if errors.Is(err, kv.ErrNotFound) && part > 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		whole = append(whole, b...)
	}
	if block.Sum(whole) != d {
		return nil, kv.ErrNotFound // the end is missing: it is fetched again
	}
	return hold.DecodeManifest(whole)
}

// manifestPart is how much of a list lies under one key.
const manifestPart = 512 << 10

// fetchManifests gets the lists of blocks of long resources, and puts those on
// the shelf. It reports whether one could not be had.
func (f *Follower) fetchManifests(ctx context.Context, long []catalogue.Resource) (failed bool) {
	for _, r := range long {
		if _, err := f.shelf.State(r.ID); err == nil {
			continue
		}
		err := f.fetchManifest(ctx, r)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			failed = true
			f.log.InfoContext(ctx, "a long resource's list of blocks can't be had yet", "resource", r.ID, "err", err)
		}
	}
	return failed
}

func (f *Follower) fetchManifest(ctx context.Context, r catalogue.Resource) error {
	if _, err := f.manifest(r.Manifest); errors.Is(err, kv.ErrNotFound) {
		raw, err := f.parents.block(ctx, r.Manifest)
		if err != nil {
			return err
		}
		var step []feed.Change
		for part, at := byte(0), 0; at < len(raw); part, at = part+1, at+manifestPart {
			piece := raw[at:min(at+manifestPart, len(raw))]
			step = append(step, feed.Change{Key: append(keyManifest(r.Manifest), part), Value: piece})
		}
		if err := f.store.Write(step); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return f.publish(ctx, r.ID)
}
