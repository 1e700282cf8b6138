package follow

import (
	"context"
	"time"

	"preau/cache/shelf"
)

// lookTalking is how often what keeps quiet looks whether it may go on.
const lookTalking = time.Second

// quiet is a Limiter that lets nothing go while people talk to each other over
// the school's line: a second of film that is fetched ahead is a word that
// nobody understands.
type quiet struct {
	talking func() bool
	next    shelf.Limiter // nil: as fast as it goes
}

// WaitN implements shelf.Limiter.
func (q quiet) WaitN(ctx context.Context, n int) error {
	if err := untilQuiet(ctx, q.talking); err != nil {
		return err
	}
	if q.next == nil {
		return ctx.Err()
	}
	return q.next.WaitN(ctx, n)
}

// untilQuiet returns when nobody talks, or ctx's error.
func untilQuiet(ctx context.Context, talking func() bool) error {
	if err := ctx.Err(); talking == nil || err != nil {
		return err
	}
	return waitFor(ctx, lookTalking, func() bool { return !talking() })
}

// waitFor returns when done says so, which is asked at once and then every so
// often, or ctx's error.
func waitFor(ctx context.Context, every time.Duration, done func() bool) error {
	if done() {
		return nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if done() {
				return nil
			}
		}
	}
}
