package upstream_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/cache/upstream"
)

func configFor(t *testing.T, origin string) upstream.Config {
	t.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		t.Fatal(err)
	}
	cfg := upstream.DefaultConfig()
	cfg.Name, cfg.URL = "library", u
	return cfg
}

func mustNew(t *testing.T, cfg upstream.Config) *upstream.Upstream {
	t.Helper()
	u, err := upstream.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestURLKeepsTheEscapedPath(t *testing.T) {
	tests := map[string]struct{ origin, path, query, want string }{
		"plain":             {"http://a.example", "/b/c", "", "http://a.example/b/c"},
		"query":             {"http://a.example", "/b", "x=1&x=%2f", "http://a.example/b?x=1&x=%2f"},
		"base path":         {"http://a.example/base", "/b", "", "http://a.example/base/b"},
		"base with a slash": {"http://a.example/base/", "/b", "", "http://a.example/base/b"},
		"escaped base":      {"http://a.example/b%2Fc", "/d", "", "http://a.example/b%2Fc/d"},
		"escaped slash":     {"http://a.example/base", "/b%2Fc", "", "http://a.example/base/b%2Fc"},
		"lower case":        {"http://a.example", "/%c3%a9t%c3%a9", "", "http://a.example/%c3%a9t%c3%a9"},
		"needless escape":   {"http://a.example", "/%61", "", "http://a.example/%61"},
		"two slashes":       {"http://a.example", "//b//c", "", "http://a.example//b//c"},
		"dots":              {"http://a.example", "/b/../c/.", "", "http://a.example/b/../c/."},
		"no slash":          {"http://a.example", "b", "", "http://a.example/b"},
		"empty":             {"http://a.example/base", "", "", "http://a.example/base/"},
		"not escaped":       {"http://a.example", "/100%", "", "http://a.example/100%25"},
		"port":              {"http://a.example:8080", "/b", "", "http://a.example:8080/b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := mustNew(t, configFor(t, tt.origin))
			if got := u.URL(tt.path, tt.query).String(); got != tt.want {
				t.Errorf("URL(%q, %q) = %s, want %s", tt.path, tt.query, got, tt.want)
			}
		})
	}
	if got := mustNew(t, configFor(t, "http://a.example")).URL("*", "").RequestURI(); got != "*" {
		t.Errorf("asterisk form = %s", got)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestOnlyTheSiteItselfIsAsked(t *testing.T) {
	u := mustNew(t, configFor(t, "https://library.example"))
	foreign := map[string]string{
		"host":         "https://other.example/",
		"scheme":       "http://library.example/",
		"port":         "https://library.example:8443/",
		"sub domain":   "https://a.library.example/",
		"loopback":     "https://127.0.0.1/",
		"user's trick": "https://library.example@other.example/",
	}
	for name, target := range foreign {
		for kind, do := range map[string]func(*http.Request) (*http.Response, error){
			"fetch": u.Fetch, "pass": u.RoundTrip,
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				body := &closing{Reader: strings.NewReader("x")}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := do(req)
				if err == nil {
					_ = resp.Body.Close()
				}
				if !errors.Is(err, upstream.ErrForeign) {
					t.Errorf("err = %v, want ErrForeign", err)
				}
				if !body.closed {
					t.Error("the refused request's body is open")
				}
			})
		}
	}
}

func TestConfigReportsEveryMistake(t *testing.T) {
	ok := configFor(t, "http://library.example/base/")
	if err := ok.Validate(); err != nil {
		t.Fatalf("a good config: %v", err)
	}
	tests := map[string]struct {
		change func(*upstream.Config)
		want   []string
	}{
		"no name":       {func(c *upstream.Config) { c.Name = "" }, []string{"name"}},
		"no url":        {func(c *upstream.Config) { c.URL = nil }, []string{"url"}},
		"ftp":           {func(c *upstream.Config) { c.URL = &url.URL{Scheme: "ftp", Host: "a"} }, []string{"url"}},
		"no host":       {func(c *upstream.Config) { c.URL = &url.URL{Scheme: "http"} }, []string{"url"}},
		"a query":       {func(c *upstream.Config) { c.URL = &url.URL{Scheme: "http", Host: "a", RawQuery: "b"} }, []string{"url"}},
		"probe path":    {func(c *upstream.Config) { c.ProbePath = "probe" }, []string{"probe_path"}},
		"probe query":   {func(c *upstream.Config) { c.ProbePath = "/?a" }, []string{"probe_path"}},
		"bounds":        {func(c *upstream.Config) { c.ProbeEveryMax = 1 }, []string{"probe_every_max"}},
		"short stall":   {func(c *upstream.Config) { c.BodyStall = 1 }, []string{"body_stall"}},
		"short header":  {func(c *upstream.Config) { c.HeaderTimeout = 1 }, []string{"header_timeout"}},
		"conns":         {func(c *upstream.Config) { c.MaxConnsPerHost = -1 }, []string{"max_conns_per_host"}},
		"all at once":   {func(c *upstream.Config) { *c = upstream.Config{} }, []string{"name", "url", "probe_path", "connect_timeout", "silence_after", "probe_timeout", "probe_every", "probe_every_max", "body_stall", "header_timeout"}},
		"negative wait": {func(c *upstream.Config) { c.SilenceAfter = -1 }, []string{"silence_after"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := ok
			tt.change(&cfg)
			err := cfg.Validate()
			for _, key := range tt.want {
				if err == nil || !strings.Contains("\n"+err.Error(), "\n"+key+": ") {
					t.Errorf("no word of %s in: %v", key, err)
				}
			}
			if _, newErr := upstream.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); newErr == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestNewRefusesAnAuthorityFileWithoutAuthorities(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"missing": empty + ".not", "empty": empty} {
		t.Run(name, func(t *testing.T) {
			cfg := configFor(t, "https://library.example")
			cfg.RootCAFile = file
			if _, err := upstream.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestMetricsAreTheDocumentedOnes(t *testing.T) {
	reg := prometheus.NewRegistry()
	for _, site := range []string{"library", "films"} {
		cfg := configFor(t, "http://"+site+".example")
		cfg.Name = site
		if _, err := upstream.New(cfg, slog.New(slog.DiscardHandler), reg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := upstream.New(configFor(t, "http://library.example"), slog.New(slog.DiscardHandler), reg); err == nil {
		t.Error("a second site of the same name was registered")
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	doc, err := os.ReadFile("upstream.go")
	if err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.Contains(string(doc), "//\t"+f.GetName()) {
			t.Errorf("%s is not documented", f.GetName())
		}
	}
	if n := strings.Count(string(doc), "//\tpreau_upstream_"); n != len(families) {
		t.Errorf("%d metrics documented, %d registered", n, len(families))
	}
}
