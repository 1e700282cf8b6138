package fill

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"preau/cache/block"
)

// mostLosses is how many stored blocks may turn out lost while one body is
// being read before the disk is taken to be past helping.
const mostLosses = 64

// ended takes note that the fetch s is over, and decides what follows: another
// one, another try later, or nothing.
func (b *Body) ended(s *segment, err error) {
	b.mu.Lock()
	// Not before it is out of segs: whoever saw one that is over, and nothing
	// decided yet, would have the same fetched once more.
	delete(b.segs, s)
	s.cancel()
	if b.spec.Closed {
		for r := range b.readers {
			r.nudge() // nothing more will come
		}
	}
	changed := errors.Is(err, ErrChanged)
	switch {
	case changed:
	case err == nil, errors.Is(err, errEnough), errors.Is(err, context.Canceled), errors.Is(err, ErrStopped),
		b.length >= 0 && b.have.covers(0, b.length):
		b.replan()
	default:
		b.tryLater(err)
	}
	from, pos := int(s.asked/block.Size), int(s.pos/block.Size)
	b.mu.Unlock()
	if changed {
		b.fail(err)
	}
	// What began or stopped within a block would hold memory for as long as
	// nobody brings the rest of it.
	b.spill(from)
	b.spill(pos)
	b.mu.Lock()
	whole := b.allStored()
	b.mu.Unlock()
	if whole {
		b.finish()
	} else {
		b.save()
	}
	b.mu.Lock()
	b.busy--
	b.mu.Unlock()
	b.retire()
}

// tryLater plans the next attempt after a failed one, or gives up. Callers
// hold b.mu.
func (b *Body) tryLater(cause error) {
	if b.trouble.IsZero() {
		b.trouble = time.Now()
		if errors.Is(cause, errSilent) {
			b.trouble = b.trouble.Add(-b.m.cfg.Patience) // readers waited all the while
		}
	}
	b.failures++
	if b.retrying || b.err != nil || b.spec.Closed || len(b.readers) == 0 || !b.m.start() {
		return
	}
	b.m.log.Debug("fetch broke", "err", cause, "failures", b.failures)
	b.retrying = true
	ctx, stop := context.WithCancel(b.m.ctx)
	b.stopTry = stop
	delay := backoff(b.failures)
	go func() {
		defer b.m.work.Done()
		defer stop()
		if !b.pause(ctx, delay) && ctx.Err() == nil {
			b.fail(fmt.Errorf("%w: %w", ErrUnavailable, cause))
		}
		b.mu.Lock()
		b.retrying, b.stopTry = false, nil
		b.replan()
		b.mu.Unlock()
		b.retire()
	}()
}

// pause waits for delay and then until the source may be tried again. It
// reports false when ctx ends or readers can't be made to wait any longer.
func (b *Body) pause(ctx context.Context, delay time.Duration) bool {
	for ready := b.spec.Source.Ready(); ; {
		left := b.patience()
		if left <= 0 {
			return false
		}
		wait := left
		if delay > 0 {
			wait = min(delay, left)
		}
		timer := time.NewTimer(wait)
		woken := ready
		if delay > 0 {
			woken = nil
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-woken:
			timer.Stop()
			return true
		case <-timer.C:
			delay -= wait
			ready = b.spec.Source.Ready()
		}
	}
}

// patience is how much longer readers may be kept waiting. Another fetch of
// the same body that brings something renews it.
func (b *Body) patience() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble.IsZero() {
		return b.m.cfg.Patience
	}
	return time.Until(b.trouble.Add(b.m.cfg.Patience))
}

// backoff is the time before attempt n+1: at once for a connection that broke,
// then ever slower up to 2 s, since a class is waiting.
func backoff(n int) time.Duration {
	return min(2*time.Second, 50*time.Millisecond<<min(n-1, 6))
}

// finish keeps the manifest of a body that is whole. The digest of a longer one is
// left to Whole: hardly anybody asks for it, and each byte would be hashed for it
// once more.
func (b *Body) finish() {
	b.mu.Lock()
	if b.sha256.IsZero() && len(b.blocks) <= 1 {
		b.sha256, b.dirty = block.Sum(nil), true
		if len(b.blocks) == 1 {
			b.sha256 = b.blocks[0] // a body of one block has the block's digest
		}
	}
	b.mu.Unlock()
	b.save()
}

// Whole returns the digest of the whole body, for somebody who asks for it. What is
// stored is read for it once; zero says that not all of it is, or that somebody
// else is at it.
func (b *Body) Whole(ctx context.Context) (block.Digest, error) {
	b.mu.Lock()
	if !b.sha256.IsZero() || b.summing || !b.allStored() {
		defer b.mu.Unlock()
		return b.sha256, nil
	}
	b.summing = true
	blocks, length := b.blocks, b.length
	b.shared = true // blocks is read below without the lock
	b.mu.Unlock()
	d, err := b.sumOf(ctx, blocks, length)
	b.mu.Lock()
	b.summing = false
	if err == nil {
		b.sha256, b.dirty = d, true
	}
	b.mu.Unlock()
	if err != nil {
		return block.Digest{}, err
	}
	b.save()
	return d, nil
}

// sumOf is the digest of what blocks are of.
func (b *Body) sumOf(ctx context.Context, blocks []block.Digest, length int64) (d block.Digest, err error) {
	sum := sha256.New()
	buf := whole.Get().(*[block.Size]byte)
	defer whole.Put(buf)
	for i, name := range blocks {
		if err := errors.Join(ctx.Err(), b.m.ctx.Err()); err != nil {
			return d, err
		}
		p := buf[:block.BlockLen(length, i)]
		if err := b.readStored(name, p); err != nil {
			return d, err
		}
		sum.Write(p)
	}
	sum.Sum(d[:0])
	return d, nil
}
