package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Bulk is an http.RoundTripper to one server for many requests at once whose
// answers are large: GETs of blocks. It spreads them over several connections,
// over TCP and QUIC, learns from what they bring which and how many to use, and
// keeps that in mind for the dialer's other Bulks from the same place.
//
// Requests wait for their turn when all connections have enough to do. One that
// gets no answer, as its connection is lost, is sent again if it may be; one
// whose answer breaks off fails, and the caller asks again: for the whole block,
// which is at most that much sent twice. While the line is away Bulk tries it
// about once a second, and requests wait as long as DialTimeout for it.
//
// Do not use it for answers without end: they would take a connection's place
// for good. Close it when it is of no more use.
type Bulk struct {
	dialer *Dialer
	target Target
	inner  *http.Transport // makes TCP's connections
	life   context.Context
	end    context.CancelFunc
	doing  sync.WaitGroup // Add only with mu held and closed false

	mu      sync.Mutex
	closed  bool
	minding bool // mind is running
	lanes   []*lane
	waiting []*waiter
	used    time.Time
	lineOK  time.Time // when something was heard last, or the first request came

	dialling map[Way]int
	retryAt  map[Way]time.Time
	failures map[Way]error
	shut     map[Way]time.Time // closed ways, and when they are tried again
	straight bool              // no proxy
	near     bool              // QUIC is left out
	fixed    mode
	place    place
	chooser  *chooser
	carrying carrying
	probing  probing
	goodput  float64
}

type waiter struct {
	got chan *lane // buffered, one
}

// Bulk makes a Bulk to one server. It dials with the first request.
func (d *Dialer) Bulk(target Target) *Bulk {
	b := &Bulk{
		dialer: d, target: target,
		dialling: map[Way]int{}, retryAt: map[Way]time.Time{}, failures: map[Way]error{}, shut: map[Way]time.Time{},
	}
	b.life, b.end = context.WithCancel(context.Background())
	b.inner = d.laneTransport(target)
	d.paths.join(b, target)
	return b
}

// FixedBulk is Bulk with so many connections over each way, and no choice: for
// measurements, and for lines that somebody knows better. Over QUIC there are
// none where there is a proxy.
func (d *Dialer) FixedBulk(target Target, tcp, quic int) *Bulk {
	b := d.Bulk(target)
	b.fixed = mode{tcp: tcp, quic: quic}
	return b
}

// RoundTrip implements http.RoundTripper.
func (b *Bulk) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r.Clone(r.Context())
	sent.URL = &url.URL{Scheme: "https", Host: b.target.Address, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	sent.Host = "region"
	if sent.Header.Get("Priority") == "" {
		// Not incremental: one answer of a connection after the other, so that
		// little is under way when it breaks (RFC 9218 §4.2).
		sent.Header.Set("Priority", "u=4")
	}
	for n := 1; ; n++ {
		resp, err := b.try(sent)
		if err == nil {
			return resp, nil
		}
		bodyless := r.Body == nil || r.Body == http.NoBody
		if n == attempts || r.Context().Err() != nil || b.life.Err() != nil || !bodyless || !repeatable(r) || !laneLost(err) {
			return nil, fmt.Errorf("to %s: %w", b.target, err)
		}
	}
}

// laneLost says that a request failed with its connection.
func laneLost(err error) bool {
	_, ok := errors.AsType[*laneError](err)
	return ok
}

// laneError is the end of a connection under a request.
type laneError struct{ err error }

func (e *laneError) Error() string { return e.err.Error() }
func (e *laneError) Unwrap() error { return e.err }

func (b *Bulk) try(r *http.Request) (*http.Response, error) {
	l, err := b.acquire(r.Context())
	if err != nil {
		return nil, err
	}
	l.awaiting.Add(1)
	resp, err := l.conn.RoundTrip(r)
	l.awaiting.Add(-1)
	if err != nil {
		err = refusal(err)
		b.release(l)
		b.dialer.paths.failed(b.target, err)
		if r.Context().Err() == nil && !l.conn.alive() {
			err = &laneError{err}
		}
		return nil, err
	}
	b.dialer.paths.worked(b.target, l.way)
	resp.Body = &bulkBody{ReadCloser: resp.Body, of: l, done: sync.OnceFunc(func() { b.release(l) })}
	return resp, nil
}

// bulkBody counts what comes, and keeps its lane's place until it is done.
type bulkBody struct {
	io.ReadCloser
	of   *lane
	done func()
}

// Read implements io.Reader.
func (body *bulkBody) Read(p []byte) (int, error) {
	body.of.awaiting.Add(1)
	body.of.inBody.Add(1)
	n, err := body.ReadCloser.Read(p)
	body.of.inBody.Add(-1)
	body.of.awaiting.Add(-1)
	body.of.bytes.Add(int64(n))
	if err != nil {
		body.done()
	}
	return n, err
}

// Close implements io.Closer.
func (body *bulkBody) Close() error {
	defer body.done()
	return body.ReadCloser.Close()
}

// acquire waits for a place on a connection.
func (b *Bulk) acquire(ctx context.Context) (*lane, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errBulkClosed
	}
	b.wake()
	if l := b.free(); l != nil && len(b.waiting) == 0 {
		l.busy++
		b.mu.Unlock()
		return l, nil
	}
	w := &waiter{got: make(chan *lane, 1)}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()

	limit := time.NewTicker(b.dialer.cfg.DialTimeout)
	defer limit.Stop()
	for {
		var err error
		select {
		case l := <-w.got:
			return l, nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-b.life.Done():
			err = errBulkClosed
		case <-limit.C:
			if err = b.hopeless(); err == nil {
				continue // it is only that others are before us
			}
		}
		b.leave(w)
		return nil, err
	}
}

var errBulkClosed = fmt.Errorf("bulk is closed: %w", http.ErrServerClosed)

// leave takes back what a waiter waited for, or has got in this moment.
func (b *Bulk) leave(w *waiter) {
	b.mu.Lock()
	for i, other := range b.waiting {
		if other == w {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			break
		}
	}
	b.mu.Unlock()
	select {
	case l := <-w.got:
		b.release(l)
	default:
	}
}

// hopeless is why there is no connection, if there has been none for long.
func (b *Bulk) hopeless() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.dialer.cfg.DialTimeout
	if time.Since(b.lineOK) < limit {
		return nil
	}
	errs := []error{fmt.Errorf("nothing was heard of %s for %v", b.target, limit)}
	for _, err := range b.failures {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// release gives a place back.
func (b *Bulk) release(l *lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.busy--
	b.used = time.Now()
	b.serve()
}

// serve gives free places to those who wait. The lock is held.
func (b *Bulk) serve() {
	for len(b.waiting) > 0 {
		l := b.free()
		if l == nil {
			return
		}
		w := b.waiting[0]
		b.waiting = b.waiting[1:]
		l.busy++
		w.got <- l
	}
}

// inFlightMost is how many requests are under way at once, if that is enough for
// one on each connection: with blocks of 1 MiB it is what a cut can cost. Two or
// three on one connection leave it no pause between answers.
const (
	inFlightMost = 6
	depthMost    = 3
)

// free is the connection for the next request, the first of those that wait: the
// one that will be done with it first. It is nil if that would be one that is
// full now: on a line where some connections are ten times as fast as others,
// the last block of a file would else come long after the rest. The lock is held.
func (b *Bulk) free() *lane {
	var usable []*lane
	underWay, fastest := 0, 0.0
	for _, l := range b.lanes {
		underWay += l.busy
		if l.parked || l.dying || !l.conn.alive() {
			continue
		}
		usable = append(usable, l)
		fastest = max(fastest, l.rate)
	}
	full := underWay >= max(inFlightMost, len(usable))
	var best *lane
	var soonest float64
	backlog, together := float64(len(b.waiting)), 0.0 // of the fast ones
	for _, l := range usable {
		rate := l.rate
		if rate == 0 { // it may be as fast as any
			rate = max(fastest, 1)
		}
		if rate > fastest/2 {
			backlog += float64(l.busy)
			together += rate
		}
		// Those that were dialled first may have taken all there is to do: one that
		// comes later gets something all the same, or nobody learns what it can do.
		if full && (l.busy > 0 || l.rate > 0) || l.busy >= depthMost {
			continue
		}
		if done := float64(l.busy+1) / rate; best == nil || done < soonest {
			best, soonest = l, done
		}
	}
	if best == nil || soonest > backlog/together+1/max(fastest, 1) {
		return nil
	}
	return best
}

// wake lets mind run, if it does not. The lock is held.
func (b *Bulk) wake() {
	now := time.Now()
	b.used = now
	if b.minding {
		return
	}
	b.minding, b.lineOK = true, now
	b.doing.Go(b.mind)
}

// Close ends all connections, busy or not.
func (b *Bulk) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.dialer.paths.leave(b)
	b.end()
	b.doing.Wait()
	return nil
}

// gauges implements live.
func (b *Bulk) gauges() []gauge {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []gauge
	for _, l := range b.lanes {
		if g, ok := l.conn.gauge(); ok && l.conn.alive() {
			out = append(out, g)
		}
	}
	return out
}

// bulk implements live.
func (b *Bulk) bulk() (float64, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var m mode
	for _, l := range b.lanes {
		if l.parked || l.dying || !l.conn.alive() {
			continue
		}
		if l.way == OverQUIC {
			m.quic++
		} else {
			m.tcp++
		}
	}
	if m.lanes() == 0 {
		return b.goodput, "none"
	}
	return b.goodput, m.String()
}
