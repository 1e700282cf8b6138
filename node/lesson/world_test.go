package lesson_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/profile/platformtest"
	"preau/node/front"
	"preau/node/lesson"
	"preau/node/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// school is a box before some sites, and its line.
type school struct {
	t       *testing.T
	front   *front.Front
	sites   *lesson.Sites
	servers map[string]*httptest.Server
	cloud   *platformtest.Nextcloud
	tube    *tube
	store   *lesson.Store
	line    *line
	pins    *pins
	box     http.Handler // of the preparer; nil: the front's
}

// tube is a PeerTube whose public interface tells of its videos.
type tube struct {
	*platformtest.PeerTube
	base string
}

func (p *tube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/videos/")
	if !ok {
		p.PeerTube.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch name {
	case "public-1", "live-1", "private-1":
		kind := strings.TrimSuffix(name, "-1")
		id := p.UUID(kind)
		privacy := 1
		if kind == "private" {
			privacy = 3
		}
		fmt.Fprintf(w, `{"name":"Le cycle de l’eau","isLive":%t,"privacy":{"id":%d},"streamingPlaylists":[{"playlistUrl":"%s/static/streaming-playlists/hls/%s/%s-master.m3u8",
			"files":[{"size":14000,"resolution":{"id":720}},{"size":13377,"resolution":{"id":480}}]}]}`, kind == "live", privacy, p.base, id, p.Files(id))
	case "locked-1":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"code":"video_requires_password"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// blog has a page with pictures and styles.
func blog(w http.ResponseWriter, r *http.Request) {
	kind, body := "text/html; charset=utf-8", ""
	switch r.URL.Path {
	case "/2026/11/sortie/":
		body = `<!doctype html><title>La  sortie</title><link rel="stylesheet" href="/wp-content/themes/x/style.css?ver=1">
			<img src="../../../wp-content/uploads/a.png" srcset="/wp-content/uploads/b.png 2x"><script src="/wp-includes/js/a.js"></script>`
	case "/elsewhere/":
		body = `<title>Ailleurs</title><img src="https://images.elsewhere.example/a.png">`
	case "/wp-content/themes/x/style.css":
		kind, body = "text/css", `body{background:url("../../uploads/c.png")}`
	case "/wp-content/uploads/a.png", "/wp-content/uploads/b.png", "/wp-content/uploads/c.png":
		kind, body = "image/png", string(platformtest.Noise(500, 1))
	case "/wp-includes/js/a.js":
		kind, body = "text/javascript", "1"
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Last-Modified", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	fmt.Fprint(w, body)
}

const bigLength = 3 << 20

// plain is a site that says itself what may be stored.
func plain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("Etag", `"1"`)
	switch r.URL.Path {
	case "/big":
		http.ServeContent(w, r, "big.bin", time.Time{}, strings.NewReader(string(platformtest.Noise(bigLength, 3))))
		return
	case "/private":
		w.Header().Set("Cache-Control", "private")
	case "/no-store":
		w.Header().Set("Cache-Control", "no-store")
	case "/login":
		http.Redirect(w, r, "/sign?login=1", http.StatusFound)
		return
	case "/moved":
		http.Redirect(w, r, "/here", http.StatusFound)
		return
	case "/away":
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		return
	case "/round":
		http.Redirect(w, r, "/round", http.StatusFound)
		return
	case "/forbidden":
		w.WriteHeader(http.StatusForbidden)
	case "/trouble":
		w.WriteHeader(http.StatusInternalServerError)
	case "/gone":
		w.WriteHeader(http.StatusGone)
	}
	fmt.Fprint(w, "hello")
}

func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{t: t, servers: map[string]*httptest.Server{}, cloud: platformtest.NewNextcloud(31), line: &line{open: true}, pins: &pins{room: 1 << 40}}
	s.tube = &tube{PeerTube: platformtest.NewPeerTube(true)}
	var sites []front.Site
	for _, x := range []struct {
		name, profile string
		handler       http.Handler
	}{
		{"cloud", "nextcloud", s.cloud},
		{"tube", "peertube", s.tube},
		{"blog", "wordpress", http.HandlerFunc(blog)},
		{"meet", "jitsi", platformtest.NewJitsi()},
		{"plain", "rfc9111", http.HandlerFunc(plain)},
	} {
		server := httptest.NewServer(x.handler)
		t.Cleanup(server.Close)
		s.servers[x.name] = server
		var site front.Site
		site.SetDefaults()
		site.Name, site.Upstream, site.Profile = x.name, server.URL, x.profile
		sites = append(sites, site)
	}
	s.tube.base = s.servers["tube"].URL
	var err error
	if s.front, err = front.New(t.Context(), front.Config{Data: t.TempDir(), Budget: 256 << 20, Sites: sites}, quiet, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	group := lifecycle.New(quiet)
	s.front.Add(group)
	run(t, group.Run)
	s.line.state = func(site string) bool {
		for _, st := range s.front.Snapshot(context.Background()).Sites {
			if st.Name == site {
				return st.Up
			}
		}
		return false
	}
	if s.sites, err = lesson.NewSites(sites); err != nil {
		t.Fatal(err)
	}
	if s.store, err = lesson.Open(t.TempDir(), "box-a", quiet); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs something until the test ends.
func run(t *testing.T, fn func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := fn(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
}

// prepares makes a preparer for the school, and runs it.
func (s *school) prepares(change func(*lesson.Config)) *lesson.Preparer {
	s.t.Helper()
	cfg := lesson.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if s.box == nil {
		s.box = s.front.Handler()
	}
	p, err := lesson.NewPreparer(cfg, lesson.Parts{Lessons: s.store, Sites: s.sites, Box: s.box, Line: s.line, Pins: s.pins, Shelf: &catalogue{}, Deposits: depot{}}, quiet, prometheus.NewRegistry())
	if err != nil {
		s.t.Fatal(err)
	}
	run(s.t, p.Run)
	return p
}

// create makes a lesson of links.
func (s *school) create(links ...string) lesson.Lesson {
	s.t.Helper()
	l := lesson.Lesson{Title: "L’eau", Date: time.Now().Add(3 * time.Hour)}
	for _, link := range links {
		l.Items = append(l.Items, lesson.Item{Kind: lesson.Link, URL: link})
	}
	l, err := s.store.Create(l)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// until waits for the items of a lesson to stand as they should.
func until(t *testing.T, p *lesson.Preparer, l lesson.Lesson, done func([]lesson.State) bool) []lesson.State {
	t.Helper()
	changed, stop := p.Watch()
	defer stop()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for {
		states := p.States(l)
		if done(states) {
			return states
		}
		select {
		case <-changed:
		case <-patience.C:
			t.Fatalf("they stand at %+v", states)
		}
	}
}

func settled(states []lesson.State) bool {
	for _, st := range states {
		if st.Light == lesson.Arriving || st.Light == lesson.Waiting && st.Reason != lesson.ReasonTrouble && st.Reason != lesson.ReasonLine {
			return false
		}
	}
	return true
}

// device asks the box for what a page links to.
func (s *school) device(url string) (status int, body string) {
	s.t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://box.example"+url, http.NoBody)
	s.front.Handler().ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return w.Code, string(b)
}

// line is the school's line.
type line struct {
	mu      sync.Mutex
	open    bool
	change  time.Time
	talking bool
	rate    int64
	waited  int64
	most    int64 // more does not come before more is closed; 0: all does
	more    chan struct{}
	full    sync.Once
	over    chan struct{} // closed once more than most has come
	state   func(site string) bool
}

func (l *line) WaitN(ctx context.Context, n int) error {
	l.mu.Lock()
	l.waited += int64(n)
	over := l.most > 0 && l.waited > l.most
	l.mu.Unlock()
	if !over {
		return ctx.Err()
	}
	l.full.Do(func() { close(l.over) })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.more:
		return nil
	}
}

func (l *line) Rate() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.rate }

func (l *line) Talking() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.talking }

func (l *line) When(time.Time) (bool, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.change
}

func (l *line) Up(site string) bool { return l.state(site) }

func (l *line) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// pins remembers what is to be kept.
type pins struct {
	mu   sync.Mutex
	room int64
	kept []lesson.Pin
}

func (p *pins) Room() int64 { p.mu.Lock(); defer p.mu.Unlock(); return p.room }

func (p *pins) Set(_ context.Context, all []lesson.Pin) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = all
	return nil
}

func (p *pins) all() []lesson.Pin { p.mu.Lock(); defer p.mu.Unlock(); return p.kept }

// catalogue has one resource, which comes once it is wanted.
type catalogue struct {
	mu     sync.Mutex
	wanted []string
}

func (c *catalogue) Resource(id string) (lesson.Resource, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := lesson.Resource{Title: "Atlas", Path: "/r/atlas/atlas.pdf", ContentType: "application/pdf", Length: 10}
	for _, w := range c.wanted {
		if w == id {
			r.Held, r.Complete = 10, true
		}
	}
	return r, id == "atlas"
}

func (c *catalogue) Want(_ context.Context, ids []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = ids
	return nil
}

type depot struct{}

func (depot) Deposit(id string) (lesson.Resource, bool) {
	return lesson.Resource{Title: "Carte", Path: "/d/d-1/carte.pdf", Length: 5}, id == "d-1"
}
