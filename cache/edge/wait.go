package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
)

// Without a line, a neighbour is waited for as long as it sends something, and
// then for stillTimes times stillEvery.
const (
	stillEvery = 250 * time.Millisecond
	stillTimes = 6
)

// errCircle ends a neighbour's wait for what waits for a neighbour.
var errCircle = fmt.Errorf("%w: it waits for a neighbour itself", fill.ErrUnavailable)

// firstByte waits until the first byte of a response is held. A device that has
// begun to read waits out an outage; one that has not is better told at once
// that the line is down.
func (x *exchange) firstByte(reader *fill.Reader, body *fill.Body, from int64) error {
	if body.Holds(from, from+1) {
		return reader.Wait(x.r.Context())
	}
	refusable, settled := x.untilRefused(object.ID(body.Status().ID), from, from+1)
	defer settled()
	ctx, cancel := context.WithCancelCause(refusable)
	defer cancel(nil)
	over := make(chan struct{})
	go func() { // ends with this call
		defer close(over)
		down := x.site.Upstream.Down()
		var look, still <-chan time.Time
		if x.neighbour {
			tick := time.NewTicker(circleAfter)
			defer tick.Stop()
			look = tick.C
		}
		quiet := 0
		for {
			select {
			case <-down:
				if !x.nearby() {
					cancel(errLineDown)
					return
				}
				// A neighbour may be sending it, or another be asked for it.
				tick := time.NewTicker(stillEvery)
				defer tick.Stop()
				down, still = nil, tick.C
				continue
			case <-still:
				if st := body.Status(); st.Fetches > 0 && !st.Waiting || x.lineUp() {
					quiet = 0
					continue
				}
				if quiet++; quiet < stillTimes {
					continue
				}
				cancel(errLineDown)
			case <-look:
				if !fedByNeighbour(body) {
					continue
				}
				cancel(errCircle)
			case <-ctx.Done():
			}
			return
		}
	}()
	err := reader.Wait(ctx)
	cancel(nil)
	<-over
	if cause := context.Cause(ctx); err != nil && x.r.Context().Err() == nil && (errors.Is(cause, errLineDown) || errors.Is(cause, errCircle) || errors.Is(cause, errFragment)) {
		return cause
	}
	return err
}
