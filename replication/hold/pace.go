package hold

import (
	"context"
	"sync"
	"time"

	"preau/cache/block"
)

// pace keeps fetches under a rate, over anything longer than a second.
type pace struct {
	rate int64 // bytes a second; 0 is no limit

	mu   sync.Mutex
	free time.Time // when all that was granted has been paid for
}

// wait returns when another block may be fetched, or with ctx's cause.
func (p *pace) wait(ctx context.Context) error {
	if p.rate <= 0 {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	due := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(float64(block.Size) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	timer := time.NewTimer(due)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
