package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
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

// errStale marks that what was remembered of a way is wrong by now.
var errStale = errors.New("the way that went well before does not any more")

// try sends a request once.
func (t *Transport) try(r *http.Request, direct bool) (*http.Response, error) {
	if !direct {
		way, by := OverTCP, ByConfig
		if t.dialer.cfg.QUIC {
			way, by = OverProxy, ByProxy
		}
		t.dialer.paths.chose(t.target, by)
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
		// Whoever used it may just have closed it.
		if err := o.Conn.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, q := range quic {
		q.close()
		<-q.ended
	}
	t.doing.Wait()
	t.inner.CloseIdleConnections()
	return errors.Join(errs...)
}
