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

// ended takes note that the fetch that began at from is over, and decides what
// follows: another one, another try later, or nothing.
func (b *Body) ended(s *segment, from int64, err error, cancelled bool) {
	b.mu.Lock()
	delete(b.segs, s)
	whole := b.allStored()
	if b.spec.Closed {
		for r := range b.readers {
			r.nudge() // nothing more will come
		}
	}
	b.mu.Unlock()
	switch {
	case errors.Is(err, ErrChanged):
		b.fail(err)
	case whole:
		b.finish()
	case err == nil, errors.Is(err, errEnough), cancelled:
		b.mu.Lock()
		b.replan()
		b.mu.Unlock()
	default:
		b.tryLater(err)
	}
	if !whole {
		// What began or stopped within a block would hold memory for as long as
		// nobody brings the rest of it.
		b.spill(int(from / block.Size))
		b.spill(int(s.pos / block.Size))
		b.save()
	}
	b.retire()
}

// tryLater plans the next attempt after a failed one, or gives up.
func (b *Body) tryLater(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble.IsZero() {
		b.trouble = time.Now()
	}
	b.failures++
	if b.retrying || b.err != nil || b.m.ctx.Err() != nil || len(b.readers) == 0 {
		return
	}
	b.m.log.Debug("fetch broke", "err", cause, "failures", b.failures)
	b.m.mu.Lock()
	closed := b.m.closed
	if !closed {
		b.m.work.Add(1)
	}
	b.m.mu.Unlock()
	if closed {
		return
	}
	b.retrying = true
	deadline := b.trouble.Add(b.m.cfg.Patience)
	ctx, stop := context.WithCancel(b.m.ctx)
	b.stopTry = stop
	delay := backoff(b.failures)
	go func() {
		defer b.m.work.Done()
		defer stop()
		late := !b.pause(ctx, delay, deadline)
		if late && ctx.Err() == nil {
			b.fail(fmt.Errorf("%w: %w", ErrUnavailable, cause))
		}
		b.mu.Lock()
		b.retrying, b.stopTry = false, nil
		b.replan()
		b.mu.Unlock()
		b.retire()
	}()
}

// pause waits for delay and then until the source may be tried again; false if
// that is not before deadline.
func (b *Body) pause(ctx context.Context, delay time.Duration, deadline time.Time) bool {
	timer := time.NewTimer(max(0, time.Until(deadline)))
	defer timer.Stop()
	short := time.NewTimer(delay)
	defer short.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return false
	case <-short.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return false
	case <-b.spec.Source.Ready():
		return true
	}
}

// backoff is the time before attempt n+1: at once for a connection that broke,
// then ever slower up to 2 s, since a class is waiting.
func backoff(n int) time.Duration {
	return min(2*time.Second, 50*time.Millisecond<<min(n-1, 6))
}

// finish completes the digest of the whole body and keeps the manifest.
func (b *Body) finish() {
	b.mu.Lock()
	if !b.sha256.IsZero() {
		b.mu.Unlock()
		b.save()
		return
	}
	if b.summing {
		b.mu.Unlock()
		return // whoever sums comes here too, when it is done
	}
	b.summing = true
	defer func() {
		b.mu.Lock()
		b.summing = false
		b.mu.Unlock()
	}()
	blocks, next, sum, length := b.blocks, b.summed, b.sum, b.length
	b.shared = true // blocks is read below without the lock
	b.mu.Unlock()
	var d block.Digest
	switch {
	case len(blocks) == 0:
		d = block.Sum(nil)
	case len(blocks) == 1:
		d = blocks[0] // a body of one block has the block's digest
	default:
		if sum == nil {
			sum = sha256.New()
		}
		buf := whole.Get().(*[block.Size]byte)
		defer whole.Put(buf)
		for i := next; i < len(blocks); i++ {
			p := buf[:block.BlockLen(length, i)]
			if err := b.readPiece(block.Piece{Len: len(p), Digest: blocks[i]}, p); err != nil || b.m.ctx.Err() != nil {
				b.save()
				return // without the digest of the whole: nothing needs it yet
			}
			sum.Write(p)
		}
		sum.Sum(d[:0])
	}
	b.mu.Lock()
	b.sha256, b.sum, b.dirty = d, nil, true
	b.mu.Unlock()
	b.save()
}
