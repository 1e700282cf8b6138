package twoperson_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/cache/profile"
	"preau/cache/profile/platformtest"
	"preau/cache/upstream"
)

// bubbleLag is how long an answer takes where time is our own: long enough for
// others to ask meanwhile.
const bubbleLag = 20 * time.Millisecond

// line is the way to a platform in the same process, which can be cut. It
// implements edge.Origin.
type line struct {
	to  *url.URL
	h   http.Handler
	lag time.Duration

	mu       sync.Mutex
	down     bool
	since    time.Time
	up, dead chan struct{} // closed when it is so
	answers  []answered
}

// answered is what the platform answered to the cache.
type answered struct {
	asked  profile.Request
	path   string
	status int
}

func newLine(p platformtest.Platform) *line {
	l := &line{to: &url.URL{Scheme: "http", Host: "platform.example"}, h: p, lag: bubbleLag, up: make(chan struct{}), dead: make(chan struct{})}
	if real, ok := p.(interface{ Address() *url.URL }); ok {
		l.to, l.lag = real.Address(), 0 // it takes its own time
	}
	close(l.up)
	return l
}

// cut cuts the line, or mends it.
func (l *line) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down == down {
		return
	}
	l.down, l.since = down, time.Now()
	if down {
		l.up = make(chan struct{})
		close(l.dead)
	} else {
		l.dead = make(chan struct{})
		close(l.up)
	}
}

// State implements edge.Origin.
func (l *line) State() upstream.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return upstream.State{Up: !l.down, Since: l.since}
}

// Up implements edge.Origin.
func (l *line) Up() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// Down implements edge.Origin.
func (l *line) Down() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// URL implements edge.Origin.
func (l *line) URL(escapedPath, rawQuery string) *url.URL {
	u := *l.to
	u.RawQuery = rawQuery
	path, err := url.PathUnescape(escapedPath)
	if err != nil {
		path = escapedPath
	}
	u.Path, u.RawPath = path, escapedPath
	return &u
}

// Fetch implements edge.Origin.
func (l *line) Fetch(req *http.Request) (*http.Response, error) { return l.RoundTrip(req) }

// RoundTrip implements edge.Origin.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case <-l.Down():
		return nil, &upstream.LineError{Cause: upstream.CauseSilent}
	default:
	}
	wait := time.NewTimer(l.lag)
	defer wait.Stop()
	select {
	case <-l.Down():
		return nil, &upstream.LineError{Cause: upstream.CauseSilent}
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	case <-wait.C:
	}
	r := req.Clone(req.Context())
	r.RequestURI, r.RemoteAddr = req.URL.RequestURI(), "192.0.2.1:1"
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return nil, err
	}
	r.URL = u
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := newResponder()
	l.h.ServeHTTP(w, r)
	resp := w.response(req)
	l.note(r, w)
	return resp, nil
}

// note remembers what was answered, for whoever judges what is served.
func (l *line) note(r *http.Request, w *responder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, answered{
		profile.Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header}, r.URL.Path, w.status,
	})
}

// justGave reports an answer since the last call of news that gave something of a
// link: who asks at the same time may have it.
func (l *line) justGave(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.answers, func(a answered) bool {
		return strings.Contains(a.asked.Path, token) && a.status < http.StatusMultipleChoices
	})
}

// news are the answers since the last call.
func (l *line) news() []answered {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.answers
	l.answers = nil
	return out
}

// responder is what a handler answers to, as a server would send it.
type responder struct {
	header  http.Header
	sent    http.Header
	status  int
	flushed bool
	broken  bool // the connection was broken off
	body    bytes.Buffer
}

func newResponder() *responder { return &responder{header: http.Header{}} }

func (w *responder) Header() http.Header { return w.header }

func (w *responder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *responder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return w.body.Write(p)
}

// Flush implements http.Flusher.
func (w *responder) Flush() {
	w.WriteHeader(http.StatusOK)
	w.flushed = true
}

// response is what a client gets.
func (w *responder) response(req *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	body := w.body.Bytes()
	resp := &http.Response{
		StatusCode: w.status, Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Request: req, ContentLength: -1, Body: http.NoBody,
	}
	n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64)
	switch {
	case err == nil:
		resp.ContentLength = n
	case !w.flushed && len(body) < 2048 && w.status != http.StatusNotModified && w.status != http.StatusNoContent:
		resp.ContentLength = int64(len(body))
		w.sent.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if req.Method != http.MethodHead && len(body) > 0 {
		resp.Body = io.NopCloser(bytes.NewReader(bytes.Clone(body)))
	}
	if w.sent.Get("Date") == "" {
		w.sent.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	return resp
}

// serve has a handler answer a request, and returns what was sent. A handler
// that breaks the connection has sent what it had.
func serve(h http.Handler, r *http.Request) (w *responder) {
	w = newResponder()
	defer func() {
		if e := recover(); e != nil {
			if err, ok := e.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(e)
			}
			w.broken = true
		}
		w.WriteHeader(http.StatusOK)
	}()
	h.ServeHTTP(w, r)
	return w
}

// header is all fields as text.
func headerText(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}
