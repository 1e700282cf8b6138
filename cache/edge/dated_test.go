package edge_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/profile"
	"preau/cache/upstream"
)

const blogPage = "<!DOCTYPE html>\n<html><head><title>Le blog</title><script>var s = \"<body>\";</script><!-- <body> --></head>\n<body class=\"home\">\n<p>Sortie au musée</p></body></html>\n"

// newBlog is a WordPress whose page is no older than a second.
func newBlog(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(s *edge.Site, _ *upstream.Config) {
		p, err := profile.New("wordpress", profile.Adjust{FreshMax: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		s.Profile = p
	})
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		switch r.URL.Path {
		case "/gzip/":
			h.Set("Content-Type", "text/html; charset=UTF-8")
			h.Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(rw)
			_, _ = z.Write([]byte(blogPage))
			_ = z.Close()
			return
		case "/feed/":
			h.Set("Content-Type", "application/rss+xml")
			_, _ = fmt.Fprint(rw, "<rss><body></rss>")
			return
		case "/as-it-is/":
			h.Set("Cache-Control", "no-transform")
		}
		h.Set("Content-Type", "text/html; charset=UTF-8")
		h.Set("Etag", `"of the site"`)
		_, _ = fmt.Fprint(rw, blogPage)
	})
	return w
}

const asPage = "text/html,application/xhtml+xml"

// TestAnOldPageSaysSoToPeople when the line is down, in their language, and is
// whole otherwise.
func TestAnOldPageSaysSoToPeople(t *testing.T) {
	w := newBlog(t)
	for _, path := range []string{"/", "/gzip/"} {
		if r := w.get(path, "Accept", asPage, "Accept-Encoding", "gzip"); r.status != http.StatusOK {
			t.Fatalf("%s: %d", path, r.status)
		}
	}
	w.lineDown()
	for _, path := range []string{"/", "/gzip/"} {
		for lang, says := range map[string]string{"fr": "Copie hors ligne", "en": "Offline copy"} {
			r := w.get(path, "Accept", asPage, "Accept-Language", lang, "Accept-Encoding", "gzip")
			if r.status != http.StatusNonAuthoritativeInfo || !strings.Contains(r.cache(), "hit") || !strings.Contains(r.cache(), "detail=offline") {
				t.Fatalf("%s: %d %s", path, r.status, r.cache())
			}
			head, tail, ok := strings.Cut(string(r.body), "<div role=\"status\"")
			notice, tail, closed := strings.Cut(tail, "</div>")
			if !ok || !closed || head+tail != blogPage || !strings.HasSuffix(head, "<body class=\"home\">") {
				t.Errorf("%s: the page is %q", path, r.body)
			}
			if !strings.Contains(notice, says) || !strings.Contains(notice, fmt.Sprint(time.Now().Year())) {
				t.Errorf("%s: the notice is %q", path, notice)
			}
			tag := r.header.Get("Etag")
			if !strings.HasPrefix(tag, `"offline-`) || r.header.Get("Content-Encoding") != "" || r.header.Get("Cache-Control") != "no-cache" || r.header.Get("Age") == "" {
				t.Errorf("%s: %v", path, r.header)
			}
			if again := w.get(path, "Accept", asPage, "Accept-Language", lang, "Accept-Encoding", "gzip", "If-None-Match", tag); again.status != http.StatusNotModified {
				t.Errorf("%s: %d for its own tag\n%s\nwas\n%s", path, again.status, again.body, r.body)
			}
		}
	}
	// Somebody who has the site's page is told all the same.
	if r := w.get("/", "Accept", asPage, "Accept-Encoding", "gzip", "If-None-Match", `"of the site"`); r.status != http.StatusNonAuthoritativeInfo {
		t.Errorf("%d for the site's tag", r.status)
	}
	if r := w.do(http.MethodHead, "/", nil, "Accept", asPage, "Accept-Encoding", "gzip"); r.status != http.StatusNonAuthoritativeInfo || len(r.body) > 0 {
		t.Errorf("HEAD: %d with %d bytes", r.status, len(r.body))
	}
	w.lineUp()
	if r := w.get("/", "Accept", asPage, "Accept-Encoding", "gzip"); r.status != http.StatusOK || string(r.body) != blogPage {
		t.Errorf("the line is back: %d %q", r.status, r.body)
	}
}

// TestOnlyPagesThatPeopleOpenAreDated: whatever else is asked for is as the site
// sent it.
func TestOnlyPagesThatPeopleOpenAreDated(t *testing.T) {
	w := newBlog(t)
	paths := []string{"/", "/feed/", "/as-it-is/"}
	for _, path := range paths {
		if r := w.get(path, "Accept", asPage); r.status != http.StatusOK {
			t.Fatalf("%s: %d", path, r.status)
		}
	}
	w.lineDown()
	for name, r := range map[string]reply{
		"a feed":               w.get("/feed/", "Accept", asPage),
		"no-transform":         w.get("/as-it-is/", "Accept", asPage),
		"the client's word":    w.get("/", "Accept", asPage, "Cache-Control", "no-transform"),
		"a script":             w.get("/", "Accept", asPage, "Sec-Fetch-Dest", "empty"),
		"a frame":              w.get("/", "Accept", asPage, "Sec-Fetch-Dest", "iframe"),
		"a program":            w.get("/", "Accept", "*/*"),
		"who does not say how": w.get("/"),
	} {
		if r.status != http.StatusOK || bytes.Contains(r.body, []byte("data-preau")) || !strings.Contains(r.cache(), "detail=offline") || r.header.Get("Age") == "" {
			t.Errorf("%s: %d %s %q", name, r.status, r.cache(), r.body)
		}
	}
	if r := w.get("/", "Accept", asPage, "Sec-Fetch-Dest", "document"); r.status != http.StatusNonAuthoritativeInfo {
		t.Errorf("a person: %d", r.status)
	}
}

// FuzzWithNotice: whatever the page is, it is the same page around the notice.
func FuzzWithNotice(f *testing.F) {
	for _, s := range []string{blogPage, "<body>", "<BODY\n>x", "<body", "<textarea><body></textarea>", "\x00<body/>", "<plaintext><body>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, ok := edge.WithNotice(text, "\x00notice\x00")
		if !ok {
			return
		}
		head, tail, found := bytes.Cut(out, []byte("\x00notice\x00"))
		if !found && !bytes.Contains(text, []byte("\x00notice")) || len(out) != len(text)+8 {
			t.Fatalf("%q of %q", out, text)
		}
		if bytes.Count(out, []byte("\x00notice\x00")) == 1 && string(head)+string(tail) != string(text) {
			t.Fatalf("%q of %q", out, text)
		}
	})
}
