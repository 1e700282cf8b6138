package lesson

import (
	"context"
	"sync/atomic"
	"time"

	"preau/cache/upstream"
)

// pace is how fast a place comes for lessons. What a look has begun goes on at the
// same pace when the rest is brought: the cache then still fetches for the look.
func (p *Preparer) pace(at Place, m mode) *upstream.Pace {
	key := at.Host + at.URL()
	p.mu.Lock()
	defer p.mu.Unlock()
	if pace := p.paces[key]; pace != nil && m == bring && !pace.Hurried() {
		return pace
	}
	limit := &background{p: p}
	if m == look {
		limit.free.Store(2 * lookBytes)
	}
	pace := upstream.NewPace(limit)
	p.paces[key] = pace
	return pace
}

// brought forgets the pace of what is here whole.
func (p *Preparer) brought(at Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.paces, at.Host+at.URL())
}

// background is what comes for lessons: within the line's hours, at its rate, and
// not while people talk. What is free comes at once: a look needs it.
type background struct {
	p    *Preparer
	free atomic.Int64
}

// WaitN implements upstream.Limiter.
func (b *background) WaitN(ctx context.Context, n int) error {
	if b.free.Load() > 0 && b.free.Add(int64(-n)) >= 0 {
		return ctx.Err()
	}
	if b.p.holds(time.Now()) != "" {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for b.p.holds(time.Now()) != "" {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return b.p.parts.Line.WaitN(ctx, n)
}
