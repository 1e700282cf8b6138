package tube_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/upstream"
)

// piece is how much the line carries at a time of one connection.
const piece = 8 << 10

// line is the school's line to a platform in the same process: as fast as it says,
// shared by all who use it, and it counts what it carries of bodies: beside films as
// light as these, fields would weigh fifty times what they do. It implements
// edge.Origin.
type line struct {
	h       http.Handler
	rate    float64 // bytes a second; 0 for no bound
	carried atomic.Int64
	down    atomic.Bool

	mu    sync.Mutex
	free  time.Time // when it has carried what it was given
	asked []string  // method, path, query and range of each request
	never chan struct{}
	now   chan struct{}
}

func newLine(h http.Handler, rate float64) *line {
	l := &line{h: h, rate: rate, never: make(chan struct{}), now: make(chan struct{})}
	close(l.now)
	return l
}

// State implements edge.Origin.
func (l *line) State() upstream.State { return upstream.State{Up: !l.down.Load()} }

// Up implements edge.Origin.
func (l *line) Up() <-chan struct{} {
	if l.down.Load() {
		return l.never
	}
	return l.now
}

// Down implements edge.Origin.
func (l *line) Down() <-chan struct{} {
	if l.down.Load() {
		return l.now
	}
	return l.never
}

// URL implements edge.Origin.
func (l *line) URL(escapedPath, rawQuery string) *url.URL {
	u := &url.URL{Scheme: "http", Host: "tube.example", RawQuery: rawQuery}
	path, err := url.PathUnescape(escapedPath)
	if err != nil {
		path = escapedPath
	}
	u.Path, u.RawPath = path, escapedPath
	return u
}

// Fetch implements edge.Origin.
func (l *line) Fetch(req *http.Request) (*http.Response, error) { return l.RoundTrip(req) }

// RoundTrip implements edge.Origin.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.down.Load() {
		return nil, &upstream.LineError{Cause: upstream.CauseSilent}
	}
	l.mu.Lock()
	l.asked = append(l.asked, req.Method+" "+req.URL.RequestURI()+" "+req.Header.Get("Range"))
	l.mu.Unlock()
	if err := sleep(req.Context(), 40*time.Millisecond); err != nil { // there and back
		return nil, err
	}
	r := req.Clone(req.Context())
	r.RequestURI, r.RemoteAddr, r.Host, r.Body = req.URL.RequestURI(), "192.0.2.1:1", "tube.example", http.NoBody
	w := httptest.NewRecorder()
	l.h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = req
	if resp.ContentLength < 0 {
		resp.ContentLength = int64(w.Body.Len())
	}
	resp.Body = &slow{l: l, ctx: req.Context(), rest: w.Body.Bytes()}
	return resp, nil
}

// requests returns what was asked for since the last call.
func (l *line) requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.asked
	l.asked = nil
	return out
}

// carry returns when the line has carried n bytes more.
func (l *line) carry(ctx context.Context, n int) error {
	l.carried.Add(int64(n))
	if l.rate == 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	return sleep(ctx, wait)
}

// slow is a body that comes by the line.
type slow struct {
	l    *line
	ctx  context.Context
	rest []byte
	over atomic.Bool
}

func (s *slow) Read(p []byte) (int, error) {
	if s.over.Load() {
		return 0, io.ErrClosedPipe
	}
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(s.rest), piece)
	if err := s.l.carry(s.ctx, n); err != nil {
		return 0, fmt.Errorf("carry: %w", err)
	}
	copy(p, s.rest[:n])
	s.rest = s.rest[n:]
	return n, nil
}

func (s *slow) Close() error {
	s.over.Store(true)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rest is a pause in what a person does.
func rest(d time.Duration) { <-time.After(d) }
