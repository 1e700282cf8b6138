package edge_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/edge"
	"preau/cache/rfc9111"
	"preau/cache/upstream"
)

// sites is an edge of several sites over one origin, without storage.
func sites(t *testing.T, o *origin, list ...edge.Site) *world {
	t.Helper()
	w := &world{origin: o, t: t}
	log := slog.New(slog.DiscardHandler)
	var all []*edge.Site
	for i := range list {
		to := &url.URL{Scheme: "http", Host: o.addr, Path: "/" + list[i].Name}
		up, err := upstream.New(lineConfig(list[i].Name, to), log, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		run(t, up.Run)
		list[i].Upstream, list[i].Rules = up, rfc9111.DefaultRules()
		all = append(all, &list[i])
	}
	var err error
	if w.edge, err = edge.New(all, log, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.edge.Close)
	w.front = httptest.NewServer(w.edge)
	t.Cleanup(w.front.Close)
	tr := &http.Transport{}
	w.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(tr.CloseIdleConnections)
	return w
}

func TestSitesAreFoundByHostAndPath(t *testing.T) {
	o := newOrigin(t)
	o.answer(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	w := sites(t, o, edge.Site{Name: "one", Hosts: []string{"one.example"}}, edge.Site{Name: "two", Hosts: []string{"*.two.example"}},
		edge.Site{Name: "pad"}, edge.Site{Name: "rest", Hosts: []string{"*"}})
	tests := map[string]struct{ host, path, want string }{
		"exact":                  {"one.example", "/a", "/one/a"},
		"exact, other case":      {"ONE.Example:8080", "/a", "/one/a"},
		"exact, with dot":        {"one.example.", "/a", "/one/a"},
		"wildcard":               {"x.two.example", "/a", "/two/a"},
		"wildcard, deep":         {"y.x.two.example", "/a", "/two/a"},
		"not of the wildcard":    {"two.example", "/a", "/rest/a"},
		"anything":               {"10.0.0.1:80", "/a", "/rest/a"},
		"IPv6":                   {"[::1]:8080", "/a", "/rest/a"},
		"IPv6 without port":      {"[::1]", "/a", "/rest/a"},
		"by path":                {"box", "/o/pad/x/y?z=1", "/pad/x/y?z=1"},
		"by path, root":          {"box", "/o/pad/", "/pad/"},
		"by path, unknown":       {"box", "/o/none/x", "/rest/o/none/x"},
		"path of another's host": {"one.example", "/o/pad/x", "/one/o/pad/x"},
		"path of its own host":   {"one.example", "/o/one/x", "/one/x"},
		"encoded slash":          {"box", "/o/pad%2Fx/y", "/rest/o/pad%2Fx/y"},
		"encoding is kept":       {"box", "/o/pad/a%2Fb%20c;d,e", "/pad/a%2Fb%20c;d,e"},
		"double slash":           {"box", "/o/pad//x", "/pad//x"},
		"empty query":            {"box", "/o/pad/x?", "/pad/x?"},
		"dots inside":            {"box", "/o/pad/a/../b", "/pad/a/../b"},
	}
	for name, tt := range tests {
		t.Run(name, func(_ *testing.T) {
			w.want(w.get(tt.path, "Host", tt.host), 200, tt.want)
		})
	}
}

func TestPathsThatLeaveTheSite(t *testing.T) {
	o := newOrigin(t)
	w := sites(t, o, edge.Site{Name: "pad", Hosts: []string{"*"}})
	for _, path := range []string{"/../secret", "/a/../../secret", "/%2e%2e/secret", "/.%2E/secret", "/..%2fsecret", "/..%5csecret",
		"/..;x=1/secret", "/o/pad/../secret", "/o/pad/%2e%2e/secret", "/./../secret", "//../secret"} {
		if got := w.raw("GET " + path + " HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n"); got.StatusCode != 400 {
			t.Errorf("%s: status %d", path, got.StatusCode)
		}
	}
	w.wantAsked(0)
}

// raw sends a request as it is.
func (w *world) raw(request string) *http.Response {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("%q: %v", request, err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(strings.NewReader(string(b)))
	return resp
}

func TestOddRequests(t *testing.T) {
	o := newOrigin(t)
	o.answer(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+" "+r.RequestURI) })
	w := sites(t, o, edge.Site{Name: "pad", Hosts: []string{"pad.example"}})
	tests := map[string]struct {
		request string
		status  int
		want    string
	}{
		"absolute form":          {"GET http://pad.example/a HTTP/1.1\r\nHost: other\r\n\r\n", 200, o.addr + " /pad/a"},
		"absolute, no path":      {"GET http://pad.example HTTP/1.1\r\nHost: other\r\n\r\n", 200, o.addr + " /pad/"},
		"absolute, foreign":      {"GET http://evil.example/a HTTP/1.1\r\nHost: pad.example\r\n\r\n", 404, ""},
		"absolute, own address":  {"GET http://" + o.addr + "/a HTTP/1.1\r\nHost: pad.example\r\n\r\n", 404, ""},
		"connect":                {"CONNECT pad.example:443 HTTP/1.1\r\nHost: pad.example:443\r\n\r\n", 405, ""},
		"connect to the site":    {"CONNECT /a HTTP/1.1\r\nHost: pad.example\r\n\r\n", 405, ""},
		"unknown host":           {"GET /a HTTP/1.1\r\nHost: nobody.example\r\n\r\n", 404, ""},
		"no host":                {"GET /a HTTP/1.0\r\n\r\n", 404, ""},
		"HTTP/1.0":               {"GET /a HTTP/1.0\r\nHost: pad.example\r\n\r\n", 200, o.addr + " /pad/a"},
		"opaque":                 {"GET mailto:x HTTP/1.1\r\nHost: pad.example\r\n\r\n", 200, o.addr + " /pad/"},
		"redirect to the folder": {"GET /o/pad?x=1&y HTTP/1.1\r\nHost: box\r\n\r\n", 308, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			resp := w.raw(strings.Replace(tt.request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || tt.want != "" && string(b) != tt.want {
				t.Errorf("status %d, %q", resp.StatusCode, b)
			}
			if tt.status == 308 && resp.Header.Get("Location") != "/o/pad/?x=1&y" {
				t.Errorf("Location %q", resp.Header.Get("Location"))
			}
		})
	}
}

func TestLocationsLeadToTheBox(t *testing.T) {
	o := newOrigin(t)
	o.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.Header.Get("X-Say"))
		w.WriteHeader(302)
	})
	w := sites(t, o, edge.Site{Name: "pad", Hosts: []string{"pad.example"}})
	here := "http://" + o.addr
	tests := map[string]struct{ say, host, path string }{
		"relative":            {"x/y", "x/y", "x/y"},
		"site's path":         {"/pad/x?q#f", "/x?q#f", "/o/pad/x?q#f"},
		"absolute":            {here + "/pad/x", "/x", "/o/pad/x"},
		"the base itself":     {here + "/pad", "/", "/o/pad/"},
		"outside the base":    {here + "/padding/x", here + "/padding/x", here + "/padding/x"},
		"elsewhere":           {"http://evil.example/pad/x", "http://evil.example/pad/x", "http://evil.example/pad/x"},
		"other scheme":        {"https://" + o.addr + "/pad/x", "https://" + o.addr + "/pad/x", "https://" + o.addr + "/pad/x"},
		"double slash":        {here + "/pad//evil.example/", "/.//evil.example/", "/o/pad//evil.example/"},
		"backslash":           {here + `/pad/\evil.example/`, "/%5Cevil.example/", "/o/pad/%5Cevil.example/"},
		"a scheme of its own": {"intent:/pad/x", "intent:/pad/x", "intent:/pad/x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := w.get("/a", "Host", "pad.example", "X-Say", tt.say).header.Get("Location"); got != tt.host {
				t.Errorf("by host: %q, want %q", got, tt.host)
			}
			if got := w.get("/o/pad/a", "X-Say", tt.say).header.Get("Location"); got != tt.path {
				t.Errorf("by path: %q, want %q", got, tt.path)
			}
		})
	}
}

func TestCookiesOfSitesOnOneHostAreKeptApart(t *testing.T) {
	o := newOrigin(t)
	o.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "a=1; Path=/; Domain=site.example; HttpOnly")
		w.Header().Add("Set-Cookie", "b=2; path=/pad/x")
		w.Header().Add("Set-Cookie", "c=3; Secure")
	})
	w := sites(t, o, edge.Site{Name: "pad", Hosts: []string{"pad.example"}})
	got := w.get("/o/pad/x/y").header.Values("Set-Cookie")
	want := []string{"a=1; Path=/o/pad/; HttpOnly", "b=2; Path=/o/pad/x", "c=3; Secure"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
}
