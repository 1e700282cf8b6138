package hold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	p, err := c.do(ctx, request{
		method: http.MethodGet, path: "/blocks/" + d.String(), into: buf, limit: block.Size, good: []int{http.StatusOK},
		check: func(p []byte) error {
			if block.Sum(p) != d {
				return ErrWrongBytes
			}
			return nil
		},
	})
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

// request is one request that may be made again.
type request struct {
	method, path, mediaType string
	body                    []byte
	into                    []byte // for the answer's body
	limit                   int    // of the answer's body
	good                    []int  // statuses that say that it was done, no others do
	answerType              string // media type that the answer must have, if any
	check                   func(p []byte) error
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

// once makes q one time and says, with an error, whether to try again.
func (c *Client) once(ctx context.Context, q request) (_ []byte, again bool, _ error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptTime, errTooSlow)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, c.base+q.path, http.NoBody)
	if err != nil {
		return nil, false, err
	}
	if len(q.body) > 0 {
		lent := &loan{p: q.body}
		defer lent.end()
		req.ContentLength = int64(len(q.body))
		req.Body = lent.reader()
		req.GetBody = func() (io.ReadCloser, error) { return lent.reader(), nil }
	}
	if q.mediaType != "" {
		req.Header.Set("Content-Type", q.mediaType)
	}
	// Blocks are compressed or they are not: nothing is gained on the way.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, true, err
	}
	defer resp.Body.Close()
	if again, err := q.verdict(resp); err != nil {
		// What it says in words is for people, and not to be trusted in length.
		io.CopyN(io.Discard, resp.Body, 4<<10) //nolint:errcheck // read for the connection's sake
		return nil, again, err
	}
	p, err := readAll(resp.Body, q.into, q.limit)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, true, err
	}
	if q.check != nil {
		// Wrong bytes once may be the network's; wrong bytes again are the server's.
		if err := q.check(p); err != nil {
			return nil, true, err
		}
	}
	return p, false, nil
}

// verdict is what the head of an answer means, and whether another attempt makes
// sense.
func (q request) verdict(resp *http.Response) (again bool, _ error) {
	status := resp.StatusCode
	if slices.Contains(q.good, status) {
		if t := resp.Header.Get("Content-Type"); q.answerType != "" && t != q.answerType {
			return false, fmt.Errorf("answer of type %q, want %q: %w", t, q.answerType, ErrRefused)
		}
		return false, nil
	}
	switch status {
	case http.StatusNotFound:
		return false, block.ErrNotFound
	case http.StatusInsufficientStorage:
		return false, block.ErrNoSpace
	case http.StatusUnprocessableEntity:
		// The bytes may have been hurt on the way there.
		return true, fmt.Errorf("status %d: %w", status, ErrWrongBytes)
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return true, fmt.Errorf("status %d", status)
	}
	if status >= 500 {
		return true, fmt.Errorf("status %d", status)
	}
	return false, fmt.Errorf("status %d: %w", status, ErrRefused)
}

// loan is bytes lent to a transport, which may go on reading a request's body
// after it has returned the answer (http.RoundTripper). When the loan has ended
// it reads nothing more, and the bytes are free for something else.
type loan struct {
	mu    sync.Mutex
	p     []byte
	ended bool
}

var errLoanEnded = errors.New("request has ended")

func (l *loan) end() {
	l.mu.Lock()
	l.p, l.ended = nil, true
	l.mu.Unlock()
}

func (l *loan) reader() io.ReadCloser { return &borrower{loan: l} }

// borrower reads a loan from its beginning.
type borrower struct {
	loan *loan
	off  int
}

func (b *borrower) Read(p []byte) (int, error) {
	b.loan.mu.Lock()
	defer b.loan.mu.Unlock()
	if b.loan.ended {
		return 0, errLoanEnded
	}
	if b.off == len(b.loan.p) {
		return 0, io.EOF
	}
	n := copy(p, b.loan.p[b.off:])
	b.off += n
	return n, nil
}

func (b *borrower) Close() error { return nil }

// bufferSize is what readAll needs for a block without growing its buffer.
const bufferSize = block.Size + 1 + bytes.MinRead

// readAll reads r to its end into buf, or into a larger one, and refuses more
// than limit bytes.
func readAll(r io.Reader, buf []byte, limit int) ([]byte, error) {
	w := bytes.NewBuffer(buf[:0])
	n, err := w.ReadFrom(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(limit) {
		return nil, fmt.Errorf("answer is longer than %d bytes", limit)
	}
	return w.Bytes(), nil
}
