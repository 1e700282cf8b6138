package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

const (
	// busyRounds is how often all servers are asked for a block while one of them
	// says that it can be had later.
	busyRounds = 4
	// leastBusy and mostBusy bound what a server may have the box wait.
	leastBusy, mostBusy = 500 * time.Millisecond, 10 * time.Second
	// blockTime is how long one answer may take: a block on 300 kbit/s.
	blockTime = 30 * time.Second
)

var errNoServers = errors.New("no server of the region is known")

type (
	ofKey    struct{}
	reachKey struct{}
)

// reach is how far somebody may go for what is not here.
type reach int

const (
	anywhere reach = iota // the other boxes, and the region
	overLine              // the region: another box asks
	nowhere               // only what is here counts
)

func withReach(ctx context.Context, r reach) context.Context {
	return context.WithValue(ctx, reachKey{}, r)
}

func reachOf(ctx context.Context) reach {
	r, _ := ctx.Value(reachKey{}).(reach) //nolint:errcheck // anywhere: it has not been said
	return r
}

// withOf says which resource the blocks that ctx is for belong to: a server that
// lacks one knows where to get it then.
func withOf(ctx context.Context, of string) context.Context {
	return context.WithValue(ctx, ofKey{}, of)
}

// block gets a block from whichever server has it, checked. While one of them
// says that it is getting it, all are asked again after a while.
func (p *parents) block(ctx context.Context, d block.Digest) ([]byte, error) {
	of, _ := ctx.Value(ofKey{}).(string) //nolint:errcheck // empty: it has not been said
	for round := 1; ; round++ {
		b, wait, err := p.round(ctx, of, d)
		if err == nil || wait == 0 || round == busyRounds || ctx.Err() != nil {
			return b, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// round asks each server once. If none gave the block, wait is when to ask
// again, 0 for no server that asked for it.
func (p *parents) round(ctx context.Context, of string, d block.Digest) (_ []byte, wait time.Duration, _ error) {
	var errs []error
	for _, r := range p.order(d.String(), "") {
		b, err := r.get(ctx, of, d)
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		busy, isBusy := errors.AsType[*hold.BusyError](err)
		if err == nil || isBusy || errors.Is(err, block.ErrNotFound) {
			p.note(r.way, nil)
		} else {
			p.note(r.way, err)
		}
		if err == nil {
			return b, 0, nil
		}
		if isBusy {
			again := min(max(busy.After, leastBusy), mostBusy)
			if wait == 0 || again < wait {
				wait = again
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
	}
	if len(errs) == 0 {
		return nil, 0, errNoServers
	}
	return nil, wait, errors.Join(errs...)
}

// get asks one server for a block, and trusts no byte of the answer.
func (r ranked) get(ctx context.Context, of string, d block.Digest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, blockTime)
	defer cancel()
	b, err := hold.Fetch(ctx, r.blocks, "https://"+r.name, d, of)
	if err != nil {
		return nil, fmt.Errorf("get block %s: %w", d, err)
	}
	return b, nil
}
