package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"preau/replication/identity"
)

// Dialer opens connections to the servers of a region. It holds none itself, but
// remembers which way went well, and is safe for any number of goroutines.
type Dialer struct {
	cfg    DialConfig
	region identity.Region
	verify func(tls.ConnectionState, Target) error
	own    func() (*tls.Certificate, error)
	ways   *memory
	paths  *paths
}

// NewDialer makes a Dialer that shows the certificate of creds, if it has one,
// and believes servers of its region only.
func NewDialer(creds Credentials, cfg DialConfig) (*Dialer, error) {
	if err := creds.Validate(); err != nil {
		return nil, fmt.Errorf("wire credentials: %w", err)
	}
	return newDialer(cfg, creds.Region, creds.Certificate, func(cs tls.ConnectionState, want Target) error {
		return creds.trust(cs, want, time.Now())
	})
}

// NewPinnedDialer makes a Dialer for a node that has no certificate yet: it is
// anonymous, and believes servers of the region whose authority has this Pin.
func NewPinnedDialer(region identity.Region, pin Pin, cfg DialConfig) (*Dialer, error) {
	if _, err := identity.ParseRegion(string(region)); err != nil {
		return nil, err
	}
	return newDialer(cfg, region, nil, func(cs tls.ConnectionState, want Target) error {
		return trustPinned(cs, region, pin, want, time.Now())
	})
}

func newDialer(cfg DialConfig, region identity.Region, own func() (*tls.Certificate, error), verify func(tls.ConnectionState, Target) error) (*Dialer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("wire dial config: %w", err)
	}
	if cfg.DialContext != nil {
		cfg.QUIC = false // whoever dials like this has only connections to give
	} else {
		cfg.DialContext = (&net.Dialer{KeepAliveConfig: keepAlive(), Control: tuneTCP(bbr)}).DialContext
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	return &Dialer{cfg: cfg, region: region, verify: verify, own: own, ways: newMemory(cfg.Remember), paths: newPaths()}, nil
}

// tlsConfig checks the server by its certificate alone. Its host name plays no
// part, so what crypto/tls does by itself is replaced as a whole.
func (d *Dialer) tlsConfig(want Target, proto string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{proto},
		ServerName:         nameOf(d.region), // for those that serve several
		InsecureSkipVerify: true,             // VerifyConnection verifies: see trust
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

// proxied says whether an HTTP proxy stands between us and a target.
func (d *Dialer) proxied(target Target) bool {
	proxy, err := d.cfg.Proxy(&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: target.Address}, Host: target.Address, Header: http.Header{}})
	return err == nil && proxy != nil
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
	return d.shake(ctx, conn, target, proto)
}

// shake makes a TLS connection of conn, or closes it.
func (d *Dialer) shake(ctx context.Context, conn net.Conn, target Target, proto string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.HandshakeTimeout, fmt.Errorf("no handshake with %s in %v", target, d.cfg.HandshakeTimeout))
	defer cancel()
	secured := tls.Client(conn, d.tlsConfig(target, proto))
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = context.Cause(ctx)
		}
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
