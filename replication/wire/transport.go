package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Transport sends requests to one server. The host in their URL is ignored, and
// so is its scheme: paths and queries count. Each Transport has connections of
// its own, so a stream that must not wait behind bulk gets a Transport of its
// own; see also Bulk. Close it when it is of no more use.
//
// A request that may be sent twice (RFC 9110 §9.2.2) and gets no answer, as its
// connection is lost, is sent again.
func (d *Dialer) Transport(target Target) *Transport {
	t := &Transport{dialer: d, target: target, open: map[*outgoing]struct{}{}}
	d.paths.join(t, target)
	t.life, t.end = context.WithCancel(context.Background())
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	t.inner = &http.Transport{
		Protocols:       &protocols,
		Proxy:           d.cfg.Proxy,
		TLSClientConfig: d.tlsConfig(target, protoHTTP2),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) { // to a proxy
			conn, err := d.dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return t.take(conn)
		},
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if conn := t.prepared(); conn != nil {
				return conn, nil
			}
			conn, err := t.dialTCP(ctx)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		},
		TLSHandshakeTimeout:    d.cfg.HandshakeTimeout,
		IdleConnTimeout:        d.cfg.IdleTimeout,
		MaxResponseHeaderBytes: int64(d.cfg.MaxHeaderBytes),
		// What travels is compressed by whoever made it, or not worth it.
		DisableCompression: true,
		HTTP2:              d.http2(),
	}
	return t
}

func (d *Dialer) http2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxEncoderHeaderTableSize: headerTable,
		MaxReadFrameSize:          64 << 10,
		MaxReceiveBufferPerStream: 1 << 20,
		SendPingTimeout:           d.cfg.Silence,
		PingTimeout:               d.cfg.PingTimeout,
		WriteByteTimeout:          d.cfg.WriteTimeout,
	}
}

// Transport is an http.RoundTripper to one server: see Dialer.Transport.
type Transport struct {
	dialer *Dialer
	target Target
	inner  *http.Transport // over TCP
	life   context.Context
	end    context.CancelFunc
	doing  sync.WaitGroup // races and probes; Add only with mu held and closed false

	mu     sync.Mutex
	closed bool
	open   map[*outgoing]struct{}
	won    *tls.Conn // of a race, until inner asks for it
	wonAt  time.Time
	quic   []*quicConn
	racing *racing
	place  place
	placed time.Time
}

// racing is a race that requests wait for.
type racing struct {
	done chan struct{}
	way  Way
	won  *quicConn
	err  error
}

// outgoing is a connection that Close must find.
type outgoing struct {
	net.Conn
	of *Transport
}

// Close implements net.Conn.
func (o *outgoing) Close() error {
	o.of.mu.Lock()
	delete(o.of.open, o)
	o.of.mu.Unlock()
	return o.Conn.Close()
}

func (t *Transport) take(conn net.Conn) (net.Conn, error) {
	o := &outgoing{Conn: conn, of: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	t.open[o] = struct{}{}
	return o, nil
}

func (t *Transport) dialTCP(ctx context.Context) (*tls.Conn, error) {
	conn, err := t.dialer.dial(ctx, "tcp", t.target.Address)
	if err != nil {
		return nil, err
	}
	if conn, err = t.take(conn); err != nil {
		return nil, err
	}
	return t.dialer.shake(ctx, conn, t.target, protoHTTP2)
}

// prepared is the connection that won a race, if that was a moment ago.
func (t *Transport) prepared() *tls.Conn {
	t.mu.Lock()
	conn, at := t.won, t.wonAt
	t.won = nil
	t.mu.Unlock()
	if conn != nil && time.Since(at) > 5*time.Second {
		conn.NetConn().Close()
		return nil
	}
	return conn
}

// RoundTrip implements http.RoundTripper. Its error is ErrRefused when the
// server does not take our certificate.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r.Clone(r.Context())
	sent.URL = &url.URL{Scheme: "https", Host: t.target.Address, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	sent.Host = "region"
	resp, err := t.send(sent)
	if err != nil {
		return nil, fmt.Errorf("to %s: %w", t.target, err)
	}
	return resp, nil
}

// attempts is how often a request is sent at most.
const attempts = 3

func (t *Transport) send(r *http.Request) (*http.Response, error) {
	direct := t.dialer.cfg.QUIC && !t.dialer.proxied(t.target)
	for n := 1; ; n++ {
		resp, err := t.try(r, direct)
		if err == nil {
			return resp, nil
		}
		if n == attempts || r.Context().Err() != nil || t.life.Err() != nil || !again(r, err, direct) {
			return nil, err
		}
		if r.Body != nil && r.Body != http.NoBody {
			if r.GetBody == nil {
				return nil, err
			}
			body, again := r.GetBody()
			if again != nil {
				return nil, errors.Join(err, again)
			}
			r = r.Clone(r.Context())
			r.Body = body
		}
	}
}

// again says whether a request that failed may be sent once more, and whether
// that is worth it.
func again(r *http.Request, err error, direct bool) bool {
	for _, final := range []error{ErrRefused, ErrForeign, ErrRole} {
		if errors.Is(err, final) {
			return false
		}
	}
	if unsent(err) {
		_, dialled := errors.AsType[*dialError](err)
		return !dialled || direct && errors.Is(err, errStale)
	}
	return repeatable(r) && lostConnection(err)
}

// repeatable is RFC 9110 §9.2.2.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// errStale marks that what was remembered of a way is wrong by now.
var errStale = errors.New("the way that went well before does not any more")

// try sends a request once.
func (t *Transport) try(r *http.Request, direct bool) (*http.Response, error) {
	if !direct {
		way := OverTCP
		if t.dialer.cfg.QUIC {
			way = OverProxy
		}
		return t.overTCP(r, way)
	}
	q, err := t.choose(r.Context())
	if err != nil {
		return nil, err
	}
	if q == nil {
		return t.overTCP(r, OverTCP)
	}
	return t.overQUIC(r, q)
}

func (t *Transport) overTCP(r *http.Request, way Way) (*http.Response, error) {
	resp, err := t.inner.RoundTrip(r)
	if err == nil {
		t.dialer.paths.worked(t.target, way)
		return resp, nil
	}
	err = t.reason(r.Context(), refusal(err))
	t.dialer.paths.failed(t.target, err)
	if _, dialled := errors.AsType[*dialError](err); dialled && way == OverTCP && r.Context().Err() == nil {
		if p, ok := t.here(r.Context()); ok {
			t.dialer.ways.lost(p, OverTCP)
			return nil, fmt.Errorf("%w: %w", errStale, err)
		}
	}
	return nil, err
}

// overQUIC sends a request over a connection that stands. If no packet at all
// comes for a while, where at least an acknowledgement should, another way is
// tried beside it; only if that works the silent connection is given up.
func (t *Transport) overQUIC(r *http.Request, q *quicConn) (*http.Response, error) {
	answered := make(chan struct{})
	watch := time.AfterFunc(t.dialer.cfg.Suspect/3, func() { t.watch(q, answered) })
	resp, err := q.RoundTrip(r)
	close(answered)
	watch.Stop()
	if err != nil {
		t.dialer.paths.failed(t.target, err)
		return nil, err
	}
	t.dialer.paths.worked(t.target, OverQUIC)
	return resp, nil
}

// watch listens for signs of life of q until a request on it is answered.
func (t *Transport) watch(q *quicConn, answered <-chan struct{}) {
	var e ear
	tick := time.NewTicker(t.dialer.cfg.Suspect / 3)
	defer tick.Stop()
	for {
		if quiet, owed := e.listen(q, time.Now()); owed && quiet >= t.dialer.cfg.Suspect {
			break
		}
		select {
		case <-tick.C:
		case <-answered:
			return
		case <-q.conn.Context().Done():
			return
		}
	}
	race := t.race(OverQUIC)
	if race == nil {
		return
	}
	select {
	case <-race.done:
	case <-t.life.Done():
		return
	}
	if _, owed := e.listen(q, time.Now()); owed && race.err == nil {
		q.close()
	}
}

// here is the place that the target is reached from, looked up now and then.
func (t *Transport) here(ctx context.Context) (place, bool) {
	t.mu.Lock()
	p, fresh := t.place, time.Since(t.placed) < networkEvery
	t.mu.Unlock()
	if fresh {
		return p, true
	}
	ctx, cancel := context.WithTimeout(ctx, t.dialer.cfg.DialTimeout)
	defer cancel()
	p = t.dialer.whereTo(ctx, t.target)
	if ctx.Err() != nil {
		return p, false
	}
	t.mu.Lock()
	t.place, t.placed = p, time.Now()
	t.mu.Unlock()
	return p, true
}

// crowd is how many requests go over one QUIC connection before there is
// another: a server takes 64, and each may last for days.
const (
	crowd     = 48
	mostConns = 4
)

// choose finds the connection for a request, or nil for TCP.
func (t *Transport) choose(ctx context.Context) (*quicConn, error) {
	if q := t.standing(); q != nil {
		return q, nil
	}
	p, ok := t.here(ctx)
	if !ok {
		return nil, &dialError{context.Cause(ctx)}
	}
	way, probe := t.dialer.ways.at(p, time.Now())
	if probe {
		t.background(func(ctx context.Context) { t.probe(ctx, p) })
	}
	if way == OverTCP {
		return nil, nil
	}
	race := t.race(OverQUIC)
	if race == nil {
		return nil, net.ErrClosed
	}
	select {
	case <-race.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if race.err != nil {
		return nil, race.err
	}
	if race.way == OverTCP {
		return nil, nil
	}
	if q := t.standing(); q != nil {
		return q, nil
	}
	return nil, &dialError{race.won.lost()} //nolint:contextcheck // it is the connection's own
}

// standing is the QUIC connection with the least to do, if one has room.
func (t *Transport) standing() *quicConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *quicConn
	least, alive := 0, t.quic[:0]
	for _, q := range t.quic {
		if q.conn.Context().Err() != nil {
			continue
		}
		alive = append(alive, q)
		if load := q.load(); q.alive() && (best == nil || load < least) {
			best, least = q, load
		}
	}
	clear(t.quic[len(alive):])
	t.quic = alive
	if best != nil && least >= crowd && len(alive) < mostConns {
		return nil
	}
	return best
}

// background runs do until it is done or the transport is closed.
func (t *Transport) background(do func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.doing.Go(func() { do(t.life) })
	return true
}

// race begins a race, or joins the one under way. It is nil once the transport
// is closed. It does not end with the request that began it: others may wait.
func (t *Transport) race(first Way) *racing {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if t.racing != nil {
		return t.racing
	}
	race := &racing{done: make(chan struct{})}
	t.racing = race
	t.doing.Go(func() {
		p, _ := t.here(t.life)
		f, err := t.dialer.race(t.life, t.target, first, t.dialTCP)
		if err != nil {
			t.dialer.paths.failed(t.target, err)
		} else {
			t.dialer.ways.won(p, f.way(), time.Now())
		}
		t.mu.Lock()
		t.racing = nil
		race.way, race.won, race.err = f.way(), f.quic, err
		var spare finish
		switch {
		case err != nil:
		case t.closed:
			spare = f
		case f.quic != nil:
			t.quic = append(t.quic, f.quic)
		default:
			spare.tcp = t.won
			t.won, t.wonAt = f.tcp, time.Now()
		}
		t.mu.Unlock()
		spare.give()
		close(race.done)
	})
	return race
}

// probe finds out, with nobody waiting, whether QUIC works where it did not.
func (t *Transport) probe(ctx context.Context, p place) {
	q, err := t.dialer.dialQUIC(ctx, t.target)
	if err != nil {
		t.dialer.ways.won(p, OverTCP, time.Now())
		return
	}
	t.dialer.ways.won(p, OverQUIC, time.Now())
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.quic = append(t.quic, q)
	}
	t.mu.Unlock()
	if closed {
		q.close()
		<-q.ended
	}
}

// refusedQUIC says that a server has no room, rather than that the way is closed.
func refusedQUIC(err error) bool {
	remote, ok := errors.AsType[*quic.TransportError](err)
	return ok && remote.Remote
}

// quicLost is lostConnection of QUIC.
func quicLost(err error) bool {
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return app.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad)
	}
	_, idle := errors.AsType[*quic.IdleTimeoutError](err)
	_, reset := errors.AsType[*quic.StatelessResetError](err)
	return idle || reset || errors.Is(err, quic.ErrTransportClosed)
}

// lostConnection says that a connection ended under a request, rather than that
// the other side is silent: that has cost its time already.
func lostConnection(err error) bool {
	for _, cause := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return quicLost(err)
}

// reason finds out whether a connection that was closed before its first answer
// was a refusal. In TLS 1.3 the server decides after our side of the handshake is
// done, and net/http drops the alert if it comes before the request is sent.
func (t *Transport) reason(ctx context.Context, err error) error {
	lost := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "client conn could not be established")
	if !lost || ctx.Err() != nil || errors.Is(err, ErrRefused) {
		return err
	}
	secured, again := t.dialer.secure(ctx, t.target, protoHTTP2)
	if again != nil {
		return err
	}
	defer secured.NetConn().Close()
	if secured.SetReadDeadline(time.Now().Add(t.dialer.cfg.HandshakeTimeout)) != nil {
		return err
	}
	// A server that takes us sends its settings at once (RFC 9113 §3.4).
	if _, again = secured.Read(make([]byte, 1)); again != nil && errors.Is(refusal(again), ErrRefused) {
		return refusal(again)
	}
	return err
}

// CloseIdleConnections makes the next request use a new connection, and so the
// newest certificate.
func (t *Transport) CloseIdleConnections() {
	t.inner.CloseIdleConnections()
	t.mu.Lock()
	spare, quic := finish{tcp: t.won}, slices.Clone(t.quic)
	t.won = nil
	t.mu.Unlock()
	spare.give()
	for _, q := range quic {
		if q.load() == 0 {
			q.close()
		}
	}
}

// Close closes every connection, busy or not, and lets no new one come.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	open, quic := t.open, t.quic
	t.open, t.quic, t.won = map[*outgoing]struct{}{}, nil, nil
	t.mu.Unlock()
	t.end()
	t.dialer.paths.leave(t)
	var errs []error
	for o := range open {
		errs = append(errs, o.Conn.Close())
	}
	for _, q := range quic {
		q.close()
		<-q.ended
	}
	t.doing.Wait()
	t.inner.CloseIdleConnections()
	return errors.Join(errs...)
}
