package locate_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/node/config"
	"preau/node/listen"
	"preau/node/locate"
)

// locator knows one box, behind 192.0.2.7.
func locator(t *testing.T, proxies ...string) (*locate.Locator, *prometheus.Registry) {
	t.Helper()
	table := locate.NewTable(time.Hour)
	box := at("a", lyon, "192.0.2.7/32")
	box.Until = time.Now().Add(time.Hour)
	table.Set("s1", locate.Report{Boxes: []locate.Box{box}}, time.Now())
	cfg := locate.DefaultConfig()
	cfg.Domain, cfg.TrustedProxies = "boxes.example.net", proxies
	cfg.Site = []locate.Site{{Name: "films", Upstream: "https://tubes.example.org"}}
	reg := prometheus.NewRegistry()
	l, err := locate.New(cfg, []locate.Site{{Name: "cloud", Upstream: "https://cloud.example.org"}}, table, reg)
	if err != nil {
		t.Fatal(err)
	}
	return l, reg
}

func ask(t *testing.T, l http.Handler, method, target, from string, forwarded ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	r.RemoteAddr = from
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w.Result()
}

func where(u string) string { return locate.Path + "?u=" + url.QueryEscape(u) }

func TestADeviceIsSentToItsSchoolsBoxOrToTheSite(t *testing.T) {
	l, reg := locator(t)
	const site = "https://cloud.example.org/s/x?y=1&z=2"
	tests := map[string]struct {
		method, target, from string
		status               int
		location             string
	}{
		"from the school":              {"GET", where(site), "192.0.2.7:1234", 302, "https://a.boxes.example.net/o/cloud/s/x?y=1&z=2"},
		"only looking":                 {"HEAD", where(site), "192.0.2.7:1234", 302, "https://a.boxes.example.net/o/cloud/s/x?y=1&z=2"},
		"from elsewhere":               {"GET", where(site), "198.51.100.1:1234", 302, site},
		"a site that no box has":       {"GET", where("https://tubes.example.org/w/1"), "192.0.2.7:1234", 302, "https://tubes.example.org/w/1"},
		"from nowhere":                 {"GET", where(site), "", 302, site},
		"pasted in its own characters": {"GET", locate.Path + "?u=https://cloud.example.org/s/x", "192.0.2.7:1", 302, "https://a.boxes.example.net/o/cloud/s/x"},
		"pasted, and cut at its &":     {"GET", locate.Path + "?u=" + site, "192.0.2.7:1", 400, ""},
		"twice":                        {"GET", where(site) + "&u=x", "192.0.2.7:1", 400, ""},
		"nothing":                      {"GET", locate.Path, "192.0.2.7:1", 400, ""},
		"somewhere else":               {"GET", where("https://evil.example.com/"), "192.0.2.7:1", 400, ""},
		"to be posted":                 {"POST", where(site), "192.0.2.7:1", 405, ""},
		"another page":                 {"GET", "/", "192.0.2.7:1", 404, ""},
		"escapes that make no sense":   {"GET", locate.Path + "?u=%zz", "192.0.2.7:1", 400, ""},
		"without end":                  {"GET", locate.Path + "?u=" + strings.Repeat("a", 40_000), "192.0.2.7:1", 400, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := ask(t, l, tt.method, tt.target, tt.from)
			if r.StatusCode != tt.status || r.Header.Get("Location") != tt.location {
				t.Errorf("%d to %q, want %d to %q", r.StatusCode, r.Header.Get("Location"), tt.status, tt.location)
			}
			if got := r.Header.Get("Cache-Control"); got != "private, no-store" {
				t.Errorf("Cache-Control: %q", got)
			}
			if r.StatusCode == http.StatusFound && r.Header.Get("Vary") != "" {
				t.Errorf("Vary: %q", r.Header.Get("Vary"))
			}
		})
	}
	const want = `
# HELP preau_locate_answers_total Answers to devices that asked for their school's box, by what they were.
# TYPE preau_locate_answers_total counter
preau_locate_answers_total{answer="box"} 3
preau_locate_answers_total{answer="origin"} 3
preau_locate_answers_total{answer="refused"} 6
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "preau_locate_answers_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestWhoIsRefusedIsToldInTheirLanguage(t *testing.T) {
	l, _ := locator(t)
	for lang, want := range map[string]string{"fr": "Ce lien ne mène", "en": "This link leads to none"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", where("https://evil.example.com/<script>"), http.NoBody)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Accept-Language", lang)
		w := httptest.NewRecorder()
		l.ServeHTTP(w, r)
		if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, want) || strings.Contains(body, "evil") {
			t.Errorf("%s: %d %s", lang, w.Code, body)
		}
	}
}

func TestOnlyProxiesOfOursAreBelieved(t *testing.T) {
	const site = "https://cloud.example.org/x"
	toBox := "https://a.boxes.example.net/o/cloud/x"
	tests := map[string]struct {
		from      string
		forwarded []string
		want      string
	}{
		"a stranger who claims to be a school": {"198.51.100.1:1", []string{"192.0.2.7"}, site},
		"a pupil who claims to be elsewhere":   {"192.0.2.7:1", []string{"198.51.100.1"}, toBox},
		"our proxy":                            {"10.0.0.5:1", []string{"192.0.2.7"}, toBox},
		"our proxies in a row":                 {"10.0.0.5:1", []string{"192.0.2.7, 10.0.0.9"}, toBox},
		"in several lines":                     {"10.0.0.5:1", []string{"192.0.2.7", "10.0.0.9"}, toBox},
		"what the device itself put before":    {"10.0.0.5:1", []string{"192.0.2.7, 198.51.100.1"}, site},
		"our proxy that says nothing":          {"10.0.0.5:1", nil, site},
		"our proxy that says what is none":     {"10.0.0.5:1", []string{"192.0.2.7, unknown"}, site},
		"only proxies":                         {"10.0.0.5:1", []string{"10.0.0.6"}, site},
	}
	l, _ := locator(t, "10.0.0.0/8")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ask(t, l, "GET", where(site), tt.from, tt.forwarded...).Header.Get("Location"); got != tt.want {
				t.Errorf("leads to %s, want %s", got, tt.want)
			}
		})
	}
}

func TestOperatorsAreToldWhy(t *testing.T) {
	l, _ := locator(t)
	a := l.Ask("https://cloud.example.org/x", netip.MustParseAddr("198.51.100.1"), time.Now())
	if a.Answer != "origin" || a.Why != locate.WhyUnknown || a.Site != "cloud" {
		t.Errorf("%+v", a)
	}
	if a := l.Ask("https://evil.example.com/x", netip.Addr{}, time.Now()); a.Answer != "refused" || a.Why == "" || a.To != "" {
		t.Errorf("%+v", a)
	}
	w := httptest.NewRecorder()
	l.Operators().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/?from=192.0.2.7&u=https://cloud.example.org/x", http.NoBody))
	if got := w.Body.String(); !strings.Contains(got, `"box":"a"`) || !strings.Contains(got, lyon) {
		t.Errorf("%d %s", w.Code, got)
	}
	w = httptest.NewRecorder()
	l.Operators().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/?from=x&u=y", http.NoBody))
	if w.Code != http.StatusBadRequest {
		t.Errorf("%d for no address", w.Code)
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	good := locate.ExampleConfig()
	good.Domain = "boxes.example.net"
	check := func(c locate.Config) error {
		var p config.Problems
		c.Check(&p, "locate", []locate.Site{{Name: "library", Upstream: "https://library.example.org"}})
		return p.Err()
	}
	for name, c := range map[string]locate.Config{"the default": locate.DefaultConfig(), "the example": good} {
		if err := check(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for key, change := range map[string]func(*locate.Config){
		"locate.domain":               func(c *locate.Config) { c.Domain = "" },
		"domain":                      func(c *locate.Config) { c.Domain = "https://x.example" },
		"locate.ipv6_prefix":          func(c *locate.Config) { c.IPv6Prefix = 96 },
		"locate.trusted_proxies[1]":   func(c *locate.Config) { c.TrustedProxies = []string{"proxy"} },
		"locate.listen[1].address":    func(c *locate.Config) { c.Listen = []listen.Config{{Address: "443"}} },
		"locate.listen[1].certificat": func(c *locate.Config) { c.Listen[0].Certificate = []listen.Certificate{{Cert: "x"}} },
		"locate.site[1].name":         func(c *locate.Config) { c.Site = []locate.Site{{Name: "library", Upstream: "https://x.example"}} },
		"locate.site[1]":              func(c *locate.Config) { c.Site = []locate.Site{{Name: "x", Upstream: "x"}} },
	} {
		c := good
		c.Listen = append([]listen.Config{}, good.Listen...)
		change(&c)
		if err := check(c); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
