package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// redialAfter lets a listener that is being restarted come back: it refuses
// connections for some milliseconds.
const redialAfter = 25 * time.Millisecond

func (u *Upstream) newTransport(dial dialFunc) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyURL(u.proxy),
		OnProxyConnectResponse: proxyAnswered,
		DialContext:            dial,
		TLSClientConfig:        u.tls.Clone(), // a transport writes its protocols into it
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true, // what the origin sends is what is stored
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    64,
		MaxConnsPerHost:        u.cfg.MaxConnsPerHost,
		IdleConnTimeout:        60 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		// One HTTP/2 connection carries everything, so a dead one must not
		// wait for TCP to notice.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// clientTLS trusts the system's authorities and those in file, if it names one.
func clientTLS(file string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("root_ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("system certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("root_ca_file: no certificate in %s", file)
	}
	cfg.RootCAs = pool
	return cfg, nil
}

// dialObserved dials for requests: what it finds counts at once.
func (u *Upstream) dialObserved(ctx context.Context, network, addr string) (net.Conn, error) {
	started := time.Now()
	c, err := u.dialTwice(ctx, network, addr)
	if err == nil || ctx.Err() != nil || ownFault(err) {
		return c, err
	}
	cause := causeOf(err)
	if cause == "" {
		return nil, err // the request that it fails will raise the doubt
	}
	if cause == CausePrivate && u.State().Cause != cause {
		u.log.WarnContext(ctx, "site not connected to", "err", err)
	}
	u.observe(event{kind: evDialFailed, cause: cause, err: err, started: started})
	return nil, &LineError{Cause: cause, Err: err}
}

// dialTwice dials, and once more where the refusal came at once. Both share
// ConnectTimeout.
func (u *Upstream) dialTwice(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.ConnectTimeout)
	defer cancel()
	c, err := u.dial(ctx, network, addr)
	if _, refused := errors.AsType[*PrivateError](err); err != nil && ctx.Err() == nil && !ownFault(err) && !refused {
		pause := time.NewTimer(redialAfter)
		defer pause.Stop()
		select {
		case <-pause.C:
			c, err = u.dial(ctx, network, addr)
		case <-ctx.Done():
		}
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, meter: &u.meter}, nil
}

// meter counts what passes over all of a site's connections.
type meter struct {
	epoch          time.Time
	received, sent atomic.Int64
	lastAt         atomic.Int64 // nanoseconds after epoch of the last byte received; 0: none yet
}

// last is when a byte was last received, or the zero time.
func (m *meter) last() time.Time {
	if ns := m.lastAt.Load(); ns != 0 {
		return m.epoch.Add(time.Duration(ns))
	}
	return time.Time{}
}

func (m *meter) now() int64 { return max(1, int64(time.Since(m.epoch))) }

// conn counts one connection's bytes.
type conn struct {
	net.Conn
	meter *meter
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.meter.received.Add(int64(n))
		c.meter.lastAt.Store(c.meter.now())
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.sent.Add(int64(n))
	return n, err
}

// CloseWrite lets an upgraded connection end one direction only.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return fmt.Errorf("close write: %w", http.ErrNotSupported)
}
