package box_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"preau/node/box"
	"preau/node/config"
	"preau/node/listen"
	updater "preau/node/update"
)

var update = flag.Bool("update", false, "write reference.toml anew")

var profiles = []string{"rfc9111", "moodle"}

const intro = `Préau box: every key there is, with its default or an example.

Sizes are written like "2GiB" or "500MB", times like "30s", "2h" or "7d". A key that is
not known here is refused. What is commented out without a space after the # is off by
default: delete the # to use it. Check your file with: preau box --config FILE --check`

func TestReferenceFileIsUpToDate(t *testing.T) {
	want, err := config.Reference(box.ExampleConfig(), intro)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("reference.toml", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(box.ReferenceFile(), want) {
		t.Errorf("reference.toml is not what the structures say: run go test ./node/box -run Reference -update")
	}
}

func TestReferenceFileLoads(t *testing.T) {
	cfg, err := box.LoadConfig("reference.toml", profiles)
	if err != nil {
		t.Fatal(err)
	}
	want := box.ExampleConfig()
	want.Listen = []listen.Config{{Address: ":80"}} // certificates are off by default
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("loads as\n%+v, want\n%+v", cfg, want)
	}
}

func TestUncommentedReferenceFileLoadsWhole(t *testing.T) {
	var lines []string
	for line := range strings.Lines(string(box.ReferenceFile())) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") && line != "#\n" {
			line = line[1:]
		}
		lines = append(lines, line)
	}
	cfg, err := box.LoadConfig(write(t, strings.Join(lines, "")), profiles)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, box.ExampleConfig()) {
		t.Errorf("loads as\n%+v, want\n%+v", cfg, box.ExampleConfig())
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "box.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestShortestFileHasTheDefaults(t *testing.T) {
	cfg, err := box.LoadConfig(write(t, `
data = "/tmp/x"
[[listen]]
address = ":80"
[[site]]
name = "library"
upstream = "http://library.example"
[site.heuristic]
fraction = 0.1
`), profiles)
	if err != nil {
		t.Fatal(err)
	}
	want := box.FromFlags(box.Flags{Site: "http://library.example", Listen: ":80", Data: "/tmp/x", Admin: "127.0.0.1:9190"})
	want.Site[0].Name, want.Site[0].Hosts, want.Site[0].Heuristic.Fraction = "library", nil, 0.1
	want.Updates = updater.Folder // on a command line nothing is said of updates
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("loads as\n%+v, want\n%+v", cfg, want)
	}
}

func TestOneLineForm(t *testing.T) {
	cfg := box.FromFlags(box.Flags{Site: "http://127.0.0.1:18000", Listen: "127.0.0.1:18020", Data: "d"})
	if err := cfg.Validate(profiles); err != nil {
		t.Fatal(err)
	}
	s := cfg.Site[0]
	if s.Name != "site" || s.Profile != "rfc9111" || !reflect.DeepEqual(s.Hosts, []string{"*"}) || s.StaleWhenDown.String() != "30d" {
		t.Errorf("site = %+v", s)
	}
	if cfg.Admin.Listen != "127.0.0.1:9190" || !cfg.Admin.MayMove || cfg.Budget != 20*config.GiB {
		t.Errorf("admin = %+v, budget = %v", cfg.Admin, cfg.Budget)
	}
	if chosen := box.FromFlags(box.Flags{Admin: "127.0.0.1:1", Budget: new(config.GiB)}); chosen.Admin.MayMove || chosen.Admin.Listen != "127.0.0.1:1" || chosen.Budget != config.GiB {
		t.Errorf("chosen: %+v", chosen)
	}
}

func TestEveryMistakeIsFoundAtOnce(t *testing.T) {
	path := write(t, `budget = "1MiB"
[log]
level = "loud"
[admin]
listen = ":9190"
[[listen]]
address = "80"
[[listen]]
address = ":8080"
certificate = [{cert = "a.crt"}]
[[listen]]
address = ":8080"
[[site]]
name = "Library"
upstream = "ftp://x"
[[site]]
name = "a"
upstream = "http://localhost:8080"
hosts = ["x.example", "X.example", "*.org", "x.example"]
profile = "magic"
[[site]]
name = "a"
upstream = "https://user:secret@a.example"
hosts = ["http://y", "a.*.b", "*", "*.b.example", "10.0.0.1"]
probe_path = "status"
heuristic = {fraction = 2.0, max = "0s"}
`)
	_, err := box.LoadConfig(path, profiles)
	want := []string{
		`: data: is missing: write the folder to keep things in, like data = "/var/lib/preau"`,
		`:1: budget: 1MiB is too small to be of use: write at least 64MiB`,
		`:2: log: log level "loud" is unknown: write debug, info, warn or error`,
		`:5: admin.listen: ":9190" would be open to the whole network: write 127.0.0.1:9190, or 0.0.0.0:9190 if that is what you want`,
		`:7: listen[1].address: "80" is not an address with a port: write it like "127.0.0.1:8080", or ":8080" for every address`,
		`:10: listen[2].certificate[1].key: is missing: write the PEM file with the private key`,
		`:12: listen[3].address: ":8080" is taken by listen[2].address: give each its own port`,
		`:14: site[1].name: "Library" will not do: use small letters, digits and hyphens, at most 40`,
		`:15: site[1].upstream: "ftp://x" is not a web address: write it like "https://library.example.org"`,
		`:18: site[2].upstream: "http://localhost:8080" is where this box itself listens: it would ask itself for ever`,
		`:19: site[2].hosts[2]: "X.example" has capitals: write host names in small letters`,
		`:19: site[2].hosts[3]: "*.org" covers too much: write at least two labels after the star, like "*.example.org"`,
		`:19: site[2].hosts[4]: "x.example" is taken by site[2]: a name leads to one site`,
		`:20: site[2].profile: "magic" is unknown: the profiles are rfc9111, moodle`,
		`:22: site[3].name: "a" is taken by site[2]: each site needs a name of its own`,
		`:23: site[3].upstream: holds a user name or password, which the box would show to everyone: leave it out`,
		`:24: site[3].hosts[1]: "http://y" is more than a host name: leave out http://, the port and the path`,
		`:24: site[3].hosts[2]: "a.*.b" has its star in the wrong place: write "*.example.org", or "*" for every name`,
		`:25: site[3].probe_path: "status" is not a path: write it like /`,
		`:26: site[3].heuristic.fraction: 2 is out of range: write 0 (off) to 1, usually 0.1`,
		`:26: site[3].heuristic.max: must be more than 0s while heuristic.fraction is set`,
	}
	if err == nil {
		t.Fatal("accepted")
	}
	got := strings.Split(err.Error(), "\n")
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("too much: %s", got[i])
		case got[i] != path+want[i]:
			t.Errorf("got  %s\nwant %s", got[i], path+want[i])
		}
	}
}

func TestUpstreams(t *testing.T) {
	tests := map[string]string{
		"https://a.example":        "",
		"http://a.example:8080/p/": "",
		"http://[2001:db8::1]:80":  "",
		"http://127.0.0.1:80":      "", // the box listens on another port
		"":                         "is missing",
		"a.example":                "is not a web address",
		"a.example:80":             "is not a web address",
		"http:///path":             "has no host",
		"http://:80":               "has no host",
		"http://a.example/?x":      "goes on after the path",
		"http://a.example/?":       "goes on after the path",
		"http://a.example/#":       "goes on after the path",
		"http://a b":               "is not a web address",
		"http://127.0.0.1:18020":   "it would ask itself for ever",
	}
	for upstream, want := range tests {
		t.Run(upstream, func(t *testing.T) {
			err := box.FromFlags(box.Flags{Site: upstream, Listen: "127.0.0.1:18020", Data: "d"}).Validate(profiles)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("error = %v, want %q", err, want)
			}
		})
	}
}
