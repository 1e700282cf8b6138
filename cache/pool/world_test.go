package pool_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/parent"
	"preau/cache/pool"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
	"preau/cache/vouch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// face is a TLS server, HTTP/2, that can be made to do something else.
type face struct {
	*httptest.Server
	instead atomic.Pointer[func(http.Handler) http.Handler]
	asked   atomic.Int64
	under   atomic.Int64 // requests under way
	sent    atomic.Int64 // bytes of bodies

	mu   sync.Mutex
	seen []*http.Request
}

func newFace(t *testing.T, h http.Handler) *face {
	t.Helper()
	f := &face{}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		f.under.Add(1)
		defer f.under.Add(-1)
		f.mu.Lock()
		f.seen = append(f.seen, r.Clone(context.WithoutCancel(r.Context())))
		f.mu.Unlock()
		w = &counted{w, &f.sent}
		if change := f.instead.Load(); change != nil {
			(*change)(h).ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	f.EnableHTTP2 = true
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

// do has the face answer otherwise from now on.
func (f *face) do(change func(w http.ResponseWriter, r *http.Request, as http.Handler)) {
	wrap := func(as http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { change(w, r, as) })
	}
	f.instead.Store(&wrap)
}

func (f *face) busy() bool { return f.under.Load() > 0 }

func (f *face) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// counted counts the bytes of a body.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *counted) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// changing has what passes through it changed, or the response cut off.
type changing struct {
	http.ResponseWriter
	at     int64
	change func(at int64, p []byte) // what lies at byte at of the body
	cut    int64                    // after so many bytes; 0: not
}

func (c *changing) Write(p []byte) (int, error) {
	if c.cut > 0 && c.at+int64(len(p)) > c.cut {
		_, _ = c.ResponseWriter.Write(p[:c.cut-c.at])
		_ = http.NewResponseController(c.ResponseWriter).Flush() // it is cut in any case
		panic(http.ErrAbortHandler)
	}
	if c.change != nil {
		p = bytes.Clone(p)
		c.change(c.at, p)
	}
	c.at += int64(len(p))
	return c.ResponseWriter.Write(p)
}

func (c *changing) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

func (c *changing) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// box is a box of the school.
type box struct {
	name    string
	edge    *edge.Handler
	store   *storage.Storage
	pool    *pool.Origin
	near    *face // for neighbours
	front   *httptest.Server
	metrics *prometheus.Registry
}

// world is a site, a region before it, and the boxes of a school before that.
type world struct {
	t      *testing.T
	origin *httptest.Server
	site   atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64 // of the site
	region *face
	shield *edge.Handler    // the region's, as is
	store  *storage.Storage // this
	retry  time.Duration    // a region that failed is left alone for so long
	boxes  []*box
	cfg    pool.Config
	client *http.Client
	tr     *http.Transport

	// order tells a box the others, and its own place among them. Without it
	// the first box is everything's owner.
	order func(box int) (others []int, place int)

	mu       sync.Mutex
	reported map[string]string
	lost     map[string]int
}

func newWorld(t *testing.T, n int, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, retry: time.Nanosecond, reported: map[string]string{}, lost: map[string]int{}}
	w.origin = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") == "preau-probe" {
			return
		}
		w.asked.Add(1)
		for name := range r.Header {
			if strings.HasPrefix(name, "Preau-") {
				t.Errorf("the site was sent %s", name)
			}
		}
		(*w.site.Load())(rw, r)
	}))
	w.origin.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(w.origin.Close)
	// However slow the machine: nobody is silent, and who has failed stays
	// away, unless the test is about that.
	w.cfg = pool.Config{
		HeldWithin: time.Minute, HedgeLeast: time.Hour, HedgeMost: time.Hour, SilentAfter: time.Hour, AnswerTimeout: time.Hour,
		BodyStall: time.Hour, RetryAfter: time.Hour, RetryMax: time.Hour, Most: 3,
	}
	for _, c := range change {
		c(w)
	}
	regional, store := w.newEdge(w.newLine("region"), prometheus.NewRegistry())
	w.shield, w.store = regional, store
	w.region = newFace(t, regional.Peers())
	w.tr = w.region.Client().Transport.(*http.Transport).Clone()
	w.tr.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // each server of the test has the same certificate
	w.tr.DisableCompression = true
	t.Cleanup(w.tr.CloseIdleConnections)
	w.client = &http.Client{Transport: w.tr}
	for i := range n {
		w.boxes = append(w.boxes, w.newBox(i))
	}
	return w
}

func (w *world) newBox(i int) *box {
	w.t.Helper()
	b := &box{name: "box" + strconv.Itoa(i), metrics: prometheus.NewRegistry()}
	pc := parent.DefaultConfig()
	pc.HedgeAfter, pc.AnswerTimeout, pc.BodyStall = time.Hour, time.Hour, time.Hour
	pc.RetryAfter, pc.RetryMax = w.retry, w.retry // there is but one
	region := func(string) []parent.Parent {
		base := &url.URL{Scheme: "https", Host: w.region.Listener.Addr().String(), Path: "/o/site"}
		return []parent.Parent{{Name: "region", RoundTripper: w.tr, Base: base}}
	}
	up, err := parent.New(pc, "site", w.newLine(b.name), region, quiet, b.metrics)
	if err != nil {
		w.t.Fatal(err)
	}
	run(w.t, up.Run)
	if b.pool, err = pool.New(w.cfg, "site", up, func(string) ([]parent.Parent, int) { return w.others(i) }, w, quiet, b.metrics); err != nil {
		w.t.Fatal(err)
	}
	b.edge, b.store = w.newEdge(b.pool, b.metrics)
	b.near = newFace(w.t, b.edge.Neighbours())
	b.front = httptest.NewServer(b.edge)
	b.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.t.Cleanup(b.front.Close)
	return b
}

// others is who may be asked by box i.
func (w *world) others(i int) (out []parent.Parent, place int) {
	order := w.order
	if order == nil {
		order = func(box int) (others []int, place int) {
			for j := range w.boxes {
				if j != box {
					others = append(others, j)
				}
			}
			return others, box
		}
	}
	others, place := order(i)
	w.mu.Lock()
	defer w.mu.Unlock()
	before := place
	for at, j := range others {
		b := w.boxes[j]
		if w.reported[b.name] != "" {
			if at < place {
				before--
			}
			continue
		}
		out = append(out, parent.Parent{
			Name: b.name, RoundTripper: w.tr,
			Base: &url.URL{Scheme: "https", Host: b.near.Listener.Addr().String(), Path: "/o/site"},
		})
	}
	return out, before
}

// Report implements pool.Reports.
func (w *world) Report(name, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reported[name] += why
}

// Lost implements pool.Reports.
func (w *world) Lost(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost[name]++
}

func (w *world) told() (reported map[string]string, lost map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.reported), maps.Clone(w.lost)
}

func (w *world) newLine(name string) *upstream.Upstream {
	w.t.Helper()
	uc := upstream.DefaultConfig()
	uc.Name = name
	// The machine may be slow, the line is not.
	uc.SilenceAfter, uc.ProbeTimeout, uc.ConnectTimeout, uc.BodyStall, uc.HeaderTimeout = time.Minute, time.Minute, time.Minute, time.Minute, time.Minute
	var err error
	if uc.URL, err = url.Parse(w.origin.URL + "/base"); err != nil {
		w.t.Fatal(err)
	}
	line, err := upstream.New(uc, quiet, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	run(w.t, line.Run)
	return line
}

func (w *world) newEdge(from edge.Origin, reg prometheus.Registerer) (*edge.Handler, *storage.Storage) {
	w.t.Helper()
	site := &edge.Site{Name: "site", Hosts: []string{"*"}, Rules: rfc9111.DefaultRules(), Upstream: from}
	h, err := edge.New([]*edge.Site{site}, quiet, reg)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := storage.Open(storage.DefaultConfig(w.t.TempDir(), 64<<20), quiet, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	stop := run(w.t, s.Run)
	h.SetStorage(s)
	w.t.Cleanup(stop)
	w.t.Cleanup(h.Close)
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

func (w *world) answer(h http.HandlerFunc) { w.site.Store(&h) }

// file has the site answer with data.
func (w *world) file(data []byte, header ...string) {
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Etag", `"v1"`)
		rw.Header().Set("Cache-Control", "max-age=600")
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		http.ServeContent(rw, r, "film.mp4", time.Time{}, bytes.NewReader(data))
	})
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

func (w *world) get(b *box, path string, header ...string) reply {
	w.t.Helper()
	return w.from(b.front.URL, path, header...)
}

func (w *world) from(base, path string, header ...string) reply {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
	if err != nil {
		w.t.Error(err)
		return reply{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return reply{err: err, header: http.Header{}}
	}
	defer func() { _ = resp.Body.Close() }()
	for _, name := range []string{vouch.Body, vouch.Length} {
		if strings.HasPrefix(base, "http:") && resp.Header.Get(name) != "" {
			w.t.Errorf("a device was sent %s", name)
		}
	}
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, body, err}
}

// want checks that a reply is data, and from where the box says that it came.
func (w *world) want(r reply, data []byte, cache string) {
	w.t.Helper()
	if r.err != nil || !bytes.Equal(r.body, data) {
		w.t.Errorf("status %d, %d bytes of %d, error %v", r.status, len(r.body), len(data), r.err)
	}
	if !strings.Contains(r.cache(), cache) {
		w.t.Errorf("Cache-Status %q lacks %q", r.cache(), cache)
	}
}

// wantSent checks how much the region has sent, over the school's line.
func (w *world) wantSent(least, most int) {
	w.t.Helper()
	if got := int(w.region.sent.Load()); got < least || got > most {
		w.t.Errorf("the region sent %d bytes of bodies, want %d to %d", got, least, most)
	}
}

// metric is the value of a box's metric; labels are as they are printed.
func (w *world) metric(b *box, name string, labels ...string) (sum float64) {
	w.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				ok := false
				for _, l := range m.GetLabel() {
					ok = ok || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !ok {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func (w *world) until(ok func() bool, what string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal(what)
		}
	}
}

// purge removes what a box, or the region, has of a path.
func (w *world) purge(s *storage.Storage, path string) {
	w.t.Helper()
	n, err := s.Purge(w.t.Context(), []storage.PurgeSpec{{Site: "site", Marks: []object.Mark{s.Marker().Exact("site", path)}}})
	if err != nil || n == 0 {
		w.t.Fatalf("%d purged, %v", n, err)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
