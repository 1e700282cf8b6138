package edge_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/upstream"
)

func TestMissThenHit(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(text("v", &made, "Cache-Control", "max-age=60", "Content-Type", "text/plain"))
	first := w.get("/a?x=1")
	w.want(first, 200, "v1", "fwd=uri-miss", "stored", "preau;")
	if first.header.Get("Age") != "" {
		t.Errorf("a fresh response has Age %q", first.header.Get("Age"))
	}
	if got := first.header.Get("Via"); got != "1.1 preau" {
		t.Errorf("Via = %q", got)
	}
	time.Sleep(1100 * time.Millisecond) // Age counts whole seconds
	second := w.get("/a?x=1")
	w.want(second, 200, "v1", "hit", "ttl=", "detail=local")
	if age := second.header.Get("Age"); age == "" || age == "0" {
		t.Errorf("Age = %q, want 1 or more", age)
	}
	w.want(w.get("/a?x=2"), 200, "v2", "fwd=uri-miss")
	w.want(w.get("/a?x=1", "Cache-Control", "no-cache"), 200, "v3", "fwd=request")
	w.wantAsked(3)
	w.want(w.get("/new", "Cache-Control", "only-if-cached"), 504, "*")
	w.want(w.get("/a?x=2", "Cache-Control", "only-if-cached"), 200, "v2", "hit")
	w.want(w.get("/secret", "Cache-Control", "no-store"), 200, "v4")
	w.want(w.get("/secret"), 200, "v5", "fwd=uri-miss")
	w.wantAsked(2)
}

func TestNoStoreOfOneClientCostsOthersNothing(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(30 * time.Millisecond)
		text("v", &made, "Cache-Control", "max-age=60")(rw, r)
	})
	w.get("/a", "Cache-Control", "no-store")
	w.requests()
	w.herd(20, func(int) reply { return w.get("/a") })
	w.wantAsked(1)
}

func TestVariants(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Vary", "Accept-Language")
		_, _ = rw.Write([]byte("in " + r.Header.Get("Accept-Language")))
	})
	for _, lang := range []string{"fr", "en"} {
		w.want(w.get("/a", "Accept-Language", lang), 200, "in "+lang, "fwd=")
	}
	w.want(w.get("/a", "Accept-Language", "fr"), 200, "in fr", "hit")
	w.want(w.get("/a", "Accept-Language", " EN "), 200, "in en", "hit")
	w.want(w.get("/a", "Accept-Language", "de"), 200, "in de", "fwd=vary-miss")
	w.wantAsked(3)
}

func TestHerdOfManyLanguagesGetsEachItsOwn(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Vary", "Accept-Language")
		_, _ = rw.Write([]byte("in " + r.Header.Get("Accept-Language")))
	})
	langs := []string{"fr", "en", "de", "br"}
	for i, r := range w.herd(40, func(i int) reply { return w.get("/a", "Accept-Language", langs[i%4]) }) {
		w.want(r, 200, "in "+langs[i%4])
	}
	w.wantAsked(len(langs))
}

func TestNotModifiedFromStore(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	const date = "Tue, 01 Sep 2026 10:00:00 GMT"
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Last-Modified", date)
		text("v", &made, "Cache-Control", "max-age=60", "ETag", `"one"`, "Content-Type", "text/plain")(rw, r)
	})
	w.get("/a")
	w.requests()
	tests := map[string]struct {
		header []string
		want   int
	}{
		"same tag":       {[]string{"If-None-Match", `"one"`}, 304},
		"weak tag":       {[]string{"If-None-Match", `W/"one"`}, 304},
		"list":           {[]string{"If-None-Match", `"zero", "one"`}, 304},
		"two lines":      {[]string{"If-None-Match", `"zero"`, "If-None-Match", `"one"`}, 304},
		"any":            {[]string{"If-None-Match", `*`}, 304},
		"other tag":      {[]string{"If-None-Match", `"two"`}, 200},
		"date":           {[]string{"If-Modified-Since", date}, 304},
		"later date":     {[]string{"If-Modified-Since", "Wed, 02 Sep 2026 10:00:00 GMT"}, 304},
		"earlier date":   {[]string{"If-Modified-Since", "Mon, 31 Aug 2026 10:00:00 GMT"}, 200},
		"tag beats date": {[]string{"If-None-Match", `"two"`, "If-Modified-Since", date}, 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.get("/a", tt.header...)
			if r.status != tt.want {
				t.Fatalf("status %d, want %d", r.status, tt.want)
			}
			if r.status == 304 && (len(r.body) > 0 || r.header.Get("ETag") != `"one"` || r.header.Get("Content-Type") != "") {
				t.Errorf("304 with %v and %d bytes", r.header, len(r.body))
			}
		})
	}
	w.wantAsked(0)
}

func TestRevalidationHerdCostsOneRequest(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		cc := "max-age=0"
		if r.Header.Get("If-None-Match") != "" {
			time.Sleep(100 * time.Millisecond)
			cc = "max-age=60"
		}
		text("v", &made, "Cache-Control", cc, "ETag", `"one"`)(rw, r)
	})
	w.get("/a")
	w.requests()
	for _, r := range w.herd(40, func(int) reply { return w.get("/a") }) {
		w.want(r, 200, "v1")
	}
	got := w.wantAsked(1)
	if got[0].Header.Get("If-None-Match") != `"one"` {
		t.Errorf("request was not conditional: %v", got[0].Header)
	}
}

func TestStaleWhileRevalidate(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	gate := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		cc := "max-age=0, stale-while-revalidate=60"
		if made.Load() > 0 {
			<-gate
			cc = "max-age=60"
		}
		text("v", &made, "Cache-Control", cc)(rw, r)
	})
	w.get("/a")
	w.requests()
	for _, r := range w.herd(20, func(int) reply { return w.get("/a") }) {
		w.want(r, 200, "v1", "hit", "ttl=-") // while the origin hangs
	}
	close(gate)
	w.until(func() bool { return string(w.get("/a").body) == "v2" }, "was never refreshed")
	w.wantAsked(1)
}

func TestStaleIfError(t *testing.T) {
	w := newWorld(t, func(s *edge.Site, _ *upstream.Config) { s.Rules.StaleOnError = 0 })
	var made atomic.Int64
	var broken atomic.Bool
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(rw, "broken", 500)
			return
		}
		cc := "max-age=0"
		if strings.HasPrefix(r.URL.Path, "/sie") {
			cc += ", stale-if-error=60"
		}
		text("v", &made, "Cache-Control", cc)(rw, r)
	})
	w.get("/sie")
	w.get("/plain")
	broken.Store(true)
	w.want(w.get("/sie"), 200, "v1", "hit", "origin-error")
	w.want(w.get("/plain"), 500, "broken\n", "fwd-status=500")
}

func TestLineDown(t *testing.T) {
	w := newWorld(t, func(s *edge.Site, _ *upstream.Config) { s.Rules.StaleWhenDown = 24 * time.Hour })
	var made atomic.Int64
	controls := map[string]string{
		"/plain":   "max-age=0",
		"/must":    "max-age=0, must-revalidate",
		"/proxy":   "max-age=0, proxy-revalidate",
		"/nocache": "no-cache",
		"/fresh":   "max-age=600, must-revalidate",
	}
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		text("v", &made, "Cache-Control", controls[r.URL.Path], "ETag", `"x"`)(rw, r)
	})
	for path := range controls {
		w.get(path)
	}
	w.lineDown()
	tests := map[string]struct {
		path   string
		header []string
		status int
		detail string
	}{
		"stale":             {"/plain", nil, 200, "offline"},
		"fresh":             {"/fresh", nil, 200, "hit"},
		"must-revalidate":   {"/must", nil, 504, "offline"},
		"proxy-revalidate":  {"/proxy", nil, 504, "offline"},
		"no-cache":          {"/nocache", nil, 504, "offline"},
		"client's no-cache": {"/plain", []string{"Cache-Control", "no-cache"}, 504, "offline"},
		"nothing stored":    {"/none", nil, 504, "offline"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := w.tried()
			r := w.get(tt.path, tt.header...)
			if n := w.tried() - before; n != 0 {
				t.Errorf("the line was tried %d times, and a class waited for it", n)
			}
			if r.status != tt.status || !strings.Contains(r.cache(), tt.detail) {
				t.Errorf("status %d, Cache-Status %q; want %d and %q", r.status, r.cache(), tt.status, tt.detail)
			}
		})
	}
	w.lineUp()
	w.want(w.get("/must"), 200, "*", "fwd=stale", "fwd-status=304")
}
