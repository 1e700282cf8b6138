package parent_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/edge"
	"preau/cache/parent"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// server is an HTTP server that can be cut off, made to say something else, or
// to break its answers.
type server struct {
	t          *testing.T
	addr       string
	handler    http.Handler
	other      atomic.Pointer[http.HandlerFunc]
	asked      atomic.Int64
	breakAfter atomic.Int64 // bytes of a body

	mu      sync.Mutex
	srv     *http.Server
	serving sync.WaitGroup
	seen    []*http.Request
}

func newServer(t *testing.T, h http.Handler) *server {
	t.Helper()
	s := &server{t: t, addr: "127.0.0.1:0", handler: h}
	s.heal()
	t.Cleanup(s.cut)
	return s
}

func (s *server) instead(h http.HandlerFunc) { s.other.Store(&h) }
func (s *server) answer(h http.HandlerFunc)  { s.other.Store(&h) }

func (s *server) heal() {
	s.t.Helper()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	srv := &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.srv = srv
	s.serving.Go(func() { _ = srv.Serve(ln) })
}

func (s *server) cut() {
	_ = s.srv.Close()
	s.serving.Wait()
}

func (s *server) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.seen
	s.seen = nil
	return out
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("User-Agent") == "preau-probe" {
		return
	}
	s.asked.Add(1)
	s.mu.Lock()
	s.seen = append(s.seen, r)
	s.mu.Unlock()
	if n := s.breakAfter.Load(); n > 0 {
		w = &breaking{ResponseWriter: w, left: n}
	}
	if h := s.other.Load(); h != nil {
		(*h)(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// breaking cuts the connection after so many bytes.
type breaking struct {
	http.ResponseWriter
	left int64
}

func (b *breaking) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		_ = http.NewResponseController(b.ResponseWriter).Flush() // it is cut in any case
		panic(http.ErrAbortHandler)
	}
	b.left -= int64(len(p))
	return b.ResponseWriter.Write(p)
}

func (b *breaking) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// world is a box before two parents, which are edges as it is, before a site.
type world struct {
	t       *testing.T
	origin  *server
	parents []*server
	siteURL string // as the box reaches it
	cfg     parent.Config
	line    *upstream.Upstream
	traffic *prometheus.Registry // of the line
	up      *parent.Origin
	front   *httptest.Server
	store   *storage.Storage // the box's
	http    *http.Client
}

func newWorld(t *testing.T, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t}
	w.origin = newServer(t, http.NotFoundHandler())
	w.siteURL = "http://" + w.origin.addr + "/base"
	// However slow the machine: nobody is slow, and who has failed stays away,
	// unless the test is about that.
	w.cfg = parent.Config{
		HedgeAfter: time.Hour, AnswerTimeout: time.Hour, BodyStall: time.Hour, RetryAfter: time.Hour, RetryMax: time.Hour,
		Most: parent.DefaultConfig().Most,
	}
	for _, c := range change {
		c(w)
	}
	for range 2 {
		line := newLine(t, "http://"+w.origin.addr+"/base", prometheus.NewRegistry())
		h, _ := newEdge(t, line)
		w.parents = append(w.parents, newServer(t, h))
	}
	w.traffic = prometheus.NewRegistry()
	w.line = newLine(t, w.siteURL, w.traffic)
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	list := func(string) []parent.Parent {
		var out []parent.Parent
		for i, p := range w.parents {
			out = append(out, parent.Parent{
				Name: string(rune('a' + i)), RoundTripper: tr,
				Base: &url.URL{Scheme: "http", Host: p.addr, Path: "/o/site"},
			})
		}
		return out
	}
	var err error
	if w.up, err = parent.New(w.cfg, "site", w.line, list, quiet, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	run(t, w.up.Run)
	h, store := newEdge(t, w.up)
	w.store = store
	w.front = httptest.NewServer(h)
	w.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(w.front.Close)
	out := &http.Transport{DisableCompression: true}
	t.Cleanup(out.CloseIdleConnections)
	w.http = &http.Client{Transport: out}
	return w
}

func newLine(t *testing.T, site string, reg *prometheus.Registry) *upstream.Upstream {
	t.Helper()
	uc := upstream.DefaultConfig()
	uc.Name, uc.ProbeEvery, uc.ProbeEveryMax = "site", 50*time.Millisecond, 100*time.Millisecond
	// The machine may be slow, the line is not.
	uc.SilenceAfter, uc.ProbeTimeout, uc.ConnectTimeout, uc.BodyStall, uc.HeaderTimeout = time.Minute, time.Minute, time.Minute, time.Minute, time.Minute
	var err error
	if uc.URL, err = url.Parse(site); err != nil {
		t.Fatal(err)
	}
	line, err := upstream.New(uc, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, line.Run)
	return line
}

func newEdge(t *testing.T, from edge.Origin) (*edge.Handler, *storage.Storage) {
	t.Helper()
	site := &edge.Site{Name: "site", Hosts: []string{"*"}, Rules: rfc9111.DefaultRules(), Upstream: from}
	h, err := edge.New([]*edge.Site{site}, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s, err := storage.Open(storage.DefaultConfig(t.TempDir(), 64<<20), quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s.Run)
	h.SetStorage(s)
	t.Cleanup(stop)
	t.Cleanup(h.Close)
	return h, s
}

func run(t *testing.T, part func(context.Context) error) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// tried tells how often the line itself was used.
func (w *world) tried() (out string) {
	w.t.Helper()
	families, err := w.traffic.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "preau_upstream_requests_total" {
			out += f.String()
		}
	}
	return out
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal(what)
	}
}

func (w *world) until(ok func() bool, what string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal(what)
		}
	}
}

type reply struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (r reply) cache() string {
	v := r.header["Cache-Status"]
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1] // the box's own
}

func (w *world) get(path string, header ...string) reply {
	w.t.Helper()
	return w.do(http.MethodGet, path, nil, header...)
}

func (w *world) do(method, path string, body io.Reader, header ...string) reply {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.front.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return reply{err: err, header: http.Header{}}
	}
	defer func() { _ = resp.Body.Close() }()
	var buf bytes.Buffer
	_, err = buf.ReadFrom(resp.Body)
	return reply{resp.StatusCode, resp.Header, buf.Bytes(), err}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
