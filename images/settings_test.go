package images_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/box"
	"preau/node/central"
	"preau/node/config"
	"preau/node/region"
)

// TestSettingsThatArePackagedLackOnlyWhatIsNobodyElses: they are read by the
// program of the same commit, strictly, and only what each machine has of its own
// is missing.
func TestSettingsThatArePackagedLackOnlyWhatIsNobodyElses(t *testing.T) {
	for file, tt := range map[string]struct {
		load  func(string) error
		lacks []string
	}{
		"box.toml":     {func(f string) error { _, err := box.LoadConfig(f, box.Profiles()); return err }, []string{"site"}},
		"server.toml":  {func(f string) error { _, err := region.LoadConfig(f); return err }, []string{"advertise"}},
		"central.toml": {func(f string) error { _, err := central.LoadConfig(f); return err }, []string{"s3.endpoint"}},
	} {
		path := filepath.Join("debian", "etc", file)
		var lacks []string
		for _, err := range config.List(tt.load(path)) {
			problem := new(config.Problem)
			if !errors.As(err, &problem) {
				t.Errorf("%s: %v", file, err)
				continue
			}
			lacks = append(lacks, problem.Key)
		}
		if strings.Join(lacks, " ") != strings.Join(tt.lacks, " ") {
			t.Errorf("%s lacks %v, want %v", file, lacks, tt.lacks)
		}
	}
}

func units(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("debian/*.service")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d units, %v", len(files), err)
	}
	out := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = string(text)
	}
	return out
}

func TestUnitsWaitForNoNetworkAndNeverGiveUp(t *testing.T) {
	for name, text := range units(t) {
		for line := range strings.Lines(text) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if ok && !strings.HasPrefix(key, "#") && strings.Contains(value, "network-online") {
				t.Errorf("%s: %s", name, line)
			}
		}
		for _, want := range []string{
			"\nType=notify\n", "\nRestart=always\n", "\nStartLimitIntervalSec=0\n", "\nWatchdogSec=", "\nUser=preau\n",
			"\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n", "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
			"\nLoadCredential=", "\nLimitNOFILE=", "\nMemoryMax=75%\n", "\nAfter=network.target\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no line %q", name, strings.TrimSpace(want))
			}
		}
	}
}

// TestSandboxesDifferInNothing: what one service may not do, the others need not
// do either.
func TestSandboxesDifferInNothing(t *testing.T) {
	var first, firstName string
	for name, text := range units(t) {
		_, sandbox, ok := strings.Cut(text, "\n# Ports 80 and 443")
		if !ok {
			t.Fatalf("%s says nothing of ports", name)
		}
		var lines []string
		for line := range strings.Lines(sandbox) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		if sandbox = strings.Join(lines, ""); first == "" {
			first, firstName = sandbox, name
		}
		if sandbox != first {
			t.Errorf("%s and %s differ:\n%s\n%s", name, firstName, sandbox, first)
		}
	}
}

// TestWhatPassesSitesStandsAlone runs the box that passes web sites through while
// an appliance waits without its disk, with the appliance's own settings for it: it
// serves the region's site, and takes nothing that would have to be kept.
func TestWhatPassesSitesStandsAlone(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the front page") })) // what is missing is told below
	defer origin.Close()
	dir := t.TempDir()
	wanted := filepath.Join(dir, "settings.toml")
	if err := os.WriteFile(wanted, []byte("[[site]]\nname = \"paper\"\nupstream = \""+origin.URL+"\"\nhosts = [\"paper.example.org\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := box.LoadWanted(filepath.Join(own, "etc/preau/pass.toml"), wanted, box.Profiles())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Deposits.Enabled || cfg.Neighbours.Enabled || cfg.Portal.Enabled || !strings.HasPrefix(cfg.Listen[0].Address, "127.0.0.1:") || !strings.HasPrefix(cfg.Admin.Listen, "127.0.0.1:") {
		t.Errorf("it does more than to pass sites: %+v", cfg)
	}
	cfg.Data, cfg.Listen[0].Address, cfg.Admin.Listen = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	b, err := box.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	for path, want := range map[string]int{"http://paper.example.org/": http.StatusOK, "http://192.0.2.7/o/paper/": http.StatusOK, "http://192.0.2.7/": http.StatusNotFound, "http://192.0.2.7/claim": http.StatusNotFound} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Host = b.Addrs()[0].String()
		resp, err := origin.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != want || (want == http.StatusOK) != (string(text) == "the front page") {
			t.Errorf("%s: %d %.200q, %v", path, resp.StatusCode, text, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
