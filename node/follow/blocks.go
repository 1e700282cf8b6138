package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"preau/cache/block"
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

var (
	errNoServers  = errors.New("no server of the region is known")
	errWrongBytes = errors.New("the block is not what its digest names")
)

type ofKey struct{}

// withOf says which resource the blocks that ctx is for belong to: a server that
// lacks one knows where to get it then.
func withOf(ctx context.Context, of string) context.Context {
	return context.WithValue(ctx, ofKey{}, of)
}

// busyError is a server's answer that it can't give a block now, and may later.
type busyError struct {
	status int
	again  time.Duration
}

func (e busyError) Error() string { return fmt.Sprintf("status %d, again in %s", e.status, e.again) }

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
		busy, isBusy := errors.AsType[busyError](err)
		if err == nil || isBusy || errors.Is(err, block.ErrNotFound) {
			p.note(r.way, nil)
		} else {
			p.note(r.way, err)
		}
		if err == nil {
			return b, 0, nil
		}
		if isBusy && (wait == 0 || busy.again < wait) {
			wait = busy.again
		}
		errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
	}
	if len(errs) == 0 {
		return nil, 0, errNoServers
	}
	return nil, wait, errors.Join(errs...)
}

// get asks one server for a block, and trusts no byte of the answer.
func (r ranked) get(ctx context.Context, of string, d block.Digest) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, blockTime)
	defer cancel()
	u := url.URL{Scheme: "https", Host: r.name, Path: "/blocks/" + d.String()}
	if of != "" {
		u.RawQuery = url.Values{"of": {of}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := r.blocks.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // what was wanted has been read
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("get block %s: %w", d, block.ErrNotFound)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return nil, fmt.Errorf("get block %s: %w", d, busyError{resp.StatusCode, again(resp.Header.Get("Retry-After"))})
	default:
		return nil, fmt.Errorf("get block %s: status %d", d, resp.StatusCode)
	}
	size := int64(block.Size)
	if resp.ContentLength >= 0 {
		size = min(size, resp.ContentLength)
	}
	b := make([]byte, size+1) // one more shows that there is more
	n, err := io.ReadFull(resp.Body, b)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
	case err == nil:
		return nil, fmt.Errorf("get block %s: %w: it is longer", d, errWrongBytes)
	default:
		return nil, fmt.Errorf("get block %s: %w", d, err)
	}
	if b = b[:n]; block.Sum(b) != d {
		return nil, fmt.Errorf("get block %s: %w", d, errWrongBytes)
	}
	return b, nil
}

// again reads Retry-After in seconds (RFC 9110 section 10.2.3).
func again(field string) time.Duration {
	n, err := strconv.ParseUint(field, 10, 16)
	if err != nil {
		return leastBusy
	}
	return min(max(time.Duration(n)*time.Second, leastBusy), mostBusy)
}
