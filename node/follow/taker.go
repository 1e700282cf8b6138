package follow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/hold"
	"preau/replication/outbox"
)

const (
	// connectedEvery is how often a deposit that waits for the line looks.
	connectedEvery = 500 * time.Millisecond
	// fullFor is how long a server that had no room for a block is not asked to
	// keep others.
	fullFor = 30 * time.Minute
	// besidePeople is how many blocks go up at once while somebody waits for
	// what comes down.
	besidePeople = 2

	askWithin    = time.Minute
	putWithin    = 5 * time.Minute  // a block, on a poor line that has others to carry
	commitWithin = 15 * time.Minute // a large file goes to most of the servers first
	maxReason    = 500
)

// errLeft is a block whose server failed meanwhile: another is asked what it
// lacks the next time.
var errLeft = errors.New("the server that had the other blocks has failed")

// depositTaker is the region's servers as an outbox needs them. It stays with
// the server that it has put blocks on, until the deposit is agreed on or the
// server fails.
type depositTaker struct {
	parents   *parents
	key       string // for the order of servers
	connected func() bool
	busy      func() bool
	talking   func() bool // people do, over the line; nil: nobody tells
	barred    func(box string) bool
	few       chan struct{}
	trip      func(to ranked, r *http.Request) (*http.Response, error)

	mu   sync.Mutex
	name string               // of the server that is stayed with
	full map[string]time.Time // servers without room, and until when
}

func newDepositTaker(p *parents, box string, connected, busy func() bool, barred func(box string) bool) *depositTaker {
	return &depositTaker{
		parents: p, key: "deposits of " + box, connected: connected, busy: busy, barred: barred,
		trip: func(to ranked, r *http.Request) (*http.Response, error) { return to.rt.RoundTrip(r) },
		few:  make(chan struct{}, besidePeople), full: make(map[string]time.Time),
	}
}

// Missing implements outbox.Region. It waits for the line: what can't be sent
// yet is no failure, and need not be tried less and less often.
func (d *depositTaker) Missing(ctx context.Context, digests []block.Digest) ([]block.Digest, error) {
	if err := d.line(ctx); err != nil {
		return nil, err
	}
	var out []block.Digest
	for len(digests) > 0 {
		n := min(len(digests), hold.MaxDigests)
		missing, err := d.missing(ctx, digests[:n])
		if err != nil {
			return nil, err
		}
		out, digests = append(out, missing...), digests[n:]
	}
	return out, nil
}

func (d *depositTaker) missing(ctx context.Context, digests []block.Digest) ([]block.Digest, error) {
	const size = len(block.Digest{})
	body := make([]byte, 0, len(digests)*size)
	asked := make(map[block.Digest]bool, len(digests))
	for _, digest := range digests {
		body = append(body, digest[:]...)
		asked[digest] = true
	}
	raw, err := d.any(ctx, askWithin, http.MethodPost, "/v1/deposits/missing", "application/octet-stream", body)
	if err != nil {
		return nil, err
	}
	if len(raw)%size != 0 || len(raw) > len(body) {
		return nil, fmt.Errorf("the region answers %d bytes, which is no list of digests that were asked for", len(raw))
	}
	out := make([]block.Digest, len(raw)/size)
	for i := range out {
		if out[i] = block.Digest(raw[i*size : (i+1)*size]); !asked[out[i]] {
			return nil, fmt.Errorf("the region lacks %s, which it was not asked for", out[i])
		}
	}
	return out, nil
}

// Put implements outbox.Region.
func (d *depositTaker) Put(ctx context.Context, digest block.Digest, p []byte) error {
	if err := untilQuiet(ctx, d.talking); err != nil {
		return err
	}
	if d.busy() {
		select {
		case d.few <- struct{}{}:
			defer func() { <-d.few }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	to, ok := d.current()
	if !ok {
		return errLeft
	}
	_, err := d.ask(ctx, to, putWithin, http.MethodPut, "/v1/deposits/blocks/"+digest.String(), "application/octet-stream", p)
	if refused, no := errors.AsType[*outbox.Refusal](err); no && isFull(err) {
		// Another server may have room; if none has, that is the reason.
		if d.fill(to.name) {
			return fmt.Errorf("%s: %s", to.name, refused.Reason)
		}
	}
	return err
}

// Commit implements outbox.Region.
func (d *depositTaker) Commit(ctx context.Context, q outbox.Deposit) error {
	if err := d.line(ctx); err != nil {
		return err
	}
	c := control.Deposit{
		ID: q.RegionID(), Filename: q.Filename, ContentType: q.ContentType, Title: q.Title, Description: q.Description,
		Collection: q.Collection, At: q.At, Length: q.Length, SHA256: q.SHA256.String(),
	}
	if !q.List.IsZero() {
		c.List = q.List.String()
	}
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = d.any(ctx, commitWithin, http.MethodPost, "/v1/deposits", "application/json", body)
	if err == nil {
		d.leave("") // the next one goes to the best
	}
	if e, ok := errors.AsType[*statusError](err); ok && e.status == http.StatusConflict && e.Code == "taken" {
		// A server of an older version says so too when another box of the school
		// has brought the same. Then the centre gets it twice, under one key.
		return fmt.Errorf("%w: %w", outbox.ErrTaken, e)
	}
	return err
}

// Barred implements outbox.Region.
func (d *depositTaker) Barred(box string) bool { return d.barred(box) }

// line waits until the feed is connected: then there is a line.
func (d *depositTaker) line(ctx context.Context) error {
	return waitFor(ctx, connectedEvery, d.connected)
}

// servers lists whom to ask, the one that is stayed with first unless it failed
// lately, and those without room last.
func (d *depositTaker) servers() []ranked {
	d.mu.Lock()
	defer d.mu.Unlock()
	var first, then, last []ranked
	for _, r := range d.parents.order(d.key, "") {
		switch {
		case r.name == d.name && !r.tired:
			first = append(first, r)
		case time.Now().Before(d.full[r.name]):
			last = append(last, r)
		default:
			then = append(then, r)
		}
	}
	return append(append(first, then...), last...)
}

func (d *depositTaker) current() (ranked, bool) {
	d.mu.Lock()
	name := d.name
	d.mu.Unlock()
	for _, r := range d.parents.order(d.key, "") {
		if name != "" && r.name == name {
			return r, true
		}
	}
	return ranked{}, false
}

func (d *depositTaker) stay(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.name = name
}

// leave chooses a server anew the next time, if name is who is stayed with, or
// empty.
func (d *depositTaker) leave(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == "" || name == d.name {
		d.name = ""
	}
}

// fill notes that a server has no room, and reports whether another may have.
func (d *depositTaker) fill(name string) (others bool) {
	d.mu.Lock()
	d.full[name] = time.Now().Add(fullFor)
	d.mu.Unlock()
	d.leave(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.parents.targets() {
		others = others || !time.Now().Before(d.full[string(t.Name)])
	}
	return others
}

// any asks servers in turn until one answers, and stays with it. What a server
// says no to, the others would too.
func (d *depositTaker) any(ctx context.Context, within time.Duration, method, path, kind string, body []byte) ([]byte, error) {
	var errs []error
	for _, to := range d.servers() {
		raw, err := d.ask(ctx, to, within, method, path, kind, body)
		if err == nil {
			d.stay(to.name)
			return raw, nil
		}
		if _, no := errors.AsType[*outbox.Refusal](err); no || ctx.Err() != nil || answered(err) {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, cmp.Or(errors.Join(errs...), errNoServers)
}

// statusError is an answer that is no success.
type statusError struct {
	server string
	status int
	control.Failure
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d: %s", e.server, e.status, e.Detail)
}

// answered reports an answer of the region itself, which another server would
// give too.
func answered(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status < http.StatusInternalServerError
}

func isFull(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status == http.StatusInsufficientStorage
}

// ask makes one request. Of an answer of which another try would make nothing
// else, the error is an *outbox.Refusal.
func (d *depositTaker) ask(ctx context.Context, to ranked, within time.Duration, method, path, kind string, body []byte) (_ []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %v", within))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+to.name+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := d.trip(to, req)
	if err != nil {
		return nil, d.lost(ctx, to, err)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, block.Size+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, d.lost(ctx, to, err)
	}
	if resp.StatusCode/100 == 2 {
		d.parents.note(to.way, nil)
		return raw, nil
	}
	e := &statusError{server: to.name, status: resp.StatusCode}
	if json.Unmarshal(raw, &e.Failure) != nil || e.Detail == "" {
		e.Detail = resp.Status
		if code := resp.Header.Get("Preau-Refused"); code != "" {
			e.Detail = "the region refuses this box (" + code + ")"
		}
	}
	if e.Detail = string([]rune(e.Detail)[:min(maxReason, len([]rune(e.Detail)))]); e.status >= http.StatusInternalServerError && !isFull(e) {
		d.leave(to.name)
		d.parents.note(to.way, e)
	}
	if refuses(e) {
		return nil, errors.Join(&outbox.Refusal{Reason: e.Detail}, e)
	}
	return nil, e
}

// lost notes that a server did not answer.
func (d *depositTaker) lost(ctx context.Context, to ranked, err error) error {
	d.leave(to.name)
	if cause := context.Cause(ctx); cause != nil {
		err = errors.Join(cause, err)
	}
	if !errors.Is(err, context.Canceled) {
		d.parents.note(to.way, err)
	}
	return fmt.Errorf("%s: %w", to.name, err)
}

// refuses reports answers that stay what they are for a while.
func refuses(e *statusError) bool {
	switch e.status {
	case http.StatusConflict:
		return e.Code != "missing" // its sweep was faster than we: put them again
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	case http.StatusInsufficientStorage:
		return true
	}
	return e.status >= 400 && e.status < 500
}
