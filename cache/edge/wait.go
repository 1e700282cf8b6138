package edge

import (
	"context"
	"errors"

	"preau/cache/fill"
)

// firstByte waits until the first byte of a response is held. A device that has
// begun to read waits out an outage; one that has not is better told at once
// that the line is down.
func (x *exchange) firstByte(reader *fill.Reader, body *fill.Body, from int64) error {
	if body.Holds(from, from+1) {
		return reader.Wait(x.r.Context())
	}
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	over := make(chan struct{})
	go func() { // ends with this call
		defer close(over)
		select {
		case <-x.site.Upstream.Down():
			cancel(errLineDown)
		case <-ctx.Done():
		}
	}()
	err := reader.Wait(ctx)
	cancel(nil)
	<-over
	if err != nil && x.r.Context().Err() == nil && errors.Is(context.Cause(ctx), errLineDown) {
		return errLineDown
	}
	return err
}
