package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

const (
	sending   = 4 // blocks on their way at once
	lookEvery = time.Minute
	sendAgain = 3 * time.Second // after an error, at first
	slowest   = 2 * time.Minute
	afterNo   = 10 * time.Minute // after a refusal
	whyBarred = "the box on which it was added was revoked: IT has to look at it"
)

// errDone is a deposit that somebody else has brought meanwhile.
var errDone = errors.New("the region has it")

// Run brings deposits to the region until ctx ends, and returns nil. The oldest
// goes first; one that the region refuses holds up no other.
func (o *Outbox) Run(ctx context.Context, region Region) error {
	later := make(map[string]time.Time)
	failures := 0
	for ctx.Err() == nil {
		d, wait, ok := o.next(region, later)
		if !ok {
			o.pause(ctx, wait)
			continue
		}
		err := o.send(ctx, region, d)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || errors.Is(err, errDone) {
			failures = 0
			delete(later, d.ID)
			o.met.sent.WithLabelValues("ok").Inc()
			continue
		}
		o.met.sent.WithLabelValues("failed").Inc()
		var pause time.Duration
		why := "the region can't be reached"
		if refusal, no := errors.AsType[*Refusal](err); no {
			pause, why = afterNo, refusal.Reason
		} else {
			failures++
			pause = min(sendAgain<<min(failures-1, 6), slowest)
		}
		o.log.WarnContext(ctx, "a deposit waits", "deposit", d.ID, "why", why, "again_in", pause, "err", err)
		later[d.ID] = time.Now().Add(pause/2 + rand.N(pause))
		o.waits(d.ID, why)
	}
	return nil
}

// next is the oldest deposit that is due, or how long there is none.
func (o *Outbox) next(region Region, later map[string]time.Time) (_ Deposit, wait time.Duration, ok bool) {
	wait = lookEvery
	for _, d := range slices.Backward(o.List()) {
		if d.State != OnBox {
			continue
		}
		if d.From != "" && region.Barred(d.From) {
			o.waits(d.ID, whyBarred)
			continue
		}
		if left := time.Until(later[d.ID]); left > 0 {
			wait = min(wait, left)
			continue
		}
		return d, 0, true
	}
	return Deposit{}, wait, false
}

func (o *Outbox) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-o.pokes:
	case <-t.C:
	}
}

func (o *Outbox) waits(id, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.deposits[id]; d != nil && d.Waiting != why {
		d.Waiting = why
		o.tell()
	}
}

func (o *Outbox) hasSent(id string, n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.deposits[id]; d != nil {
		d.Sent = min(n, d.Length)
		o.tell()
	}
}

// send brings a deposit to the region: what that lacks of it, then its name.
func (o *Outbox) send(ctx context.Context, region Region, d Deposit) error {
	var digests []block.Digest
	lengths := make(map[block.Digest]int64)
	if !d.List.IsZero() {
		o.mu.Lock()
		entries := o.lists[d.List]
		o.mu.Unlock()
		digests = append(hold.Digests(entries), d.List)
		for _, e := range entries {
			lengths[e.Digest] += int64(e.Length)
		}
	}
	// What is asked for and sent may be lost while the rest is on its way, so
	// the region is asked until it lacks nothing.
	for range 3 {
		missing, err := o.lacking(ctx, region, digests)
		if err != nil {
			return err
		}
		done := d.Length
		for _, digest := range missing {
			done -= lengths[digest]
		}
		o.hasSent(d.ID, done)
		if len(missing) == 0 {
			break
		}
		if err := o.sendBlocks(ctx, region, d.ID, missing, lengths, done); err != nil {
			return err
		}
	}
	err := region.Commit(ctx, d)
	if errors.Is(err, ErrTaken) {
		o.log.WarnContext(ctx, "the region has another deposit of this id, and gets this one under a new one", "deposit", d.ID, "id", d.RegionID())
		if d, err = o.rename(d.ID); err == nil {
			err = region.Commit(ctx, d)
		}
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return o.Learn(d.RegionID(), InRegion, "", "", "", "")
}

// waiting reports whether a deposit still has to be brought to the region.
func (o *Outbox) waiting(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.deposits[id]
	return d != nil && d.State == OnBox
}

func (o *Outbox) lacking(ctx context.Context, region Region, digests []block.Digest) ([]block.Digest, error) {
	if len(digests) == 0 {
		return nil, nil
	}
	missing, err := region.Missing(ctx, digests)
	if err != nil {
		return nil, fmt.Errorf("ask what the region lacks: %w", err)
	}
	return missing, nil
}

func (o *Outbox) sendBlocks(ctx context.Context, region Region, id string, missing []block.Digest, lengths map[block.Digest]int64, done int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		slots = make(chan struct{}, sending)
	)
	for _, digest := range missing {
		select {
		case <-ctx.Done():
		case slots <- struct{}{}:
		}
		if ctx.Err() != nil {
			break
		}
		if !o.waiting(id) {
			cancel(errDone) // another box has brought the same
			<-slots
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			p, err := o.block(digest)
			if err == nil {
				err = region.Put(ctx, digest, p)
			}
			if err != nil {
				cancel(err)
				return
			}
			o.met.bytes.Add(float64(len(p)))
			mu.Lock()
			defer mu.Unlock()
			done += lengths[digest]
			o.hasSent(id, done)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("send blocks: %w", context.Cause(ctx))
	}
	return nil
}

// block reads a whole block, checked.
func (o *Outbox) block(d block.Digest) ([]byte, error) {
	b, err := o.blocks.Open(d)
	if err != nil {
		return nil, err
	}
	p := make([]byte, b.Len())
	_, err = b.ReadAt(p, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return p, errors.Join(err, b.Close())
}
