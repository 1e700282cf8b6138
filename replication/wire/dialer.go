package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"preau/replication/identity"
)

// Dialer opens connections to the servers of a region. It holds none itself and
// is safe for any number of goroutines.
type Dialer struct {
	cfg    DialConfig
	verify func(tls.ConnectionState, identity.Name) error
	own    func() (*tls.Certificate, error)
}

// NewDialer makes a Dialer that shows the certificate of creds, if it has one,
// and believes servers of its region only.
func NewDialer(creds Credentials, cfg DialConfig) (*Dialer, error) {
	if err := creds.Validate(); err != nil {
		return nil, fmt.Errorf("wire credentials: %w", err)
	}
	return newDialer(cfg, creds.Certificate, func(cs tls.ConnectionState, want identity.Name) error {
		return creds.trust(cs, want, time.Now())
	})
}

// NewPinnedDialer makes a Dialer for a node that has no certificate yet: it is
// anonymous, and believes servers of the region whose authority has this Pin.
func NewPinnedDialer(region identity.Region, pin Pin, cfg DialConfig) (*Dialer, error) {
	if _, err := identity.ParseRegion(string(region)); err != nil {
		return nil, err
	}
	return newDialer(cfg, nil, func(cs tls.ConnectionState, want identity.Name) error {
		return trustPinned(cs, region, pin, want, time.Now())
	})
}

func newDialer(cfg DialConfig, own func() (*tls.Certificate, error), verify func(tls.ConnectionState, identity.Name) error) (*Dialer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("wire dial config: %w", err)
	}
	if cfg.DialContext == nil {
		cfg.DialContext = (&net.Dialer{KeepAliveConfig: keepAlive()}).DialContext
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	return &Dialer{cfg: cfg, verify: verify, own: own}, nil
}

// tlsConfig checks the server by its certificate alone. Its host name plays no
// part, so what crypto/tls does by itself is replaced as a whole.
func (d *Dialer) tlsConfig(want identity.Name, proto string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{proto},
		InsecureSkipVerify: true, // VerifyConnection verifies: see trust
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != proto {
				return fmt.Errorf("the server does not speak %s", proto)
			}
			return d.verify(cs, want)
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if d.own == nil {
				return &tls.Certificate{}, nil
			}
			return d.own()
		},
		SessionTicketsDisabled: true,
	}
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.DialTimeout, fmt.Errorf("no answer from %s in %v", address, d.cfg.DialTimeout))
	defer cancel()
	return d.cfg.DialContext(ctx, network, address)
}

// DialRaft opens raft's stream to a server. A refusal of our own certificate
// shows at the first read, as ErrRefused.
func (d *Dialer) DialRaft(ctx context.Context, target Target) (net.Conn, error) {
	if d.own == nil {
		return nil, fmt.Errorf("dial raft: %w: no certificate", ErrRole)
	}
	secured, err := d.secure(ctx, target, protoRaft)
	if err != nil {
		return nil, fmt.Errorf("dial raft of %s: %w", target, err)
	}
	return raftConn{secured}, nil
}

// secure dials a server and shakes hands, without HTTP or a proxy.
func (d *Dialer) secure(ctx context.Context, target Target, proto string) (*tls.Conn, error) {
	conn, err := d.dial(ctx, "tcp", target.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.HandshakeTimeout)
	defer cancel()
	secured := tls.Client(conn, d.tlsConfig(target.Name, proto))
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, refusal(err)
	}
	return secured, nil
}

// raftConn names the reason when the server does not want us.
type raftConn struct{ *tls.Conn }

// Read implements net.Conn.
func (c raftConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		err = refusal(err)
	}
	return n, err
}

// Transport sends requests to one server. The host in their URL is ignored, and
// so is its scheme: paths and queries count. Each Transport has connections of
// its own, so a stream that must not wait behind bulk gets a Transport of its
// own. Close it when it is of no more use.
func (d *Dialer) Transport(target Target) *Transport {
	t := &Transport{dialer: d, target: target, open: map[*outgoing]struct{}{}}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	t.inner = &http.Transport{
		Protocols:       &protocols,
		Proxy:           d.cfg.Proxy,
		TLSClientConfig: d.tlsConfig(target.Name, protoHTTP2),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := d.dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return t.take(conn)
		},
		TLSHandshakeTimeout:    d.cfg.HandshakeTimeout,
		IdleConnTimeout:        d.cfg.IdleTimeout,
		MaxResponseHeaderBytes: int64(d.cfg.MaxHeaderBytes),
		// What travels is compressed by whoever made it, or not worth it.
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			MaxEncoderHeaderTableSize: headerTable,
			MaxReadFrameSize:          64 << 10,
			MaxReceiveBufferPerStream: 1 << 20,
			SendPingTimeout:           d.cfg.Silence,
			PingTimeout:               d.cfg.PingTimeout,
			WriteByteTimeout:          d.cfg.WriteTimeout,
		},
	}
	return t
}

// Transport is an http.RoundTripper to one server: see Dialer.Transport.
type Transport struct {
	dialer *Dialer
	target Target
	inner  *http.Transport

	mu     sync.Mutex
	closed bool
	open   map[*outgoing]struct{}
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

// RoundTrip implements http.RoundTripper. Its error is ErrRefused when the
// server does not take our certificate.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r.Clone(r.Context())
	sent.URL = &url.URL{Scheme: "https", Host: t.target.Address, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	sent.Host = "region"
	resp, err := t.inner.RoundTrip(sent)
	if err != nil {
		return nil, fmt.Errorf("to %s: %w", t.target, t.reason(r.Context(), refusal(err)))
	}
	return resp, nil
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
func (t *Transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }

// Close closes every connection, busy or not, and lets no new one come.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	open := t.open
	t.open = map[*outgoing]struct{}{}
	t.mu.Unlock()
	var errs []error
	for o := range open {
		errs = append(errs, o.Conn.Close())
	}
	t.inner.CloseIdleConnections()
	return errors.Join(errs...)
}
