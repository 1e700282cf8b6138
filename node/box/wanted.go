package box

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"preau/node/config"
	"preau/node/front"
	"preau/node/portal"
	"preau/node/update"
)

// mostWanted is how long the region's settings may be.
const mostWanted = 1 << 20

// wanted is what a region may set for a box, written as in the box's own file.
type wanted struct {
	Site   []front.Site `toml:"site" doc:"Sites that the box answers for beside its own."`
	Portal struct {
		Title string `toml:"title" doc:"What the box's pages are called."`
	} `toml:"portal" doc:"The box's pages."`
}

// LoadWanted is LoadConfig with the region's settings in a file on top, for those
// who want to know whether the box takes them.
func LoadWanted(path, settings string, profiles []string) (Config, error) {
	cfg := DefaultConfig()
	if err := config.Load(path, &cfg, func() error { return cfg.validate(profiles, true) }); err != nil {
		return Config{}, err
	}
	return cfg.with(settings, profiles)
}

// hasWanted reports that the region has set something for this box.
func (c Config) hasWanted() bool {
	_, err := os.Stat(filepath.Join(c.Updates, update.SettingsFile))
	return c.Updates != "" && err == nil
}

// withWanted adds what the updater has put into its folder. What can't be taken is
// left out and told: the box's own file is enough to serve.
func (c Config) withWanted(profiles []string) Config {
	if c.Updates == "" {
		return c
	}
	more, err := c.with(filepath.Join(c.Updates, update.SettingsFile), profiles)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.wantedProblem = err.Error()
		}
		return c
	}
	return more
}

// with adds the settings of a file. The box's own file wins: a site of a name that
// it has stays as it is there, and so does a title.
func (c Config) with(file string, profiles []string) (Config, error) {
	st, err := os.Stat(file)
	if err != nil {
		return c, err
	}
	if st.Size() > mostWanted {
		return c, fmt.Errorf("%s has %d bytes, more than %d", file, st.Size(), mostWanted)
	}
	var w wanted
	if err := config.Load(file, &w); err != nil {
		return c, err
	}
	more := c
	more.Site = slices.Clone(c.Site)
	for _, s := range w.Site {
		if !slices.ContainsFunc(c.Site, func(own front.Site) bool { return own.Name == s.Name }) {
			more.Site = append(more.Site, s)
		}
	}
	if w.Portal.Title != "" && c.Portal.Title == portal.DefaultConfig().Title {
		more.Portal.Title = w.Portal.Title
	}
	if err := more.Validate(profiles); err != nil {
		return c, fmt.Errorf("the region's settings do not go with the box's own (its sites are counted first): %w", err)
	}
	return more, nil
}
