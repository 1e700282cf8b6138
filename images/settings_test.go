package images_test

import (
	"errors"
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
