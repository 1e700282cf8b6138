package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"preau/cache/page"
)

var greeting = page.Must(`<p>{{.Greeting}}</p>`)

type words struct{ Greeting string }

func ask(method string, fields ...string) *http.Request {
	r := httptest.NewRequest(method, "/", http.NoBody)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func write(t *testing.T, method string, a page.Answer) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := greeting.Write(w, ask(method), a); err != nil {
		t.Fatal(err)
	}
	return w
}

var usual = page.Answer{Status: http.StatusNotFound, Lang: page.French, Title: "L’<élève>", Body: words{`<script>alert("x")</script>`}}

func TestAPage(t *testing.T) {
	w := write(t, http.MethodGet, usual)
	body := w.Body.String()
	for _, want := range []string{
		"<!doctype html>", `<html lang="fr">`, `<meta name="viewport"`, "<title>L’&lt;élève&gt;</title>", "<main>", "<h1>L’&lt;élève&gt;</h1>",
		"<p>&lt;script&gt;",
	} {
		if strings.Count(body, want) != 1 {
			t.Errorf("%q is not on the page once:\n%s", want, body)
		}
	}
	for _, never := range []string{"<script", "ZgotmplZ", "{{"} {
		if strings.Contains(body, never) {
			t.Errorf("%q is on the page:\n%s", never, body)
		}
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Content-Language": "fr", "Content-Length": strconv.Itoa(len(body)),
		"Vary": page.Vary, "X-Content-Type-Options": "nosniff", "Cache-Control": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if w.Code != http.StatusNotFound {
		t.Errorf("status %d", w.Code)
	}
	head := write(t, http.MethodHead, usual)
	if head.Code != w.Code || head.Body.Len() != 0 || head.Header().Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("HEAD: %d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
	}
}

var styles = regexp.MustCompile(`(?s)<style>(.*?)</style>`)

func styleOf(t *testing.T, body string) string {
	t.Helper()
	m := styles.FindAllStringSubmatch(body, -1)
	if len(m) != 1 || m[0][1] == "" {
		t.Fatalf("there are %d styles", len(m))
	}
	return m[0][1]
}

func TestAPageLoadsNothing(t *testing.T) {
	w := write(t, http.MethodGet, usual)
	sum := sha256.Sum256([]byte(styleOf(t, w.Body.String())))
	want := map[string]string{
		"default-src": "'none'", "style-src": "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
		"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'self'",
	}
	policy := w.Header().Get("Content-Security-Policy")
	for part := range strings.SplitSeq(policy, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), " ")
		if want[name] != value {
			t.Errorf("%s is %q, want %q", name, value, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("%q lacks %v", policy, want)
	}
	for _, never := range []string{"url(", "@import", "src=", "http:", "https:"} {
		if strings.Contains(w.Body.String(), never) {
			t.Errorf("the page has %q", never)
		}
	}
}

func TestWhatCantBeMadeIsNotBegun(t *testing.T) {
	w := httptest.NewRecorder()
	a := usual
	a.Body = struct{ Other string }{"no greeting"}
	if err := greeting.Write(w, ask(http.MethodGet), a); err == nil {
		t.Error("no error")
	}
	if len(w.Header()) > 0 || w.Body.Len() > 0 {
		t.Errorf("fields %v, %d bytes", w.Header(), w.Body.Len())
	}
}

func TestAsked(t *testing.T) {
	tests := map[string]struct {
		fields []string
		want   string
	}{
		"nothing":               {nil, ""},
		"whatever":              {[]string{"Accept", "*/*"}, ""},
		"a browser":             {[]string{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "text/html"},
		"a program":             {[]string{"Accept", "application/json, text/html;q=0.5"}, "application/json"},
		"people first":          {[]string{"Accept", "text/html, application/json"}, "text/html"},
		"in capitals":           {[]string{"Accept", " Text/HTML ;level=1"}, "text/html"},
		"in the second line":    {[]string{"Accept", "image/png", "Accept", "text/html"}, "text/html"},
		"types that look alike": {[]string{"Accept", "text/html5, xtext/html, application/json+ld"}, ""},
		"a picture":             {[]string{"Accept", "image/avif,image/*,*/*;q=0.8"}, ""},
	}
	for name, tt := range tests {
		if got := page.Asked(ask(http.MethodGet, tt.fields...), "text/html", "application/json"); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
