package box

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"preau/node/front"
)

// nosy is a site that would like to know who is signed in to the box.
func nosy(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Service-Worker-Allowed", "/")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Clear-Site-Data", `"cookies"`)
		h.Add("Set-Cookie", "__Host-preau=mine; Path=/; Secure")
		h.Add("Set-Cookie", "preau=mine; Path=/")
		h.Add("Set-Cookie", "basket=full")
		h.Set("Cache-Control", "no-store")
		io.WriteString(w, "cookies: "+strings.Join(r.Header["Cookie"], "|"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestASiteAndTheBoxesPagesHaveNothingOfEachOther(t *testing.T) {
	b := openedBoxWith(t, func(c *Config) { c.Site = []front.Site{siteOf(nosy(t), "library.example")} })
	ask := func(host, path string, cookies ...string) (string, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.Addrs()[0].String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header["Cookie"] = cookies
		client := newBrowser(t, b).http
		client.Jar = nil
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), resp.Header
	}
	for _, path := range []string{"/o/library/page", "/fr/../o/library/page"} {
		body, h := ask("preau.local", path, "a=1; preau=secret; b=2", "__Host-preau=secret; __Host-preau-try=x", "preau-try=y; c=3")
		if strings.HasPrefix(body, "cookies:") && body != "cookies: a=1; b=2|c=3" && body != "cookies: a=1; b=2; c=3" {
			t.Errorf("%s: the site got %q", path, body)
		}
		if strings.Contains(body, "secret") {
			t.Errorf("%s: the site got a session: %q", path, body)
		}
		for _, name := range []string{"Service-Worker-Allowed", "Clear-Site-Data"} {
			if h.Get(name) != "" {
				t.Errorf("%s: %s: %s", path, name, h.Get(name))
			}
		}
		if set := h.Values("Set-Cookie"); len(set) > 1 || len(set) == 1 && set[0] != "basket=full" {
			t.Errorf("%s sets %q", path, set)
		}
	}
	body, h := ask("preau.local", "/o/library/page", "preau=secret")
	if body != "cookies: " || h.Get("Cross-Origin-Opener-Policy") != "" {
		t.Errorf("%q %v", body, h)
	}
	// Under its own name a site has a host of its own.
	if body, h := ask("library.example", "/page", "preau=theirs"); body != "cookies: preau=theirs" || h.Get("Service-Worker-Allowed") != "/" {
		t.Errorf("%q %v", body, h)
	}
}

// A script on the box's own host, of whatever site, is nobody, though its browser
// sends the cookies along.
func TestAScriptIsNobodyWithoutTheToken(t *testing.T) {
	b := openedBoxWith(t, func(c *Config) { c.Site = []front.Site{siteOf(site(t), "library.example")} })
	code, _ := b.staff.auth.Claim()
	admin := newBrowser(t, b)
	page := admin.post("/en/claim", "", url.Values{"code": {code}})
	token := admin.first(page, tokenField)
	for _, path := range []string{"/en/", "/en/c/", "/en/sites", "/en/school/", "/en/teach/", "/en/sign-in", "/en/sign-out"} {
		for _, dest := range []string{"empty", "iframe", "script", "object"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin.base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Sec-Fetch-Dest", dest)
			resp, err := admin.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if strings.Contains(string(text), token) || strings.Contains(string(text), "How the box is") {
				t.Errorf("%s for %s tells who is signed in", path, dest)
			}
		}
	}
	admin.do(http.StatusOK, http.MethodGet, "/en/school/log?token="+url.QueryEscape(token), nil, "Sec-Fetch-Dest", "empty")
	admin.do(http.StatusOK, http.MethodGet, "/en/school/log", nil, "Sec-Fetch-Dest", "empty", "X-Preau-Token", token)
	_, h := admin.do(http.StatusOK, http.MethodGet, "/en/school/", nil, "Sec-Fetch-Dest", "document")
	if h.Get("Cross-Origin-Opener-Policy") != "same-origin" {
		t.Error("who opened a page's window keeps hold of it")
	}
}
