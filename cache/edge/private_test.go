package edge_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// whoever answers each person with their own name, after a while in which
// others ask.
func whoever(cc string, extra ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(60 * time.Millisecond)
		who := r.Header.Get("Authorization") + r.Header.Get("Cookie")
		w.Header().Set("Cache-Control", cc)
		for i := 0; i < len(extra); i += 2 {
			w.Header().Set(extra[i], extra[i+1])
		}
		_, _ = fmt.Fprintf(w, "page of <%s>", who)
	}
}

// TestNobodyGetsAnothersPage has many people ask for one URL at the same time
// and one after the other; all that is served must be the asker's own.
func TestNobodyGetsAnothersPage(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"private":           whoever("private, max-age=60"),
		"no-store":          whoever("no-store"),
		"nothing said":      whoever(""),
		"no-cache and tag":  whoever("no-cache", "ETag", `"same-for-all"`),
		"private and tag":   whoever("private", "ETag", `"same-for-all"`),
		"vary on cookie":    whoever("max-age=60", "Vary", "Cookie, Authorization"),
		"vary on anything":  whoever("max-age=60", "Vary", "*"),
		"stale at once":     whoever("max-age=0", "ETag", `"x"`),
		"private with list": whoever(`private, no-cache="set-cookie"`),
	}
	for name, answer := range answers {
		for _, field := range []string{"Cookie", "Authorization"} {
			t.Run(name+" "+field, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.answer(answer)
				for range 2 {
					for i, r := range w.herd(12, func(i int) reply { return w.get("/me", field, fmt.Sprint("p", i)) }) {
						w.want(r, 200, fmt.Sprintf("page of <p%d>", i))
					}
				}
				w.want(w.get("/me"), 200, "page of <>")
			})
		}
	}
}

func TestAuthorizationIsSharedOnlyIfTheSiteSaysSo(t *testing.T) {
	for cc, shared := range map[string]bool{
		"max-age=60":                  false,
		"public, max-age=60":          true,
		"s-maxage=60":                 true,
		"must-revalidate, max-age=60": true,
	} {
		t.Run(cc, func(t *testing.T) {
			w := newWorld(t)
			w.answer(whoever(cc))
			w.get("/a", "Authorization", "Bearer ann")
			got := string(w.get("/a").body)
			if shared != (got == "page of <Bearer ann>") {
				t.Errorf("the second client got %q", got)
			}
		})
	}
}

func TestSessionCookiesStayWithTheirOwner(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	answer := func(rw http.ResponseWriter, r *http.Request) {
		if c := r.Header.Get("Cookie"); c != "" {
			rw.Header().Set("Set-Cookie", "session-of-"+c)
		}
		cc := "max-age=60"
		if r.URL.Path == "/stale" && r.Header.Get("If-None-Match") == "" {
			cc = "max-age=0"
		}
		text("v", &made, "Cache-Control", cc, "ETag", `"one"`)(rw, r)
	}
	w.answer(answer)
	check := func(r reply, want string) {
		t.Helper()
		if got := r.header.Get("Set-Cookie"); got != want {
			t.Errorf("Set-Cookie = %q, want %q (%s)", got, want, r.cache())
		}
	}
	check(w.get("/a", "Cookie", "ann"), "session-of-ann")
	check(w.get("/a", "Cookie", "bob"), "") // from store
	check(w.get("/stale", "Cookie", "ann"), "session-of-ann")
	check(w.get("/stale", "Cookie", "cid"), "session-of-cid") // validates
	check(w.get("/stale"), "")
	check(w.do(http.MethodHead, "/a", nil, "Cookie", "dan", "Cache-Control", "no-cache"), "session-of-dan")
	check(w.get("/a"), "")

	// The RFC lets what was made for nobody in particular be shared as it is.
	w.answer(text("v", &made, "Cache-Control", "max-age=60", "Set-Cookie", "lang=fr"))
	check(w.get("/b"), "lang=fr")
	check(w.get("/b"), "lang=fr")
}

// TestPrivate304 is about a 304 that makes private what was public before.
func TestPrivate304(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			var made atomic.Int64
			w.answer(text("v", &made, "Cache-Control", "max-age=0", "ETag", `"one"`))
			w.get("/a")
			w.answer(text("v", &made, "Cache-Control", "private, max-age=60", "ETag", `"one"`, "X-Name", "ann"))
			if got := w.do(method, "/a", nil, "Cookie", "ann"); got.header.Get("X-Name") != "ann" {
				t.Errorf("ann got %v", got.header)
			}
			w.answer(text("v", &made, "Cache-Control", "private, max-age=60", "ETag", `"one"`, "X-Name", "bob"))
			if got := w.get("/a", "Cookie", "bob"); got.header.Get("X-Name") != "bob" {
				t.Errorf("bob got what was ann's: %v", got.header)
			}
		})
	}
}

func TestUnsharedResponsesDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	const class = 20
	var here atomic.Int64
	all := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "private")
		if r.Header.Get("Cookie") == "first" {
			return
		}
		if here.Add(1) == class {
			close(all)
		}
		select {
		case <-all: // nobody is answered before everybody has asked
		case <-r.Context().Done():
		}
	})
	w.get("/me", "Cookie", "first")
	for i, r := range w.herd(class, func(i int) reply { return w.get("/me", "Cookie", fmt.Sprint(i)) }) {
		if r.status != 200 {
			t.Errorf("%d: status %d, %v: %d asked at once", i, r.status, r.err, here.Load())
		}
	}
}

func TestRevalidationWithCookiesStaysCheap(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(30 * time.Millisecond)
		text("v", &made, "Cache-Control", "no-cache", "ETag", `"one"`)(rw, r)
	})
	w.get("/a")
	w.requests()
	w.herd(20, func(i int) reply { return w.get("/a", "Cookie", fmt.Sprint("c", i)) })
	for _, r := range w.requests() {
		if r.Header.Get("If-None-Match") == "" {
			t.Errorf("a whole body was asked for again: %v", r.Header)
		}
	}
}

func TestNothingTellsTheSiteWhoAsks(t *testing.T) {
	w := newWorld(t)
	tell := []string{"X-Forwarded-For", "10.1.2.3", "X-Real-Ip", "10.1.2.3", "Forwarded", "for=10.1.2.3", "X-Forwarded-Host", "h"}
	w.get("/a", tell...)
	w.do(http.MethodHead, "/a", nil, tell...)
	w.do(http.MethodPost, "/a", strings.NewReader("x"), tell...)
	w.do(http.MethodPost, "/a", strings.NewReader("x"))
	w.get("/b")
	for _, r := range w.wantAsked(5) {
		for k, v := range r.Header {
			if strings.HasPrefix(k, "X-") || k == "Forwarded" || strings.Contains(strings.Join(v, " "), "127.0.0.1") {
				t.Errorf("%s: %s: %q", r.Method, k, v)
			}
		}
	}
}

func TestInvalidation(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "MKCOL"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			var made atomic.Int64
			w.answer(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == method {
					rw.Header().Set("Location", "/loc?x=1")
					rw.Header().Set("Content-Location", "http://other.example/foreign")
					if r.URL.Query().Has("fail") {
						rw.WriteHeader(500)
					}
					return
				}
				text("v", &made, "Cache-Control", "max-age=60")(rw, r)
			})
			for _, p := range []string{"/a", "/loc?x=1", "/foreign", "/other"} {
				w.get(p)
			}
			w.do(method, "/a?fail", nil)
			w.want(w.get("/a"), 200, "v1", "hit")
			w.do(method, "/a", nil)
			w.want(w.get("/a"), 200, "v5", "fwd=stale")
			w.want(w.get("/loc?x=1"), 200, "v6", "fwd=stale")
			w.want(w.get("/foreign"), 200, "v3", "hit")
			w.want(w.get("/other"), 200, "v4", "hit")
		})
	}
}

func TestHead(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(text("v", &made, "Cache-Control", "max-age=60", "ETag", `"one"`))
	w.want(w.do(http.MethodHead, "/none", nil), 200, "", "fwd=uri-miss")
	w.get("/a")
	w.requests()
	r := w.do(http.MethodHead, "/a", nil)
	w.want(r, 200, "", "hit")
	if r.header.Get("Content-Length") != "2" {
		t.Errorf("Content-Length = %q", r.header.Get("Content-Length"))
	}
	w.wantAsked(0)
	// A HEAD that is answered by the site freshens what is stored.
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-New", "yes")
		rw.Header().Set("ETag", `"one"`)
		rw.Header().Set("Cache-Control", "max-age=60")
	})
	w.do(http.MethodHead, "/a", nil, "Cache-Control", "no-cache")
	if r := w.get("/a"); r.header.Get("X-New") != "yes" || !strings.Contains(r.cache(), "hit") {
		t.Errorf("not freshened: %v", r.header)
	}
	// Another version is told of: what is stored may not be used unasked.
	w.answer(text("w", &made, "Cache-Control", "max-age=60", "ETag", `"two"`))
	w.do(http.MethodHead, "/a", nil, "Cache-Control", "no-cache")
	if r := w.get("/a"); string(r.body[0:1]) != "w" {
		t.Errorf("outdated after HEAD: %s", r.body)
	}
}
