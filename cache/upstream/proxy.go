package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// tunnelTimeout bounds a proxy's answer to CONNECT.
const tunnelTimeout = 10 * time.Second

// connectError is a proxy's refusal to do what it is asked.
type connectError struct {
	status int
	tunnel bool // one for an upgrade, which says nothing about the line
}

func (e *connectError) Error() string {
	if e.status == http.StatusProxyAuthRequired {
		return "proxy answered 407: it wants a user name and a password, write them into HTTP_PROXY and HTTPS_PROXY"
	}
	return fmt.Sprintf("proxy answered CONNECT with status %d", e.status)
}

func proxyAnswered(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return &connectError{status: res.StatusCode}
}

// proxyFor is the proxy that the environment names for a site, or nil. Its
// address may hold a password, so it is in no error.
func proxyFor(site *url.URL) (*url.URL, error) {
	env := httpproxy.FromEnvironment()
	name, value := "HTTP_PROXY", env.HTTPProxy
	if site.Scheme == "https" {
		name, value = "HTTPS_PROXY", env.HTTPSProxy
	}
	p, err := env.ProxyFunc()(site)
	if err != nil {
		return nil, fmt.Errorf("%s can't be used: take REQUEST_METHOD out of the environment", name)
	}
	if p == nil {
		// What it can't read it takes for nothing, and would go round the filter.
		if p = anyURL(value); value != "" && p == nil {
			return nil, fmt.Errorf("%s is not the address of a proxy: write it like http://proxy.example:3128", name)
		}
		return nil, nil //nolint:nilnil // as net/http has it: no proxy is no error
	}
	switch p.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fmt.Errorf("%s names a proxy of the unknown kind %q: write it like http://proxy.example:3128", name, p.Scheme)
	}
	if p.Hostname() == "" {
		return nil, fmt.Errorf("%s names no host: write it like http://proxy.example:3128", name)
	}
	return p, nil
}

// anyURL is what httpproxy would read, or nil.
func anyURL(text string) *url.URL {
	for _, t := range []string{text, "http://" + text} {
		if u, err := url.Parse(t); err == nil && u.Host != "" {
			return u
		}
	}
	return nil
}

// tunnels reports whether req needs a tunnel that the transport would not ask
// for: proxies pass plain HTTP on, but no connection that becomes another's.
func (u *Upstream) tunnels(req *http.Request) bool {
	return u.proxy != nil && u.base.Scheme == "http" && req.Header.Get("Upgrade") != "" &&
		(u.proxy.Scheme == "http" || u.proxy.Scheme == "https")
}

// newTunnel makes the transport of such requests. None of its connections is
// used twice.
func (u *Upstream) newTunnel() *http.Transport {
	t := u.newTransport(u.dialTunnel)
	t.Proxy = nil
	t.DisableKeepAlives = true
	t.ForceAttemptHTTP2 = false
	return t
}

// dialTunnel connects to addr by way of the proxy (RFC 9110 §9.3.6).
func (u *Upstream) dialTunnel(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := u.dialObserved(ctx, network, hostPort(u.proxy))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tunnelTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // ends what is being read or written
	out, err := u.connect(ctx, c, addr)
	if !stop() && err == nil {
		err = fmt.Errorf("tunnel through the proxy: %w", context.Cause(ctx))
	}
	if err != nil {
		_ = c.Close() // of no use
		return nil, err
	}
	return out, nil
}

// connect asks the proxy on c for a tunnel to addr.
func (u *Upstream) connect(ctx context.Context, c net.Conn, addr string) (net.Conn, error) {
	if u.proxy.Scheme == "https" {
		cfg := u.tls.Clone()
		cfg.ServerName = u.proxy.Hostname()
		tc := tls.Client(c, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		c = tc
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if user := u.proxy.User; user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	r := bufio.NewReader(io.LimitReader(c, 64<<10))
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	_ = resp.Body.Close() // one that opens a tunnel has none, and no other is read
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, &connectError{status: resp.StatusCode, tunnel: true}
	case r.Buffered() > 0:
		return nil, errors.New("proxy: it says more than that the tunnel is open")
	}
	return c, nil
}
