package config_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"preau/node/config"
)

type site struct {
	Name  string          `toml:"name" doc:"What the site is called."`
	Keep  config.Duration `toml:"keep" doc:"How long."`
	Hosts []string        `toml:"hosts" doc:"Names."`
	Guess guess           `toml:"guess" doc:"Guessing." ref:"off"`
}

type guess struct {
	Fraction float64         `toml:"fraction" doc:"How much."`
	Most     config.Duration `toml:"most" doc:"At most."`
}

func (s *site) SetDefaults() {
	s.Keep = config.Duration(30 * config.Day)
	s.Guess.Most = config.Duration(time.Hour)
}

type school struct {
	Data   string       `toml:"data" doc:"Folder."`
	Budget config.Bytes `toml:"budget" doc:"Room on the disk."`
	Count  int          `toml:"count" doc:"How many."`
	Loud   bool         `toml:"loud" doc:"Whether to shout."`
	Admin  struct {
		Listen string `toml:"listen" doc:"Address."`
	} `toml:"admin" doc:"For operators."`
	Sites []site `toml:"site" doc:"Web sites."`
}

func defaults() school { return school{Data: "here", Budget: 20 * config.GiB} }

func TestFileIsDecodedOntoDefaults(t *testing.T) {
	cfg := defaults()
	err := config.Parse("x.toml", []byte(`
count = 3
[admin]
listen = "127.0.0.1:1"
[[site]]
name = "a"
keep = "0s"
[[site]]
name = "b"
guess.fraction = 0.1
`), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Count, want.Admin.Listen = 3, "127.0.0.1:1"
	want.Sites = []site{
		{Name: "a", Keep: 0, Guess: guess{Most: config.Duration(time.Hour)}},
		{Name: "b", Keep: config.Duration(30 * config.Day), Guess: guess{Fraction: 0.1, Most: config.Duration(time.Hour)}},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("decoded\n%+v, want\n%+v", cfg, want)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	tests := map[string]struct {
		file string
		want []string // each is a whole line of the error
	}{
		"misspelt key":        {"budgte = 1\n", []string{`x.toml:1: budgte: unknown key: did you mean budget?`}},
		"wrong case":          {"Data = 'x'\n", []string{`x.toml:1: Data: unknown key: did you mean data?`}},
		"far from any key":    {"zzzzzzzz = 1\n", []string{`x.toml:1: zzzzzzzz: unknown key: the keys here are admin, budget, count, data, loud, site`}},
		"unknown table":       {"\n[sites]\na=1\n", []string{`x.toml:2: sites: unknown key: did you mean site?`}},
		"key in second table": {"[[site]]\nname='a'\n[[site]]\nnaem='b'\n", []string{`x.toml:4: site[2].naem: unknown key: did you mean name?`}},
		"deep in a list":      {"[[site]]\n[site.guess]\nfracton=1\n", []string{`x.toml:3: site[1].guess.fracton: unknown key: did you mean fraction?`}},
		"inline table":        {"site = [\n {name='a', keep='long'}\n]\n", []string{`x.toml:1: site[1].keep: "long" is not a length of time: write it like 30s, 2h, 7d or 1h30m`}},
		"one bracket too few": {"[site]\nname='a'\n", []string{`x.toml:1: site: is a table, want a list of tables: a [[header]] line with two brackets, once an entry`}},
		"duration as number":  {"[[site]]\nkeep = 30\n", []string{`x.toml:2: site[1].keep: is a number, want a time in quotes with its unit, like "30s", "2h" or "7d"`}},
		"text for a number":   {"count = '3'\n", []string{`x.toml:1: count: is text, want a whole number, without quotes`}},
		"number for text":     {"data = 3\n", []string{`x.toml:1: data: is a number, want text in quotes`}},
		"list item":           {"[[site]]\nhosts = ['a', 2]\n", []string{`x.toml:2: site[1].hosts[2]: is a number, want text in quotes`}},
		"negative size":       {"budget = -1\n", []string{`x.toml:1: budget: a size cannot be negative: write it like 2GiB or 500MB`}},
		"all at once": {"budget = 'much'\nloud = 'yes'\n[admin]\nport = 3\n", []string{
			`x.toml:4: admin.port: unknown key: the keys here are listen`,
			`x.toml:1: budget: "much" is not a size: write it like 2GiB or 500MB`,
			`x.toml:2: loud: is text, want true or false, without quotes`,
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			err := config.Parse("x.toml", []byte(tt.file), &cfg)
			if err == nil {
				t.Fatalf("accepted, want %q", tt.want)
			}
			if got := strings.Split(err.Error(), "\n"); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", err, strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestSyntaxErrorHasItsLine(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"open quote": {"data = 'x'\ncount = \"\n", "x.toml:2: "},
		"twice":      {"count = 1\ncount = 2\n", "x.toml:2: count: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			err := config.Parse("x.toml", []byte(tt.file), &cfg)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want it to begin with %q", err, tt.want)
			}
		})
	}
}

func TestChecksAreGivenTheirLines(t *testing.T) {
	cfg := defaults()
	err := config.Parse("x.toml", []byte("data='x'\n[[site]]\nname='a'\n[[site]]\nname='a'\n"), &cfg, func() error {
		var p config.Problems
		p.Addf("site[2].name", "%q is taken", "a")
		p.Addf("site[2].hosts", "missing")
		p.Addf("admin.listen", "missing")
		return p.Err()
	})
	want := "x.toml:5: site[2].name: \"a\" is taken\nx.toml:4: site[2].hosts: missing\nx.toml: admin.listen: missing"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestMissingFileIsRecognisable(t *testing.T) {
	cfg := defaults()
	err := config.Load(filepath.Join(t.TempDir(), "none.toml"), &cfg)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want fs.ErrNotExist", err)
	}
}

func TestReferenceLoadsAsWhatItShows(t *testing.T) {
	shown := defaults()
	shown.Sites = []site{{Name: "a", Hosts: []string{"a.example", "b\"c"}, Guess: guess{Fraction: 1}}}
	reference, err := config.Reference(shown, "Every key.\n\nTwo paragraphs.")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(reference), "# Every key.\n#\n# Two paragraphs.\n\n# Folder.\ndata = \"here\"\n") {
		t.Errorf("reference begins\n%s", reference)
	}
	asIs := school{}
	if err := config.Parse("reference", reference, &asIs); err != nil {
		t.Errorf("as it stands: %v", err)
	}
	if asIs.Sites[0].Guess.Fraction != 0 {
		t.Error("what is off by default is on in the reference")
	}
	uncommented := strings.ReplaceAll("\n"+string(reference), "\n#[", "\n[")
	uncommented = strings.ReplaceAll(uncommented, "\n#fraction", "\nfraction")
	uncommented = strings.ReplaceAll(uncommented, "\n#most", "\nmost")
	var all school
	if err := config.Parse("reference", []byte(uncommented), &all); err != nil {
		t.Fatalf("uncommented: %v", err)
	}
	if !reflect.DeepEqual(all, shown) {
		t.Errorf("loads as\n%+v, shows\n%+v", all, shown)
	}
}

func TestReferenceDemandsWords(t *testing.T) {
	_, err := config.Reference(struct {
		Mute string `toml:"mute"`
	}{}, "intro")
	if err == nil || err.Error() != "reference: mute has no doc tag" {
		t.Errorf("error = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("budget = '2GiB'\n[[site]]\nkeep='1d'\n")
	f.Add("[admin]\nlisten = 1\n[[site]]\n[[site]]\nguess.most='1h'\n")
	f.Add("site = [{name='x'}, {hosts=['y']}]\n")
	f.Fuzz(func(t *testing.T, file string) {
		cfg := defaults()
		if err := config.Parse("x", []byte(file), &cfg); err == nil && cfg.Budget < 0 {
			t.Errorf("accepted a negative size from %q", file)
		}
	})
}
