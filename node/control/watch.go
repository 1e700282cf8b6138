package control

import (
	"context"
	"time"
)

const (
	watchFirst = 100 * time.Millisecond // most boxes hear within a second
	watchMost  = time.Second
	// silence is how long a server that does not answer is waited for: boxes
	// that were connected to it are elsewhere after that, or away.
	silence = 10 * time.Second
)

// WatchProgress asks again and again until every connected box has carried out
// all up to index, calls fn with each answer, and returns the last one. It
// returns ctx's error with it when that comes first.
func (c *Client) WatchProgress(ctx context.Context, index uint64, fn func(Progress)) (Progress, error) {
	began, pause := time.Now(), watchFirst
	var latest Progress
	for {
		p, err := c.Progress(ctx, index)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return latest, err
		}
		latest = p
		if fn != nil {
			fn(p)
		}
		if p.Confirmed >= p.Connected && (len(p.Silent) == 0 || time.Since(began) >= silence) {
			return p, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return latest, context.Cause(ctx)
		case <-timer.C:
		}
		pause = min(pause*3/2, watchMost)
	}
}
