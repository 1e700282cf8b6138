package central

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

const (
	// answerTime is how long an answer that needs no waiting may take.
	answerTime = 30 * time.Second
	// partAnswerTime is how long a part may take on the way up and in the store, or
	// a file of which the gateway reads whether it is there.
	partAnswerTime = 10 * time.Minute
	maxJSON        = 1 << 20
)

// Client asks a gateway. It makes each request once: whoever needs the answer
// asks again later, and everything may be asked again. It trusts no byte of a
// list or a body that it was told the digest of. All methods may be called
// concurrently; it owns no goroutine.
type Client struct {
	base string
	rt   http.RoundTripper
	// noDelivery is when the gateway last knew no delivery, if it did.
	noDelivery atomic.Pointer[time.Time]
}

// NewClient returns a client of the gateway at base, a URL without path, through
// rt, which belongs to the caller.
func NewClient(base string, rt http.RoundTripper) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("central client: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || rt == nil {
		return nil, fmt.Errorf("central client: %q is not the URL of a gateway, or there is no transport", base)
	}
	return &Client{base: u.Scheme + "://" + u.Host + prefix, rt: rt}, nil
}

// About asks what the gateway has.
func (c *Client) About(ctx context.Context) (About, error) {
	var a About
	err := c.json(ctx, answerTime, http.MethodGet, "/about", nil, nil, &a)
	return a, err
}

// Changes asks for what came after cur in a bucket's history, at most limit, and
// waits for news if there is nothing. Errors: ErrNoBucket, ErrWaiting, ctx's, or
// the network's.
func (c *Client) Changes(ctx context.Context, bucket string, cur Cursor, limit int, wait time.Duration) (Changes, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if cur.Epoch != "" {
		q.Set("epoch", cur.Epoch)
		q.Set("after", strconv.FormatUint(cur.Seq, 10))
	}
	if wait >= time.Second {
		q.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	p, err := c.bytes(ctx, wait+answerTime, "/buckets/"+url.PathEscape(bucket)+"/changes?"+q.Encode(), nil, maxChanges*maxChange, http.StatusOK)
	if err != nil {
		return Changes{}, err
	}
	return DecodeChanges(p)
}

// List gets the list that digest names, checked. Errors: block.ErrNotFound,
// ErrWrongBytes, ErrWaiting, ctx's, or the network's.
func (c *Client) List(ctx context.Context, bucket string, digest block.Digest) ([]byte, error) {
	p, err := c.bytes(ctx, answerTime, "/buckets/"+url.PathEscape(bucket)+"/lists/"+digest.String(), nil, maxList, http.StatusOK)
	if err == nil && block.Sum(p) != digest {
		err = fmt.Errorf("list %s: %w", digest, ErrWrongBytes)
	}
	return p, err
}

// Block gets length bytes from off on of the version whose list is named, which
// must be what digest names. Errors: ErrGone, ErrWrongBytes, ErrWaiting, ctx's,
// or the network's.
func (c *Client) Block(ctx context.Context, bucket string, list block.Digest, off int64, length int, digest block.Digest) ([]byte, error) {
	var got []byte
	err := c.Blocks(ctx, bucket, "", list, off, []hold.Entry{{Digest: digest, Length: length}}, func(_ int, p []byte) error {
		got = p
		return nil
	})
	return got, err
}

// Blocks gets a run of blocks of a version in one answer: those of run, which
// begin at off. key is that of the version's Object, and may be empty. each gets
// the blocks one after the other, checked, with bytes that are its own. Errors:
// those of Block, or what each returns.
func (c *Client) Blocks(ctx context.Context, bucket, key string, list block.Digest, off int64, run []hold.Entry, each func(i int, p []byte) error) error {
	length := int64(0)
	for _, e := range run {
		length += int64(e.Length)
	}
	if length == 0 {
		return nil
	}
	path := "/buckets/" + url.PathEscape(bucket) + "/bodies/" + list.String()
	if key != "" {
		path += "?" + url.Values{"key": {key}}.Encode()
	}
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", off, off+length-1)}}
	return c.do(ctx, answerTime*time.Duration(len(run)), http.MethodGet, path, h, nil, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusPartialContent {
			return fmt.Errorf("the centre answers %s, want %d", resp.Status, http.StatusPartialContent)
		}
		for i, e := range run {
			p := make([]byte, e.Length)
			if _, err := io.ReadFull(resp.Body, p); err != nil {
				return fmt.Errorf("block %d of %d: %w", i+1, len(run), err)
			}
			if block.Sum(p) != e.Digest {
				return fmt.Errorf("block %s: %w", e.Digest, ErrWrongBytes)
			}
			if err := each(i, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// Begin announces a deposit, or asks how far it has come.
func (c *Client) Begin(ctx context.Context, d Deposit) (DepositState, error) {
	p, err := Encode(d)
	if err != nil {
		return DepositState{}, err
	}
	var s DepositState
	err = c.json(ctx, partAnswerTime, http.MethodPost, "/deposits", http.Header{"Content-Type": {cborType}}, p, &s)
	return s, err
}

// PutPart brings part number, from 1 on, of a deposit that was announced.
func (c *Client) PutPart(ctx context.Context, id string, number int, p []byte) error {
	return c.putPart(ctx, id, number, p, http.Header{"Content-Digest": {contentDigestField(block.Sum(p))}})
}

func (c *Client) putPart(ctx context.Context, id string, number int, p []byte, h http.Header) error {
	h.Set("Content-Type", "application/octet-stream")
	path := "/deposits/" + url.PathEscape(id) + "/parts/" + strconv.Itoa(number)
	return c.json(ctx, partAnswerTime, http.MethodPut, path, h, p, nil)
}

// Complete has the gateway check a deposit whose parts are all there, and keep it.
func (c *Client) Complete(ctx context.Context, id string) (DepositState, error) {
	var s DepositState
	err := c.json(ctx, partAnswerTime, http.MethodPost, "/deposits/"+url.PathEscape(id)+"/completion", nil, nil, &s)
	return s, err
}

func (c *Client) bytes(ctx context.Context, within time.Duration, path string, h http.Header, limit, want int) ([]byte, error) {
	var out []byte
	err := c.do(ctx, within, http.MethodGet, path, h, nil, func(resp *http.Response) (err error) {
		if resp.StatusCode != want {
			return fmt.Errorf("the centre answers %s, want %d", resp.Status, want)
		}
		out, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
		if err == nil && len(out) > limit {
			err = fmt.Errorf("the centre answers more than %d bytes", limit)
		}
		return err
	})
	return out, err
}

func (c *Client) json(ctx context.Context, within time.Duration, method, path string, h http.Header, body []byte, v any) error {
	return c.do(ctx, within, method, path, h, body, func(resp *http.Response) error {
		if v == nil {
			return nil
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxJSON)).Decode(v); err != nil {
			return fmt.Errorf("read what the centre answers: %w", err)
		}
		return nil
	})
}

func (c *Client) do(ctx context.Context, within time.Duration, method, path string, h http.Header, body []byte, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errNoAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	maps.Copy(req.Header, h)
	req.Header.Set("Accept-Encoding", "identity") // blocks are compressed or they are not
	resp, err := c.rt.RoundTrip(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }() // nothing of it is wanted any more
		if resp.StatusCode/100 != 2 {
			return refused(resp)
		}
		err = read(resp)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		what, _, _ := strings.Cut(path, "?")
		return fmt.Errorf("ask the centre: %s %s: %w", method, what, err)
	}
	return nil
}

var errNoAnswer = errors.New("no answer in time")

// refused makes an error of an answer that is none.
func refused(resp *http.Response) error {
	var f failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxJSON)).Decode(&f); err != nil {
		f.Detail = resp.Status
	}
	for _, refusal := range refusals {
		if f.Code == refusal.code {
			return fmt.Errorf("%w (%s)", refusal.err, strings.TrimPrefix(f.Detail, refusal.err.Error()+": "))
		}
	}
	return fmt.Errorf("the centre answers %s: %s (%w)", resp.Status, f.Detail, unknownAnswer(resp.StatusCode))
}
