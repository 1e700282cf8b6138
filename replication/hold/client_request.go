package hold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"preau/cache/block"
)

// Fetch asks the Server at base, an http or https URL, for the block that d names,
// once, and checks it. of, if not empty, names the file that it is of: a server
// that lacks the block knows then where to get it. Errors: block.ErrNotFound, a
// BusyError, ErrWrongBytes, ErrRefused, ctx's, or the network's.
func Fetch(ctx context.Context, rt http.RoundTripper, base string, d block.Digest, of string) ([]byte, error) {
	p, _, err := forBlock(d, of, nil).once(ctx, base, rt)
	if errors.Is(err, errLonger) {
		err = fmt.Errorf("%w: %w", ErrWrongBytes, err)
	}
	return p, err
}

var errLonger = errors.New("answer is longer than it may be")

// BusyError is a server's answer that it can't do something now, and may later.
type BusyError struct {
	Status int
	After  time.Duration // to wait; 0: it has not said
}

// Error implements error.
func (e *BusyError) Error() string {
	if e.After == 0 {
		return fmt.Sprintf("status %d", e.Status)
	}
	return fmt.Sprintf("status %d, again in %s", e.Status, e.After)
}

// busy reads Retry-After in seconds (RFC 9110 section 10.2.3).
func busy(resp *http.Response) *BusyError {
	n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		n = 0
	}
	return &BusyError{Status: resp.StatusCode, After: time.Duration(n) * time.Second}
}

// forBlock is the request for a block.
func forBlock(d block.Digest, of string, buf []byte) request {
	path := "/blocks/" + d.String()
	if of != "" {
		path += "?" + url.Values{"of": {of}}.Encode()
	}
	return request{
		method: http.MethodGet, path: path, into: buf, limit: block.Size, good: []int{http.StatusOK},
		check: func(p []byte) error {
			if block.Sum(p) != d {
				return ErrWrongBytes
			}
			return nil
		},
	}
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

// once makes q one time and says, with an error, whether to try again.
func (q request) once(ctx context.Context, base string, rt http.RoundTripper) (_ []byte, again bool, _ error) {
	req, err := http.NewRequestWithContext(ctx, q.method, base+q.path, http.NoBody)
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
	resp, err := rt.RoundTrip(req)
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
	into := q.into
	if need := min(resp.ContentLength, int64(q.limit)) + 1 + bytes.MinRead; resp.ContentLength > 0 && int64(cap(into)) < need {
		into = make([]byte, 0, need) // or readAll would copy it again and again
	}
	p, err := readAll(resp.Body, into, q.limit)
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
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true, busy(resp)
	case http.StatusRequestTimeout:
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
		return nil, fmt.Errorf("%w: more than %d bytes", errLonger, limit)
	}
	return w.Bytes(), nil
}
