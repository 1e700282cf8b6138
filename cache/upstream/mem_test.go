package upstream

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type mode int

const (
	modeUp        mode = iota
	modeRefused        // nobody listens
	modeBlackhole      // packets vanish
	modeSilent         // connections are accepted, and that is all
	modeCut            // connections are accepted and cut at the first request
)

// origin is an HTTP server in memory behind a line that can be broken. New
// connections meet the mode of the moment.
type origin struct {
	mode    atomic.Int64
	dials   atomic.Int64
	probes  atomic.Int64
	delay   atomic.Int64 // of a dial
	srv     http.Server
	conns   chan net.Conn
	closing chan struct{}
	wg      sync.WaitGroup
}

func newOrigin(t *testing.T, h http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{conns: make(chan net.Conn), closing: make(chan struct{})}
	o.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") == "preau-probe" {
			o.probes.Add(1)
		}
		h(w, r)
	})
	o.srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	o.wg.Go(func() { _ = o.srv.Serve(o) }) // ends with ErrServerClosed
	t.Cleanup(func() {
		close(o.closing)
		_ = o.srv.Close()
		o.wg.Wait()
	})
	return o
}

func (o *origin) set(m mode)     { o.mode.Store(int64(m)) }
func (o *origin) Addr() net.Addr { return &net.TCPAddr{} }
func (o *origin) Close() error   { return nil }

func (o *origin) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.closing:
		return nil, net.ErrClosed
	}
}

func (o *origin) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	o.dials.Add(1)
	if d := time.Duration(o.delay.Load()); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m := mode(o.mode.Load())
	switch m {
	case modeRefused:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case modeBlackhole:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	switch m {
	case modeSilent:
		o.wg.Go(func() { _, _ = io.Copy(io.Discard, far) }) // ends with near
		return near, nil
	case modeCut:
		o.wg.Go(func() { // a first byte, then gone: either error is what is wanted
			_, _ = far.Read(make([]byte, 1))
			_ = far.Close()
		})
		return near, nil
	}
	select {
	case o.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start runs an Upstream to o. In a bubble everything has ended when the test
// has: Run, then the pooled connections.
func start(t *testing.T, o *origin, change ...func(*Config)) *Upstream {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name = "library"
	cfg.URL = &url.URL{Scheme: "http", Host: "library.example"}
	for _, f := range change {
		f(&cfg)
	}
	u, err := newUpstream(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil, o.dial)
	if err != nil {
		t.Fatal(err)
	}
	run(t, u)
	return u
}

func run(t *testing.T, u *Upstream) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background()) // outlives t.Context, which ends before clean-ups
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func request(t *testing.T, u *Upstream, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.URL(path, "").String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get fetches path and reads all of it.
func get(t *testing.T, u *Upstream, path string) (int, string, error) {
	t.Helper()
	resp, err := u.Fetch(request(t, u, path))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func wantUp(t *testing.T, u *Upstream) {
	t.Helper()
	if s := u.State(); !s.Up || !closed(u.Up()) || closed(u.Down()) {
		t.Errorf("state = %+v, Up closed %v, Down closed %v; want up", s, closed(u.Up()), closed(u.Down()))
	}
}

func wantDown(t *testing.T, u *Upstream, cause Cause) {
	t.Helper()
	if s := u.State(); s.Up || s.Cause != cause || closed(u.Up()) || !closed(u.Down()) {
		t.Errorf("state = %+v, Up closed %v, Down closed %v; want down (%s)", s, closed(u.Up()), closed(u.Down()), cause)
	}
}
