package look_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"preau/cache/page"
	"preau/node/portal/look"
)

var list = look.Must("list.html", fstest.MapFS{
	"list.html": {Data: []byte(`<ul role="list">{{range .Body}}{{template "item.html" ($.With .)}}{{end}}</ul><p>{{$.Words}}</p>`)},
	"item.html": {Data: []byte(`<li id="i"><a href="{{.Path "/see/r/"}}{{.Body}}">{{.Body}}</a></li>`)},
}, "item.html")

func get(t *testing.T, h http.Handler, path string, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	h.ServeHTTP(w, r)
	return w
}

func writer(p look.Page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := list.Write(w, r, p); err != nil {
			look.Fail(w, r, http.StatusInternalServerError, page.Notice{Title: "No"})
		}
	})
}

func TestAPageSaysWhatItMayLoad(t *testing.T) {
	w := get(t, writer(look.Page{Title: "Été", Body: []string{"<a>", "b"}, Words: "mots"}), "/c/x?q=1")
	h := w.Header()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Content-Language": "fr", "Cache-Control": "no-cache",
		"X-Content-Type-Options": "nosniff", "Vary": "Accept, Accept-Encoding, Accept-Language", "Set-Cookie": "", "Referrer-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, want := range []string{
		`<html lang="fr">`, "<title>Été · Préau</title>", "<h1>Été</h1>", `<a href="/see/r/%3ca%3e">&lt;a&gt;</a>`, `<a href="/see/r/b">b</a>`, "mots",
		`href="/en/c/x?q=1" hreflang="en"`, `<a class="skip" href="#main">`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(w.Body.String(), "<style") || strings.Contains(w.Body.String(), "style=") {
		t.Error("there is style on the page itself")
	}
}

func TestFormsLeadElsewhereOnlyIfSaid(t *testing.T) {
	w := get(t, writer(look.Page{Title: "T", Streams: true, FormTo: []string{"https://id.example/x?y", "javascript:alert(1)", "https://a; script-src *"}}), "/")
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "form-action 'self' https://id.example;") || !strings.Contains(policy, "media-src 'self' blob:;") || strings.Contains(policy, "*") {
		t.Error(policy)
	}
}

func TestTheSamePageIsNotSentTwice(t *testing.T) {
	h := writer(look.Page{Title: "T"})
	tag := get(t, h, "/", "Accept-Encoding", "gzip").Header().Get("Etag")
	again := get(t, h, "/", "If-None-Match", tag)
	if tag == "" || again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("%q: %d, %d bytes", tag, again.Code, again.Body.Len())
	}
	if other := get(t, writer(look.Page{Title: "U"}), "/", "If-None-Match", tag); other.Code != http.StatusOK {
		t.Errorf("another page: %d", other.Code)
	}
}

func TestNothingIsKeptOfWhatAPersonSees(t *testing.T) {
	house := look.House{
		Title: "École <1>",
		Nav: func(*http.Request) []look.NavItem {
			return []look.NavItem{{To: "/teach/", Label: "Cours", Icon: "lesson"}}
		},
		Person: func(*http.Request) *look.Person {
			return &look.Person{Name: "Ada", SignOut: look.NavItem{To: "/sign-out", Label: "Sortir"}, Token: "t1"}
		},
	}
	w := get(t, look.In(house, look.Spoken(writer(look.Page{Title: "T"}))), "/en/teach/new", "Accept-Encoding", "gzip")
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Etag") != "" || w.Header().Get("Content-Encoding") != "" {
		t.Error(w.Header())
	}
	for _, want := range []string{"T · École &lt;1&gt;", `href="/en/teach/" aria-current="page"`, "Ada", `action="/en/sign-out"`, `value="t1"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %s:\n%s", want, w.Body)
		}
	}
}

func TestTheLanguageStaysChosen(t *testing.T) {
	h := look.Spoken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", string(look.Lang(r))+" "+string(page.Language(r))+" "+r.URL.EscapedPath()+" "+look.Path(r, "/find"))
	}))
	for path, want := range map[string]string{
		"/":              "fr fr / /find",
		"/find?q=a":      "fr fr /find /find",
		"/en/":           "en en / /en/find",
		"/en/c/a%2Fb":    "en en /c/a%2Fb /en/find",
		"/fr/c/x":        "fr fr /c/x /fr/find",
		"/english":       "fr fr /english /find",
		"/en/fr/c":       "en en /fr/c /en/find",
		"/fr/%C3%A9t%C3": "fr fr /%C3%A9t%C3 /fr/find",
	} {
		if got := get(t, h, path).Header().Get("X-Seen"); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if w := get(t, h, "/en?x=1"); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "/en/?x=1" {
		t.Errorf("%d %s", w.Code, w.Header().Get("Location"))
	}
	if got := get(t, h, "/find", "Accept-Language", "en").Header().Get("X-Seen"); got != "en en /find /find" {
		t.Error(got)
	}
}

func TestTroubleIsSaidKindly(t *testing.T) {
	n := page.Notice{Title: "Rien ici", Text: "Peut-être ailleurs.", Advice: "Cherchez.", Links: []page.Link{{To: "/", Label: "Accueil"}}}
	h := look.Spoken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { look.Fail(w, r, http.StatusNotFound, n) }))
	w := get(t, h, "/x", "Accept", "text/html")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "<h1>Rien ici</h1>") || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v\n%s", w.Code, w.Header(), w.Body)
	}
	if w := get(t, h, "/x"); w.Body.String() != "Rien ici. Peut-être ailleurs.\n" {
		t.Errorf("for programs: %q", w.Body)
	}
}
