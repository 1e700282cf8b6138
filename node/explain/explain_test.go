package explain_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"preau/node/explain"
	"preau/node/front"
)

func sites() []front.Site {
	var out []front.Site
	for _, s := range []struct{ name, upstream, profile, host string }{
		{"cloud", "https://cloud.example.org/nextcloud", "nextcloud", "cloud.school.example"},
		{"blog", "https://blog.example.org", "wordpress", "*.blogs.school.example"},
		{"plain", "https://plain.example.org", "rfc9111", ""},
	} {
		var site front.Site
		site.SetDefaults()
		site.Name, site.Upstream, site.Profile = s.name, s.upstream, s.profile
		if s.host != "" {
			site.Hosts = []string{s.host}
		}
		out = append(out, site)
	}
	return out
}

func TestAURLIsExplainedByItsOwnSite(t *testing.T) {
	for _, test := range []struct{ url, site, action string }{
		{"https://cloud.example.org/nextcloud/public.php/dav/files/AbC/a.pdf", "cloud", "share"},
		{"https://cloud.school.example/public.php/dav/files/AbC/a.pdf", "cloud", "share"},
		{"http://10.0.0.1/o/cloud/public.php/dav/files/AbC/a.pdf", "cloud", "share"},
		{"/o/cloud/remote.php/dav/files/ada/a.pdf", "cloud", "pass"},
		{"https://cloud.example.org/nextcloud/s/AbC/download", "cloud", "archive"},
		{"https://maths.blogs.school.example/2026/09/", "blog", "share"},
		{"https://plain.example.org", "plain", "standard"},
	} {
		a, err := explain.Ask(sites(), explain.Question{URL: test.url})
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		if a.Site != test.site || a.Action != test.action {
			t.Errorf("%s: %s of %s by %s, want %s of %s", test.url, a.Action, a.Site, a.Rule, test.action, test.site)
		}
		last := a.Considered[len(a.Considered)-1]
		if !last.Applies || last.Rule != a.Rule || a.Why == "" {
			t.Errorf("%s: the last rule that was looked at is %+v, and the answer %q", test.url, last, a.Rule)
		}
		if slices.ContainsFunc(a.Considered[:len(a.Considered)-1], func(s explain.Step) bool { return s.Applies }) {
			t.Errorf("%s: a rule applied and others were looked at", test.url)
		}
	}
}

func TestAShareIsExplainedWithWhatTheSiteIsAskedFor(t *testing.T) {
	a, err := explain.Ask(sites(), explain.Question{URL: "/o/cloud/public.php/dav/files/AbC/a.pdf"})
	if err != nil {
		t.Fatal(err)
	}
	if !a.Secret || a.Listed || len(a.Asks) == 0 || a.Asks[0] != "GET /public.php/dav/files/AbC/a.pdf" || !strings.HasPrefix(a.Probe, "GET ") {
		t.Errorf("%+v", a)
	}
	with := explain.Question{URL: "/o/cloud/public.php/dav/files/AbC/a.pdf", Header: http.Header{"Authorization": {"Basic x"}}}
	if a, err = explain.Ask(sites(), with); err != nil || a.Action != "pass" {
		t.Errorf("with credentials: %+v, %v", a, err)
	}
}

func TestAPlaylistThatIsRewrittenIsSaidToBe(t *testing.T) {
	list := sites()
	list[2].Profile, list[2].Rendition = "peertube", "480p"
	const hls = "/o/plain/static/streaming-playlists/hls/"
	for path, want := range map[string]bool{
		hls + "9c9de5e8-0a1e-484a-b099-e80766180a6d/1b9bd9c0-2f0e-4f5f-9ee6-1c4f7f5b1a11-master.m3u8":         true,
		hls + "9c9de5e8-0a1e-484a-b099-e80766180a6d/1b9bd9c0-2f0e-4f5f-9ee6-1c4f7f5b1a11-fragmented.mp4":      false,
		hls + "private/9c9de5e8-0a1e-484a-b099-e80766180a6d/1b9bd9c0-2f0e-4f5f-9ee6-1c4f7f5b1a11-master.m3u8": false,
	} {
		a, err := explain.Ask(list, explain.Question{URL: path})
		if err != nil || (a.Rewrites != "") != want || want && !strings.Contains(a.Rewrites, "480p") {
			t.Errorf("%s: %+v, %v", path, a, err)
		}
	}
}

func TestWhatIsNoQuestionIsSaid(t *testing.T) {
	for url, want := range map[string]error{
		"":                           explain.ErrURL,
		"s/AbC":                      explain.ErrURL,
		"ftp://cloud.example.org/":   explain.ErrURL,
		"http://%zz/":                explain.ErrURL,
		"https://elsewhere.example/": explain.ErrNoSite,
		"/o/nobody/":                 explain.ErrNoSite,
		"https://cloud.example.org/": explain.ErrNoSite,
	} {
		if _, err := explain.Ask(sites(), explain.Question{URL: url}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", url, err, want)
		}
	}
	if a, err := explain.Ask(sites()[:1], explain.Question{URL: "/s/AbC"}); err != nil || a.Site != "cloud" {
		t.Errorf("a path of the only site: %+v, %v", a, err)
	}
	if _, err := explain.AskProfile("nobody", explain.Question{URL: "/"}); err == nil {
		t.Error("a profile that there is not")
	}
	if a, err := explain.AskProfile("jitsi", explain.Question{URL: "https://meet.example.org/http-bind", Method: "POST"}); err != nil || a.Action != "pass" || !a.Live {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAPlaceIsFoundAsTheBoxFindsIt(t *testing.T) {
	place, err := explain.Find(sites(), explain.Question{URL: "https://cloud.example.org/nextcloud/s/AbC/download?path=/", Method: http.MethodHead})
	if err != nil || place.Site != "cloud" || place.Host != "cloud.example.org" || place.Asked.Path != "/s/AbC/download" || place.Asked.Query != "path=/" || place.Asked.Method != http.MethodHead {
		t.Errorf("%+v, %v", place, err)
	}
	if _, err := explain.Find(sites(), explain.Question{URL: "https://elsewhere.example/"}); !errors.Is(err, explain.ErrNoSite) {
		t.Errorf("%v, want ErrNoSite", err)
	}
}
