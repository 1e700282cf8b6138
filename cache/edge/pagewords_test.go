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
	h := &Handler{}
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
			h.writePage(w, r, http.StatusGatewayTimeout, kind, list)
			pagetest.Check(t, w.Body.String(), lang)
			for i, name := range []string{both.In(lang).Home, "maths/index.html", "été/index.html", "a.html", "dir/"} {
				if list != nil && !strings.Contains(w.Body.String(), `<a href="`+held[i]+`">`+name+"</a>") {
					t.Errorf("%s is not called %s", held[i], name)
				}
			}
			r.Header.Set("Accept", "*/*")
			w = httptest.NewRecorder()
			h.writePage(w, r, http.StatusGatewayTimeout, kind, list)
			if want := both.In(lang).Title + ". " + both.In(lang).Text + "\n"; w.Body.String() != want {
				t.Errorf("a script is told %q, want %q", w.Body, want)
			}
		}
	}
}

// Who can't get to a site is led to what is here, whatever is the matter.
func TestPagesLeadToWhatIsHere(t *testing.T) {
	h := &Handler{}
	h.SetHome(func(r *http.Request) string {
		if r.Host == "cloud.example" {
			return "https://box-1.example.org/"
		}
		return "/"
	})
	ask := func(host, accept string, lang page.Lang, kind trouble) string {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/x", http.NoBody)
		r.Header.Set("Accept", accept)
		r.Header.Set("Accept-Language", string(lang))
		w := httptest.NewRecorder()
		h.writePage(w, r, http.StatusGatewayTimeout, kind, nil)
		return w.Body.String()
	}
	for kind, both := range pageWords {
		before := len(both.French.Links)
		for _, lang := range []page.Lang{page.French, page.English} {
			for host, to := range map[string]string{"cloud.example": "https://box-1.example.org/", "preau.local": "/"} {
				for range 2 { // and it adds up to nothing
					body := ask(host, "text/html", lang, kind)
					pagetest.Check(t, body, lang)
					if want := `<a href="` + to + `">` + toHome.In(lang) + "</a>"; strings.Count(body, want) != 1 {
						t.Errorf("%d at %s: %q is there %d times", kind, host, want, strings.Count(body, want))
					}
				}
			}
			if body := ask("cloud.example", "*/*", lang, kind); strings.Contains(body, "box-1") {
				t.Errorf("a script is told %q", body)
			}
		}
		if len(pageWords[kind].French.Links) != before {
			t.Error("the words have grown")
		}
	}
	h.SetHome(nil)
	if body := ask("cloud.example", "text/html", page.French, troubleOffline); strings.Contains(body, toHome.French) {
		t.Error("it leads where nothing is")
	}
}
