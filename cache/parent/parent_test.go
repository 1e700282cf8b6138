package parent_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/parent"
	"preau/cache/storage"
	"preau/cache/upstream"
)

func TestAParentIsAskedFirst(t *testing.T) {
	w := newWorld(t)
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(rw, "page")
	})
	for i, want := range []string{"fwd=uri-miss; fwd-status=200; stored", "hit"} {
		r := w.get("/a?q=1")
		if r.status != 200 || string(r.body) != "page" || !strings.Contains(r.cache(), want) {
			t.Errorf("%d: %d %q %s", i, r.status, r.body, r.cache())
		}
	}
	got := w.origin.requests()
	if len(got) != 1 || got[0].RequestURI != "/base/a?q=1" || strings.Count(strings.Join(got[0].Header["Via"], ","), "preau") != 2 {
		t.Errorf("the origin saw %d requests: %v", len(got), got)
	}
	if w.parents[0].asked.Load() != 1 || w.parents[1].asked.Load() != 0 {
		t.Errorf("the parents were asked %d and %d times", w.parents[0].asked.Load(), w.parents[1].asked.Load())
	}
}

func TestWhatIsNotForParentsGoesToTheSite(t *testing.T) {
	w := newWorld(t)
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "mine") })
	for name, ask := range map[string]func() reply{
		"a cookie":    func() reply { return w.get("/a", "Cookie", "s=1") },
		"credentials": func() reply { return w.get("/a", "Authorization", "Basic eA==") },
		"an upload":   func() reply { return w.do(http.MethodPost, "/a", strings.NewReader("x")) },
		"head":        func() reply { return w.do(http.MethodHead, "/a", nil) },
	} {
		if r := ask(); r.status != 200 {
			t.Errorf("%s: %d", name, r.status)
		}
		if len(w.origin.requests()) != 1 || w.parents[0].asked.Load() != 0 {
			t.Errorf("%s went to a parent", name)
		}
	}
}

func TestTheNextParentAndThenTheSite(t *testing.T) {
	down := func(p *server) { p.cut() }
	says := func(status int, cacheStatus string) func(*server) {
		return func(p *server) {
			p.instead(func(rw http.ResponseWriter, _ *http.Request) {
				if cacheStatus != "" {
					rw.Header().Set("Cache-Status", cacheStatus)
				}
				rw.WriteHeader(status)
				_, _ = io.WriteString(rw, "not the page")
			})
		}
	}
	tests := map[string]struct {
		first, second func(*server)
		asked         [2]int64 // after two fetches
	}{
		"one is dead":              {first: down, asked: [2]int64{0, 2}},
		"both are dead":            {first: down, second: down},
		"one has no answer":        {first: says(502, "preau; fwd=miss; detail=origin-error"), asked: [2]int64{2, 2}},
		"one is overloaded":        {first: says(503, ""), asked: [2]int64{1, 2}},
		"one does not know us":     {first: says(403, ""), asked: [2]int64{1, 2}},
		"one does not know it":     {first: says(404, ""), asked: [2]int64{1, 2}},
		"one refuses this request": {first: says(400, ""), asked: [2]int64{2, 2}},
		"another cache answers":    {first: says(200, `"other"; hit`), asked: [2]int64{1, 2}},
		"one is cut off":           {first: says(504, "preau; fwd=miss; detail=offline"), asked: [2]int64{1, 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Cache-Control", "max-age=60")
				_, _ = io.WriteString(rw, "page")
			})
			tt.first(w.parents[0])
			if tt.second != nil {
				tt.second(w.parents[1])
			}
			for i := range 2 {
				if r := w.get(fmt.Sprint("/", i)); r.status != 200 || string(r.body) != "page" {
					t.Errorf("%d %q %s", r.status, r.body, r.cache())
				}
			}
			if got := [2]int64{w.parents[0].asked.Load(), w.parents[1].asked.Load()}; got != tt.asked {
				t.Errorf("the parents were asked %v times, want %v", got, tt.asked)
			}
			if !w.up.State().Up {
				t.Error("the line counts as down")
			}
		})
	}
}

func TestTheSitesOwnErrorsAreTheSites(t *testing.T) {
	w := newWorld(t)
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(rw, "back at nine")
	})
	if r := w.get("/a"); r.status != 503 || string(r.body) != "back at nine" {
		t.Errorf("%d %q", r.status, r.body)
	}
	if n := w.parents[1].asked.Load(); n != 0 {
		t.Errorf("the second parent was asked %d times", n)
	}
}

func TestASlowParentHasTheNextAskedBeside(t *testing.T) {
	w := newWorld(t, func(w *world) { w.cfg.HedgeAfter = 50 * time.Millisecond })
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "page") })
	w.parents[0].instead(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if r := w.get("/a"); r.status != 200 {
		t.Errorf("%d, %v", r.status, r.err)
	}
	w.parents[1].instead(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if r := w.get("/b"); r.status != 200 {
		t.Errorf("%d, %v", r.status, r.err)
	}
	if n := w.parents[0].asked.Load(); n != 1 {
		t.Errorf("the slow one was asked %d times", n)
	}
}

func TestTheLineIsDownWhenNobodyAnswers(t *testing.T) {
	w := newWorld(t)
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "page") })
	down := w.up.Down()
	for _, p := range w.parents {
		p.cut()
	}
	w.origin.cut()
	if r := w.get("/a"); r.status != http.StatusGatewayTimeout || !strings.Contains(r.cache(), "offline") {
		t.Errorf("%d %s", r.status, r.cache())
	}
	wait(t, down, "nobody was told that the line is down")
	up := w.up.Up()
	w.parents[1].heal()
	w.origin.heal()
	wait(t, up, "nobody was told that the line is up")
	w.until(func() bool { return w.get("/a").status == 200 }, "the page never came")
	// The site alone is enough, and a parent alone too.
	w.parents[1].cut()
	w.until(func() bool { return w.get("/b").status == 200 }, "the site alone is not enough")
}

func TestAParentReachesWhatTheBoxCannot(t *testing.T) {
	w := newWorld(t, func(w *world) { w.siteURL = "http://127.0.0.1:9/base" }) // the school's filter lets nothing else out
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "page") })
	_ = w.get("/direct", "Cookie", "a=b")
	w.until(func() bool { return !w.line.State().Up }, "the direct line never went down")
	for i := range 3 {
		if r := w.get(fmt.Sprint("/", i)); r.status != 200 {
			t.Errorf("%d %s", r.status, r.cache())
		}
	}
	before := w.tried()
	if r := w.get("/direct", "Cookie", "a=b"); r.status != http.StatusGatewayTimeout || w.tried() != before {
		t.Errorf("with credentials: %d, the line was tried: %s, before: %s", r.status, w.tried(), before)
	}
}

// TestABodyGoesOnElsewhere cuts the first parent in the middle of a film, and
// then the second.
func TestABodyGoesOnElsewhere(t *testing.T) {
	w := newWorld(t)
	data := noise(4 << 20)
	w.origin.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Etag", `"film"`)
		rw.Header().Set("Cache-Control", "max-age=60")
		http.ServeContent(rw, r, "film.mp4", time.Time{}, bytes.NewReader(data))
	})
	for i, p := range w.parents {
		p.breakAfter.Store(int64(i+1) << 20)
	}
	r := w.get("/film")
	if r.err != nil || !bytes.Equal(r.body, data) {
		t.Fatalf("%d bytes of %d, %v", len(r.body), len(data), r.err)
	}
	for i, p := range w.parents {
		if p.asked.Load() == 0 {
			t.Errorf("parent %d was not asked", i)
		}
	}
	if r := w.get("/film"); !strings.Contains(r.cache(), "hit") {
		t.Errorf("it is not kept: %s", r.cache())
	}
}

// TestStaleStaysStale: what a parent serves stale must not become fresh here.
func TestStaleStaysStale(t *testing.T) {
	w := newWorld(t)
	var n atomic.Int64
	w.parents[0].instead(func(rw http.ResponseWriter, r *http.Request) {
		n.Add(1)
		rw.Header().Set("Cache-Status", "preau; hit; ttl=-100; detail=offline")
		rw.Header().Set("Cache-Control", "max-age=50")
		rw.Header().Set("Age", "150")
		rw.Header().Set("Etag", `"e"`)
		if r.Header.Get("If-None-Match") != "" {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(rw, "old")
	})
	for range 3 {
		if r := w.get("/a"); string(r.body) != "old" || strings.Contains(r.cache(), "preau; hit; ttl=5") {
			t.Errorf("%q %s", r.body, r.cache())
		}
	}
	if n.Load() != 3 {
		t.Errorf("the parent was asked %d times of 3", n.Load())
	}
	// And a fresh one is as old here as it was there.
	w.parents[0].instead(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Status", "preau; hit; ttl=100")
		rw.Header().Set("Cache-Control", "max-age=200")
		rw.Header().Set("Age", "100")
		_, _ = io.WriteString(rw, "b")
	})
	w.get("/b")
	r := w.get("/b")
	_, after, hit := strings.Cut(r.cache(), "hit; ttl=")
	var ttl int
	_, err := fmt.Sscan(after, &ttl)
	age, ageErr := strconv.Atoi(r.header.Get("Age"))
	if left := 200 - age - ttl; !hit || err != nil || ageErr != nil || age < 100 || left < 0 || left > 1 { // parts of a second
		t.Errorf("Age %s, %s", r.header.Get("Age"), r.cache())
	}
}

// TestAParentThatHasNotHeardOfAPurge must not bring back what was purged.
func TestAParentThatHasNotHeardOfAPurge(t *testing.T) {
	w := newWorld(t)
	var n atomic.Int64
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=3600")
		rw.Header().Set("Age", "50")
		_, _ = fmt.Fprint(rw, "v", n.Add(1))
	})
	w.get("/a")
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=3600")
		_, _ = fmt.Fprint(rw, "v", n.Add(1))
	})
	removed, err := w.store.Purge(t.Context(), []storage.PurgeSpec{{Site: "site", Marks: []object.Mark{w.store.Marker().Exact("site", "/a")}}})
	if err != nil || removed != 1 {
		t.Errorf("%d removed, %v", removed, err)
	}
	for i := range 2 {
		if r := w.get("/a"); string(r.body) != "v2" || i == 1 && !strings.Contains(r.cache(), "hit") {
			t.Errorf("%q %s", r.body, r.cache())
		}
	}
}

func TestRedirectsAndCookiesAreTheSites(t *testing.T) {
	w := newWorld(t)
	w.origin.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", "/base/there")
		rw.Header().Set("Set-Cookie", "a=b; Path=/base/x; HttpOnly")
		rw.WriteHeader(http.StatusFound)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.up.URL("/a", "").String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.up.Fetch(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if w.parents[0].asked.Load() != 1 {
		t.Error("the parent was not asked")
	}
	if got := resp.Header.Get("Location"); got != w.up.URL("/there", "").String() {
		t.Errorf("Location %s", got)
	}
	if got := resp.Header.Get("Set-Cookie"); !strings.Contains(got, "Path=/base/x") {
		t.Errorf("Set-Cookie %s", got)
	}
}

func TestForeignRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://elsewhere.example/base/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.up.Fetch(req); !errors.Is(err, upstream.ErrForeign) {
		t.Errorf("error %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for name, change := range map[string]func(*parent.Config){
		"hedge": func(c *parent.Config) { c.HedgeAfter = 0 },
		"retry": func(c *parent.Config) { c.RetryMax = 1 },
		"most":  func(c *parent.Config) { c.Most = 0 },
	} {
		cfg := parent.DefaultConfig()
		change(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var _ edge.Origin = (*parent.Origin)(nil)
}
