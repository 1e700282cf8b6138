package box_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/box"
)

func TestTheRegionAddsToABoxsOwnSettings(t *testing.T) {
	const own = "data = \"/var/lib/preau\"\nupdates = \"DIR\"\n[[listen]]\naddress = \":80\"\n[[site]]\nname = \"library\"\nupstream = \"https://own.example.org\"\nhosts = [\"library.example\"]\n"
	const other = "[[site]]\nname = \"films\"\nupstream = \"https://films.example.org\"\nhosts = [\"films.example\"]\nprofile = \"peertube\"\n"
	for name, tt := range map[string]struct {
		settings, sites, title, problem string
	}{
		"nothing":               {sites: "library", title: "Préau"},
		"a site and a name":     {settings: other + "[portal]\ntitle = \"Collège Hugo\"\n", sites: "library films", title: "Collège Hugo"},
		"a site that it has":    {settings: "[[site]]\nname = \"library\"\nupstream = \"https://other.example.org\"\nhosts = [\"library.example\"]\n", sites: "library", title: "Préau"},
		"what is not for it":    {settings: "data = \"/\"\n", sites: "library", title: "Préau", problem: "data: unknown key"},
		"another site's name":   {settings: strings.Replace(other, "films.example\"]", "library.example\"]", 1), sites: "library", title: "Préau", problem: "do not go with"},
		"a profile of tomorrow": {settings: strings.Replace(other, "peertube", "hologram", 1), sites: "library", title: "Préau", problem: "hologram"},
		"no text at all":        {settings: "\x00", sites: "library", title: "Préau", problem: "settings.toml"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, settings := filepath.Join(dir, "box.toml"), filepath.Join(dir, "settings.toml")
			if err := os.WriteFile(file, []byte(strings.Replace(own, "DIR", filepath.ToSlash(dir), 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			if tt.settings != "" {
				if err := os.WriteFile(settings, []byte(tt.settings), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cfg, err := box.LoadConfig(file, box.Profiles())
			if err != nil {
				t.Fatal(err)
			}
			var sites []string
			for _, s := range cfg.Site {
				sites = append(sites, s.Name)
			}
			if got := strings.Join(sites, " "); got != tt.sites || cfg.Portal.Title != tt.title || cfg.Site[0].Upstream != "https://own.example.org" {
				t.Errorf("sites %s, title %s, %s", got, cfg.Portal.Title, cfg.Site[0].Upstream)
			}
			_, err = box.LoadWanted(file, settings, box.Profiles())
			if tt.settings != "" && (err == nil) != (tt.problem == "") || tt.problem != "" && !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("it says %v, want %q", err, tt.problem)
			}
		})
	}
}

// A box that stands alone may have all its sites from the region; without any it is
// nothing to run, and it says why.
func TestARegionMaySetABoxsOnlySites(t *testing.T) {
	for settings, problem := range map[string]string{
		"[[site]]\nname = \"films\"\nupstream = \"https://films.example.org\"\nhosts = [\"films.example\"]\n": "",
		"[[site]]\nname = \"films\"\nupsteam = \"https://films.example.org\"\n":                               "upsteam",
		"[portal]\ntitle = \"Collège Hugo\"\n":                                                                "add a [[site]]",
	} {
		dir := t.TempDir()
		file, wanted := filepath.Join(dir, "box.toml"), filepath.Join(dir, "settings.toml")
		own := "data = \"" + filepath.ToSlash(dir) + "\"\nupdates = \"" + filepath.ToSlash(dir) + "\"\n[[listen]]\naddress = \":80\"\n"
		if err := os.WriteFile(file, []byte(own), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := box.LoadConfig(file, box.Profiles()); err == nil || !strings.Contains(err.Error(), "add a [[site]]") {
			t.Errorf("without settings: %v", err)
		}
		if err := os.WriteFile(wanted, []byte(settings), 0o644); err != nil {
			t.Fatal(err)
		}
		if cfg, err := box.LoadConfig(file, box.Profiles()); problem == "" && (err != nil || len(cfg.Site) != 1) || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("%q: %d sites, %v", settings, len(cfg.Site), err)
		}
	}
}
