package edge_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestErrorPages(t *testing.T) {
	w := newWorld(t)
	w.lineDown()
	tests := map[string]struct {
		language string
		want     string
	}{
		"nothing said":      {"", "fr"},
		"French":            {"fr-FR,fr;q=0.9,en;q=0.8", "fr"},
		"English":           {"en-GB,en;q=0.9", "en"},
		"English preferred": {"fr;q=0.5, en;q=0.7", "en"},
		"neither":           {"de", "fr"},
		"refused":           {"fr;q=0, en;q=0.1", "en"},
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.get("/page", "Accept", "text/html,*/*", "Accept-Language", tt.language)
			body := string(r.body)
			if r.status != 504 || !strings.Contains(body, `<html lang="`+tt.want+`">`) {
				t.Errorf("status %d, page %.200s", r.status, body)
			}
			m := style.FindStringSubmatch(body)
			if m == nil {
				t.Fatal("no style")
			}
			sum := sha256.Sum256([]byte(m[1]))
			if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(r.header.Get("Content-Security-Policy"), hash) {
				t.Errorf("the style sent has hash %s, the policy is %s", hash, r.header.Get("Content-Security-Policy"))
			}
			if strings.Contains(body, "ZgotmplZ") || strings.Contains(body, "{{") || strings.Contains(body, "<script") {
				t.Error("the page is broken")
			}
			if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Retry-After") == "" {
				t.Errorf("fields %v", r.header)
			}
		})
	}
	plain := w.get("/page", "Accept", "application/json")
	if plain.status != 504 || !strings.HasPrefix(plain.header.Get("Content-Type"), "text/plain") || strings.Contains(string(plain.body), "<") {
		t.Errorf("a script got %s %.80s", plain.header.Get("Content-Type"), plain.body)
	}
}

func TestPageListsWhatCanBeOpened(t *testing.T) {
	w := newWorld(t)
	control := map[string]string{"/must.html": "max-age=0, must-revalidate", "/private.html": "private"}
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		cc := control[r.URL.Path]
		if cc == "" {
			cc = "max-age=600"
		}
		rw.Header().Set("Cache-Control", cc)
		rw.Header().Set("ETag", `"v"`)
		rw.Header().Set("Content-Type", "text/html")
		if strings.HasSuffix(r.URL.Path, ".bin") {
			rw.Header().Set("Content-Type", "application/octet-stream")
		}
		if strings.HasSuffix(r.URL.Path, "missing.html") {
			rw.WriteHeader(404)
		}
		_, _ = io.WriteString(rw, "content")
	})
	open := []string{"/", "/cours/le%C3%A7on.html", "/dir/", "/a%3Cscript%3Ealert(1)%3C%2Fscript%3E.html", "/%22onmouseover=alert(1)%20.html"}
	closed := []string{"/query.html?q=1", "/must.html", "/private.html", "/data.bin", "/missing.html", "//evil.example/x.html"}
	for _, p := range append(open, closed...) {
		w.get(p)
	}
	w.get("/mine.html", "Cookie", "me")
	w.until(w.idle, "never settled")
	w.lineDown()
	r := w.get("/nothing", "Accept", "text/html")
	body := string(r.body)
	for _, p := range open {
		if !strings.Contains(strings.ReplaceAll(body, "&#43;", "+"), fmt.Sprintf(`href="%s"`, p)) {
			t.Errorf("%s is not listed", p)
		}
	}
	for _, s := range []string{"query", "must", "private", "data.bin", "missing", "mine", "evil.example", "<script", `"onmouse`} {
		if strings.Contains(body, s) {
			t.Errorf("%q is on the page", s)
		}
	}
	if !strings.Contains(body, "leçon.html") {
		t.Error("names are not readable")
	}
	if t.Failed() {
		t.Log(body)
	}
}
