package edge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"preau/cache/page"
	"preau/cache/page/pagetest"
)

func TestPagesAreForEverybody(t *testing.T) {
	held := []string{"/", "/maths/index.html", "/%C3%A9t%C3%A9/index.html", "/a.html", "/dir/"}
	for kind, both := range pageWords {
		pagetest.Complete(t, both)
		for _, lang := range []page.Lang{page.French, page.English} {
			var list []listed
			for _, p := range held {
				list = append(list, listed{Link: link(p), Name: readable(lastOf(p)), path: p})
			}
			if kind == troubleUnknown || kind == troubleGone {
				list = nil
			}
			r := httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Accept-Language", string(lang))
			w := httptest.NewRecorder()
			writePage(w, r, http.StatusGatewayTimeout, kind, list)
			pagetest.Check(t, w.Body.String(), lang)
			for i, name := range []string{both.In(lang).Home, "maths/index.html", "été/index.html", "a.html", "dir/"} {
				if list != nil && !strings.Contains(w.Body.String(), `<a href="`+held[i]+`">`+name+"</a>") {
					t.Errorf("%s is not called %s", held[i], name)
				}
			}
			r.Header.Set("Accept", "*/*")
			w = httptest.NewRecorder()
			writePage(w, r, http.StatusGatewayTimeout, kind, list)
			if want := both.In(lang).Title + ". " + both.In(lang).Text + "\n"; w.Body.String() != want {
				t.Errorf("a script is told %q, want %q", w.Body, want)
			}
		}
	}
}
