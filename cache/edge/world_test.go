package edge_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/edge"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin is a web site that can be told what to answer, and cut off.
type origin struct {
	t       *testing.T
	addr    string
	handler atomic.Pointer[http.HandlerFunc]
	mu      sync.Mutex
	srv     *http.Server
	serving sync.WaitGroup
	asked   []*http.Request // without probes
	probes  atomic.Int64
}

func newOrigin(t *testing.T) *origin {
	o := &origin{t: t, addr: "127.0.0.1:0"}
	o.answer(http.NotFound)
	o.heal()
	t.Cleanup(o.cut)
	return o
}

func (o *origin) answer(h http.HandlerFunc) { o.handler.Store(&h) }

func (o *origin) heal() {
	o.t.Helper()
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = ln.Addr().String()
	o.srv = &http.Server{Handler: o, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	srv := o.srv
	o.serving.Go(func() { _ = srv.Serve(ln) }) // ends with ErrServerClosed
}

// cut closes the port and every connection.
func (o *origin) cut() {
	_ = o.srv.Close() // what was open is broken on purpose
	o.serving.Wait()
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("User-Agent") == "preau-probe" {
		o.probes.Add(1)
		return
	}
	o.mu.Lock()
	o.asked = append(o.asked, r)
	o.mu.Unlock()
	(*o.handler.Load())(w, r)
}

// requests returns what was asked for since the last call.
func (o *origin) requests() []*http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.asked
	o.asked = nil
	return out
}

// world is an edge with everything around it.
type world struct {
	*origin
	t     *testing.T
	site  *edge.Site
	up    *upstream.Upstream
	store *storage.Storage
	edge  *edge.Handler
	front *httptest.Server
	dir   string
	http  *http.Client

	patience time.Duration

	metrics   *prometheus.Registry // of the store
	traffic   *prometheus.Registry // of the upstream and the edge
	stopStore func()
}

// newWorld starts an edge in front of an origin; change may alter the site.
func newWorld(t *testing.T, change ...func(*edge.Site, *upstream.Config)) *world {
	t.Helper()
	return newPatientWorld(t, time.Minute, change...)
}

// newPatientWorld is newWorld with that patience of who waits for a fill. Only
// what can't be had may make it end, however slow the machine is.
func newPatientWorld(t *testing.T, patience time.Duration, change ...func(*edge.Site, *upstream.Config)) *world {
	t.Helper()
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	w := &world{origin: newOrigin(t), t: t, dir: t.TempDir(), traffic: reg, patience: patience}
	uc := lineConfig("site", &url.URL{Scheme: "http", Host: w.addr})
	uc.ProbeEvery, uc.ProbeEveryMax = 20*time.Millisecond, 50*time.Millisecond
	w.site = &edge.Site{Name: "site", Hosts: []string{"*"}, Rules: rfc9111.DefaultRules(), List: true}
	for _, c := range change {
		c(w.site, &uc)
	}
	var err error
	if w.up, err = upstream.New(uc, log, reg); err != nil {
		t.Fatal(err)
	}
	w.site.Upstream = w.up
	run(t, w.up.Run)
	if w.edge, err = edge.New([]*edge.Site{w.site}, log, reg); err != nil {
		t.Fatal(err)
	}
	w.openStore()
	t.Cleanup(func() { w.stopStore() })
	t.Cleanup(w.edge.Close)
	w.front = httptest.NewServer(w.edge)
	w.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(w.front.Close)
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	w.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(tr.CloseIdleConnections)
	return w
}

// lineConfig is of a line that is as good as it can be: it is the machine that
// may be slow.
func lineConfig(name string, to *url.URL) upstream.Config {
	uc := upstream.DefaultConfig()
	uc.Name, uc.URL = name, to
	uc.SilenceAfter, uc.ProbeTimeout, uc.ConnectTimeout, uc.BodyStall, uc.HeaderTimeout = time.Minute, time.Minute, time.Minute, time.Minute, time.Minute
	return uc
}

// run runs a part until the test ends and returns what ends it before.
func run(t *testing.T, part func(context.Context) error) func() {
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

func (w *world) openStore() {
	w.t.Helper()
	cfg := storage.DefaultConfig(w.dir, 96<<20)
	cfg.Fill.Patience = w.patience
	w.metrics = prometheus.NewRegistry()
	s, err := storage.Open(cfg, slog.New(slog.DiscardHandler), w.metrics)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.stopStore = s, run(w.t, s.Run)
	w.edge.SetStorage(s)
}

// reopen closes the data folder and opens it again, as a restart does.
func (w *world) reopen() {
	w.t.Helper()
	w.edge.SetStorage(nil)
	w.stopStore()
	w.openStore()
}

// lineDown cuts the line and returns when the edge knows of it.
func (w *world) lineDown() {
	w.t.Helper()
	w.cut()
	w.get("/is-it-down", "Cache-Control", "no-store")
	w.until(func() bool { return !w.up.State().Up }, "line never went down")
}

func (w *world) lineUp() {
	w.t.Helper()
	w.heal()
	w.until(func() bool { return w.up.State().Up }, "line never came up")
}

func (w *world) until(ok func() bool, what string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal(what)
		}
	}
}

// tried is how many requests went out to the line so far, whatever became of
// them.
func (w *world) tried() (n int) {
	w.t.Helper()
	families, err := w.traffic.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "preau_upstream_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			n += int(m.GetCounter().GetValue())
		}
	}
	return n
}

// waiting returns when n requests wait for the origin's answer.
func (w *world) waiting(n int) {
	w.t.Helper()
	w.until(func() bool { return w.edge.Waiting() == n }, "they never came")
}

// reply is a response that was read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of the body
	trail  http.Header
}

func (r reply) cache() string { return r.header.Get("Cache-Status") }

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
		w.t.Error(err)
		return reply{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	out := reply{status: resp.StatusCode, header: resp.Header}
	buf := bytes.NewBuffer(make([]byte, 0, max(0, resp.ContentLength)+512))
	_, out.err = buf.ReadFrom(resp.Body)
	out.body = buf.Bytes()
	out.trail = resp.Trailer
	return out
}

// herd asks n times at once.
func (w *world) herd(n int, ask func(i int) reply) []reply {
	out := make([]reply, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { out[i] = ask(i) })
	}
	all.Wait()
	return out
}

// want checks a reply's status, body and Cache-Status.
func (w *world) want(r reply, status int, body string, cache ...string) {
	w.t.Helper()
	if r.err != nil {
		w.t.Errorf("error %v", r.err)
	}
	if r.status != status || body != "*" && string(r.body) != body {
		w.t.Errorf("status %d, body of %d bytes %.60q; want %d and %.60q; Cache-Status %q", r.status, len(r.body), r.body, status, body, r.cache())
	}
	for _, c := range cache {
		if !strings.Contains(r.cache(), c) {
			w.t.Errorf("Cache-Status %q lacks %q", r.cache(), c)
		}
	}
}

// asked checks how many requests reached the origin since the last look.
func (w *world) wantAsked(n int) []*http.Request {
	w.t.Helper()
	got := w.requests()
	if len(got) != n {
		var list []string
		for _, r := range got {
			list = append(list, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Range"), " ", r.Header.Get("If-None-Match")))
		}
		w.t.Errorf("the origin was asked %d times, want %d:\n%s", len(got), n, strings.Join(list, "\n"))
	}
	return got
}

// fewer is n, or short if the tests are to be short: the race detector pays for
// each byte that is copied.
func fewer(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// noise is n bytes that are always the same for one seed.
func noise(n int, seed uint64) []byte {
	src := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], src.Uint64())
	}
	return b
}

// file answers with data as static file servers do, with fields of its own.
func file(data []byte, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		http.ServeContent(w, r, "file.bin", time.Time{}, bytes.NewReader(data))
	}
}

// text answers with a short text that counts how often it was made.
func text(name string, made *atomic.Int64, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		if tag := w.Header().Get("ETag"); tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		s := name + strconv.FormatInt(made.Add(1), 10)
		w.Header().Set("Content-Length", strconv.Itoa(len(s)))
		_, _ = io.WriteString(w, s)
	}
}
