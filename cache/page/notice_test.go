package page_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"preau/cache/page"
	"preau/cache/page/pagetest"
)

var lost = page.Notice{
	Title: "There is no <b>", Text: "It was never here.", Advice: "Look elsewhere.",
	Links: []page.Link{{To: "/r/", Label: "All"}, {Label: "Again"}},
}

func TestANotice(t *testing.T) {
	w := httptest.NewRecorder()
	lost.Write(w, ask(http.MethodGet, "Accept", "text/html"), http.StatusGone, page.English)
	body := w.Body.String()
	for _, want := range []string{
		`lang="en"`, "<h1>There is no &lt;b&gt;</h1>", "<p>It was never here.</p>", "<p>Look elsewhere.</p>",
		`<a href="/r/">All</a>`, `<a href="">Again</a>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	pagetest.Check(t, body, page.English)
	if w.Code != http.StatusGone || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	short := httptest.NewRecorder()
	page.Notice{Title: "No"}.Write(short, ask(http.MethodGet, "Accept", "text/html"), http.StatusGone, page.French)
	if body := short.Body.String(); strings.Contains(body, "<p") || strings.Contains(body, "<a") {
		t.Errorf("of nothing to say there is something:\n%s", body)
	}
}

func TestANoticeForPrograms(t *testing.T) {
	w := httptest.NewRecorder()
	lost.Write(w, ask(http.MethodGet, "Accept", "video/mp4"), http.StatusGone, page.English)
	if got, want := w.Body.String(), "There is no <b>. It was never here.\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "Content-Language": "en", "X-Content-Type-Options": "nosniff", "Content-Length": "36",
		"Vary": page.Vary, "Content-Security-Policy": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := (page.Notice{Title: "No"}).String(); got != "No." {
		t.Errorf("%q", got)
	}
	head := httptest.NewRecorder()
	lost.Write(head, ask(http.MethodHead), http.StatusGone, page.English)
	if head.Code != http.StatusGone || head.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", head.Code, head.Body.Len())
	}
}
