package locate_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"preau/node/locate"
)

// listed are the sites of these tests.
func listed(tb testing.TB) *locate.Sites {
	tb.Helper()
	s, err := locate.NewSites([]locate.Site{
		{Name: "cloud", Upstream: "https://cloud.example.org", Hosts: []string{"nuage.example.org", "*.cloud.example.org", "*"}},
		{Name: "docs", Upstream: "http://docs.example.org:8080/library/"},
		{Name: "films", Upstream: "https://tubes.example.org"},
		{Name: "films-old", Upstream: "https://tubes.example.org/old"},
		{Name: "lan", Upstream: "http://10.1.2.3:8000", Hosts: []string{"192.0.2.80"}},
		{Name: "six", Upstream: "https://[2001:db8::1]"},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestListedURLsAreMadeAnewOfTheirParts(t *testing.T) {
	box := locate.Announcement{Host: "school-1.boxes.example.net", Port: 443, Hosts: map[string]string{"films": "films.school-1.boxes.example.net"}}
	tests := []struct{ raw, origin, box string }{
		{"https://cloud.example.org/s/AbC?path=%2F&files=a%20b", "https://cloud.example.org/s/AbC?path=%2F&files=a%20b", "/o/cloud/s/AbC?path=%2F&files=a%20b"},
		{"HTTPS://CLOUD.example.ORG.:443", "https://cloud.example.org/", "/o/cloud/"},
		{"http://cloud.example.org/x", "https://cloud.example.org/x", "/o/cloud/x"}, // the site is there
		{"https://nuage.example.org/x#page=3", "https://nuage.example.org/x#page=3", "/o/cloud/x#page=3"},
		{"http://a.b.cloud.example.org/", "http://a.b.cloud.example.org/", "/o/cloud/"},
		{"http://docs.example.org:8080/library/6e/été.pdf", "http://docs.example.org:8080/library/6e/%C3%A9t%C3%A9.pdf", "/o/docs/6e/%C3%A9t%C3%A9.pdf"},
		{"http://docs.example.org:8080/library", "http://docs.example.org:8080/library/", "/o/docs/"},
		{"https://cloud.example.org/a/../../b/./c/%2e%2E/d", "https://cloud.example.org/b/d", "/o/cloud/b/d"},
		{"https://cloud.example.org/a/%2e", "https://cloud.example.org/a/", "/o/cloud/a/"},
		{"https://cloud.example.org/a/..", "https://cloud.example.org/", "/o/cloud/"},
		{"https://cloud.example.org//evil.example.com/x", "https://cloud.example.org//evil.example.com/x", "/o/cloud//evil.example.com/x"},
		{"https://cloud.example.org/?u=https://evil.example.com/", "https://cloud.example.org/?u=https://evil.example.com/", "/o/cloud/?u=https://evil.example.com/"},
		{`https://cloud.example.org/?a="<b>"`, "https://cloud.example.org/?a=%22%3Cb%3E%22", "/o/cloud/?a=%22%3Cb%3E%22"},
		{"https://cloud.example.org/%2F..%2Fx?", "https://cloud.example.org/%2F..%2Fx?", "/o/cloud/%2F..%2Fx?"},
		{"https://tubes.example.org/old/w/1", "https://tubes.example.org/old/w/1", "/o/films-old/w/1"},
		{"http://10.1.2.3:8000/a", "http://10.1.2.3:8000/a", "/o/lan/a"},
		{"https://192.0.2.80/a", "https://192.0.2.80/a", "/o/lan/a"},
		{"https://[2001:DB8::1]/a", "https://[2001:db8::1]/a", "/o/six/a"},
	}
	s := listed(t)
	for _, tt := range tests {
		got, err := s.Parse(tt.raw)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		if got.Origin() != tt.origin {
			t.Errorf("%s leads to %s, want %s", tt.raw, got.Origin(), tt.origin)
		}
		if want := "https://school-1.boxes.example.net" + tt.box; got.On(box) != want {
			t.Errorf("%s leads to %s on a box, want %s", tt.raw, got.On(box), want)
		}
	}
	film, err := s.Parse("https://tubes.example.org/w/1?start=2")
	if err != nil {
		t.Fatal(err)
	}
	box.Port = 8443
	if got, want := film.On(box), "https://films.school-1.boxes.example.net:8443/w/1?start=2"; got != want {
		t.Errorf("a site with a name of its own on the box is at %s, want %s", got, want)
	}
}

func TestAllOtherURLsAreRefused(t *testing.T) {
	s := listed(t)
	for _, raw := range []string{
		"", "/s/x", "//cloud.example.org/", "cloud.example.org", "https:", "https://", "https:///x", "https:cloud.example.org",
		"https://evil.example.com/", "https://cloud.example.org.evil.example.com/", "https://evilcloud.example.org/",
		"https://cloud.example.org@evil.example.com/", "https://evil.example.com\\@cloud.example.org/", "https://cloud.example.org\\@evil.example.com/",
		"https://cloud.example.org\\.evil.example.com/", "https:\\\\cloud.example.org/", "https://cloud.example.org/a\\..\\b",
		"https://user@cloud.example.org/", "https://:@cloud.example.org/", "https://cloud.example.org:8443/", "https://cloud.example.org:80/",
		"http://cloud.example.org:443/", "ftp://cloud.example.org/", "javascript:alert(1)//cloud.example.org/", "data:text/html,x",
		"https://cloud.example.org/\r\nSet-Cookie: a=b", "https://cloud.example.org/\x00", " https://cloud.example.org/", "https://cloud.example.org/a b",
		"https://cloud.example.org\t/", "https://cloud.example.org/\u0085", "https://cloud.example.org/\u2028", "https://cloud.example.org/\xff",
		"https://cloud%2eexample.org/", "https://cloud.example.org%00.evil.example.com/", "https://clo\u00adud.example.org/", "https://cloud。example.org/",
		"https://[::1]/", "https://[::ffff:10.1.2.3]:8000/", "https://127.0.0.1/", "http://10.1.2.3/", "https://-a.cloud.example.org/", "https://.cloud.example.org/",
		"http://docs.example.org:8080/", "http://docs.example.org:8080/library/../admin", "http://docs.example.org:8080/libraryx", "http://docs.example.org/library/",
		"https://cloud.example.org:/%zz", "https://cloud.example.org/%", "https://cloud.example.org:99999/", "https://*/", "https://localhost/",
		"https://cloud.example.org/" + strings.Repeat("a", 9000),
	} {
		if got, err := s.Parse(raw); !errors.Is(err, locate.ErrRefused) {
			t.Errorf("%.80q is let through to %s, %v", raw, got.Origin(), err)
		}
	}
}

func TestSitesThatCannotBeAreRefused(t *testing.T) {
	for _, site := range []locate.Site{
		{Name: "", Upstream: "https://a.example"}, {Name: "A", Upstream: "https://a.example"}, {Name: "../x", Upstream: "https://a.example"},
		{Name: "a", Upstream: ""}, {Name: "a", Upstream: "ftp://a.example"}, {Name: "a", Upstream: "https://u:p@a.example"}, {Name: "a", Upstream: "https://a.example/?x"},
		{Name: "a", Upstream: "https://a_.ex ample"}, {Name: "a", Upstream: "https://a.example", Hosts: []string{"*.org"}},
		{Name: "a", Upstream: "https://a.example", Hosts: []string{"a.*.org"}}, {Name: "a", Upstream: "https://a.example", Hosts: []string{"https://b.example"}},
		{Name: "a", Upstream: "https://a.example", Hosts: []string{""}},
	} {
		if _, err := locate.NewSites([]locate.Site{site}); err == nil {
			t.Errorf("%+v is taken", site)
		}
	}
}

func FuzzWhatIsLetThroughLeadsNowhereElse(f *testing.F) {
	for _, seed := range []string{
		"https://cloud.example.org/s/x?y=z#w", "https://tubes.example.org/old/../../x", "http://docs.example.org:8080/library/a%2e%2e/%2e%2e;x",
		"https://a.cloud.example.org\\@evil.example.com/", "https://cloud.example.org/%2e%2e%2f", "https://10.1.2.3:8000//x", "https://[2001:db8::1]/%5c..%5c",
		"HTTPS://nuage.example.org:443?a#b#c", "https://cloud.example.org/\xc3\xa9\"<>`", "https://cloud.example.org/..\x0a",
	} {
		f.Add(seed)
	}
	s := listed(f)
	hosts := map[string]bool{
		"https://cloud.example.org": true, "http://docs.example.org:8080": true, "https://tubes.example.org": true, "http://10.1.2.3:8000": true, "https://[2001:db8::1]": true,
	}
	box := locate.Announcement{Host: "school-1.boxes.example.net", Port: 443}
	f.Fuzz(func(t *testing.T, raw string) {
		target, err := s.Parse(raw)
		if err != nil {
			return
		}
		origin, on := target.Origin(), target.On(box)
		for _, out := range []string{origin, on} {
			if strings.ContainsFunc(out, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>`", r) }) {
				t.Fatalf("%q leads to %q, which browsers may read in another way", raw, out)
			}
		}
		u, err := url.Parse(origin)
		if err != nil || u.User != nil {
			t.Fatalf("%q leads to %q: %v", raw, origin, err)
		}
		host := u.Hostname()
		further := host == "nuage.example.org" || host == "192.0.2.80" || strings.HasSuffix(host, ".cloud.example.org")
		if !hosts[u.Scheme+"://"+u.Host] && (!further || u.Port() != "" || u.Scheme != "http" && u.Scheme != "https") {
			t.Fatalf("%q leads to %q, which is none of the sites", raw, origin)
		}
		b, err := url.Parse(on)
		if err != nil || b.Scheme != "https" || b.Host != box.Host {
			t.Fatalf("%q leads to %q, which is not the box: %v", raw, on, err)
		}
		// As a browser reads it (RFC 3986 §5.2.4, and %2e as a dot).
		path := b.EscapedPath()
		if !strings.HasPrefix(path, "/o/"+target.Site+"/") {
			t.Fatalf("%q leaves the site's part of the box: %q", raw, on)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if plain := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); plain == "." || plain == ".." {
				t.Fatalf("%q leaves dots for the browser: %q", raw, on)
			}
		}
		again, err := s.Parse(origin)
		if err != nil || again.Origin() != origin || again.On(box) != on {
			t.Fatalf("%q is read as %q once and as %q then: %v", raw, origin, again.Origin(), err)
		}
	})
}
