package central

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

const (
	pushing     = 4 // parts on their way at once
	pushRepeats = 3 // times that parts may turn out to be missing
)

// Push brings a deposit to the gateway, whatever of it is there already, and
// returns once it is kept. read reads a part of the file, of which it is called
// for several at once; progress, if not nil, hears how many bytes are there, one
// call at a time. Everything may be repeated after an error.
func (c *Client) Push(ctx context.Context, d Deposit, read func(ctx context.Context, off int64, n int) ([]byte, error), progress func(done int64)) (DepositState, error) {
	if state, err := c.pushWhole(ctx, d, read, progress); !errors.Is(err, errNoDelivery) {
		return state, err
	}
	for range pushRepeats {
		state, err := c.Begin(ctx, d)
		if err != nil || state.Kept {
			return state, err
		}
		if err := c.pushParts(ctx, d, state, read, progress); err != nil {
			return DepositState{}, err
		}
		state, err = c.Complete(ctx, d.ID)
		if !errors.Is(err, ErrIncomplete) {
			return state, err
		}
	}
	return DepositState{}, fmt.Errorf("deposit %s: %w, again and again", d.ID, ErrIncomplete)
}

func (c *Client) pushParts(ctx context.Context, d Deposit, state DepositState, read func(context.Context, int64, int) ([]byte, error), progress func(int64)) error {
	size := state.PartSize
	if size < 1 || size > PartSize {
		return fmt.Errorf("%w: parts of %d bytes", ErrInvalid, size)
	}
	count := max(1, int((d.Length+size-1)/size))
	var (
		mu   sync.Mutex
		done int64
		wg   sync.WaitGroup
	)
	there := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		if progress != nil {
			progress(done)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, pushing)
	for number := 1; number <= count; number++ {
		off := int64(number-1) * size
		n := min(size, d.Length-off)
		if slices.Contains(state.Parts, number) {
			there(n)
			continue
		}
		select {
		case <-ctx.Done():
		case slots <- struct{}{}:
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			p, err := read(ctx, off, int(n))
			switch {
			case err != nil:
			case state.Whole:
				err = c.putPart(ctx, d.ID, number, p, http.Header{})
			default:
				err = c.PutPart(ctx, d.ID, number, p)
			}
			if err != nil {
				cancel(err)
				return
			}
			there(n)
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
