package hold

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"preau/cache/block"
)

const (
	// attempts is how often a request is made before its error counts.
	attempts = 3
	// attemptTime is how long one attempt may take: a block on 300 kbit/s.
	attemptTime = 30 * time.Second
	// firstPause is waited after the first attempt, twice as long after the next.
	firstPause = 100 * time.Millisecond
)

var (
	// ErrRefused reports a request that the other server will never grant.
	ErrRefused = errors.New("refused")
	errTooSlow = fmt.Errorf("no answer within %s", attemptTime)
)

// Client talks to the Server of another region server. It makes each request up
// to three times, unless the answer says that another try is in vain, and trusts
// no byte: what it returns is what the digest names. All methods may be called
// concurrently.
type Client struct {
	name string
	base string
	rt   http.RoundTripper
}

// NewClient returns a client of the server called name at base, an http or https
// URL without query, through rt, which belongs to the caller.
func NewClient(name, base string, rt http.RoundTripper) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("hold client: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("hold client: %q is not the URL of a server", base)
	}
	if name == "" || rt == nil {
		return nil, errors.New("hold client: no name or no transport")
	}
	return &Client{name: name, base: strings.TrimSuffix(u.String(), "/"), rt: rt}, nil
}

// Name is what the other server is called.
func (c *Client) Name() string { return c.name }

// Put has the other server keep p, which must be what d names. When it returns
// nil the block is synced to that server's disk. Errors: ErrWrongBytes,
// block.ErrNoSpace, ErrRefused, ctx's, or the network's.
func (c *Client) Put(ctx context.Context, d block.Digest, p []byte) error {
	_, err := c.do(ctx, request{
		method: http.MethodPut, path: "/blocks/" + d.String(), body: p, mediaType: "application/octet-stream",
		good: []int{http.StatusCreated, http.StatusNoContent},
	})
	return c.wrap(err, "put block %s", d)
}

// Get returns the block that d names, checked, in buf if that is large enough.
// Errors: block.ErrNotFound, ErrWrongBytes, ErrRefused, ctx's, or the network's.
func (c *Client) Get(ctx context.Context, d block.Digest, buf []byte) ([]byte, error) {
	p, err := c.do(ctx, forBlock(d, "", buf))
	return p, c.wrap(err, "get block %s", d)
}

// Missing returns those of digests that the other server does not have, at most
// MaxDigests at once. Those that it has stay there for its grace.
func (c *Client) Missing(ctx context.Context, digests []block.Digest) ([]block.Digest, error) {
	if len(digests) > MaxDigests {
		return nil, fmt.Errorf("ask for %d digests, want at most %d at once", len(digests), MaxDigests)
	}
	asked := make(map[block.Digest]bool, len(digests))
	for _, d := range digests {
		asked[d] = true
	}
	var missing []block.Digest
	_, err := c.do(ctx, request{
		method: http.MethodPost, path: "/blocks/missing", mediaType: digestsType,
		body: appendDigests(nil, digests), limit: len(digests) * len(block.Digest{}),
		good: []int{http.StatusOK}, answerType: digestsType,
		check: func(p []byte) error {
			list, err := parseDigests(p)
			if err != nil {
				return err
			}
			for _, d := range list {
				if !asked[d] {
					return fmt.Errorf("answer names %s, which was not asked for", d)
				}
			}
			missing = list
			return nil
		},
	})
	return missing, c.wrap(err, "ask for missing blocks")
}

func (c *Client) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("server %s: %s: %w", c.name, fmt.Sprintf(format, args...), err)
}

// do makes q until it is answered for good.
func (c *Client) do(ctx context.Context, q request) ([]byte, error) {
	pause := firstPause
	for n := 1; ; n++ {
		p, again, err := c.once(ctx, q)
		if err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !again || n == attempts {
			return nil, err
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil, context.Cause(ctx)
		case <-wait.C:
		}
		pause *= 2
	}
}

// once makes q one time, for as long as an attempt may take.
func (c *Client) once(ctx context.Context, q request) (_ []byte, again bool, _ error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptTime, errTooSlow)
	defer cancel()
	return q.once(ctx, c.base, c.rt)
}
