package shelf

import (
	"context"
	"sync"
	"time"
)

// Limiter slows a prefetch down.
type Limiter interface {
	// WaitN returns when n more bytes may be asked for, or ctx's error.
	WaitN(ctx context.Context, n int) error
}

// Rate is a Limiter of so many bytes a second, shared by all who use it.
type Rate struct {
	mu    sync.Mutex
	every time.Duration // for one MiB
	next  time.Time
}

// NewRate returns a Rate; 0 sets no limit.
func NewRate(bytesPerSecond int64) *Rate {
	r := &Rate{}
	r.Set(bytesPerSecond)
	return r
}

// Set changes the rate from now on.
func (r *Rate) Set(bytesPerSecond int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.every = 0
	if bytesPerSecond > 0 {
		r.every = time.Duration(float64(1<<20) / float64(bytesPerSecond) * float64(time.Second))
	}
}

// WaitN implements Limiter.
func (r *Rate) WaitN(ctx context.Context, n int) error {
	r.mu.Lock()
	now := time.Now()
	if r.next.Before(now) {
		r.next = now // what was not used is not saved up
	}
	at := r.next
	r.next = at.Add(time.Duration(float64(r.every) * float64(n) / (1 << 20)))
	r.mu.Unlock()
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
