package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"preau/node/box"
	"preau/node/config"
	"preau/node/obs"
)

type boxCmd struct {
	Site   string        `placeholder:"URL" help:"The web site to stand in front of. A box that was enrolled in a region (preau enrol) can do without."`
	Listen string        `placeholder:"ADDR" help:"Where devices connect, such as :8080 or 127.0.0.1:18020."`
	Data   string        `placeholder:"DIR" help:"Folder to keep copies in; made if it is missing."`
	Budget *config.Bytes `placeholder:"SIZE" help:"Room that copies may take on the disk, such as 2GiB (default: 20GiB)."`
	Admin  string        `placeholder:"ADDR" help:"Where operators look: /healthz, /readyz, /metrics (default: 127.0.0.1:9190)."`

	Config   string `placeholder:"FILE" help:"Read everything from a file instead: several sites, HTTPS, profiles."`
	Settings string `placeholder:"FILE" help:"With --config and --check: whether these settings of the region go with it."`
	Check    bool   `help:"Say whether the configuration is right, and stop."`

	LogLevel string `placeholder:"LEVEL" enum:",debug,info,warn,error" default:"" help:"debug, info, warn or error (default: what the file says, or info)."`
}

func (boxCmd) Help() string {
	return `One site, answered for every host name:

    preau box --site http://127.0.0.1:18000 --listen 127.0.0.1:18020 --data ./cache --budget 2GiB

Several sites, HTTPS and the rest, from a file:

    preau config > box.toml         every setting, explained
    preau box --config box.toml --check
    preau box --config box.toml

Then, from another terminal:

    curl -sD- -o/dev/null http://127.0.0.1:18020/          look at Cache-Status
    curl http://127.0.0.1:9190/readyz                      is it ready, and if not why
    preau class http://127.0.0.1:18020/film.mp4 --devices 35

Ctrl-C stops it and leaves nothing running; what is stored stays for the next start.`
}

// Run checks, then runs the box until ctx ends.
func (c boxCmd) Run(ctx context.Context, to streams) error {
	cfg, err := c.configuration()
	if err != nil {
		return usageError{err}
	}
	if c.Check {
		if _, err := fmt.Fprintf(to.out, "The configuration is right: %s.\n", summary(cfg)); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
		return nil
	}
	log, err := obs.NewLogger(to.err, cfg.Log)
	if err != nil {
		return usageError{err}
	}
	return serve(ctx, log, cfg.Admin.Listen, &cfg.Admin.MayMove, func() (*box.Box, error) { return box.New(ctx, cfg, log) })
}

func (c boxCmd) configuration() (box.Config, error) {
	var cfg box.Config
	var err error
	if c.Settings != "" && (c.Config == "" || !c.Check) {
		return cfg, errors.New("--settings is for --check, with --config: a box that runs takes the region's settings by itself")
	}
	if c.Config != "" {
		if c.Site != "" || c.Listen != "" || c.Data != "" || c.Admin != "" || c.Budget != nil {
			return cfg, errors.New("--config says it all: leave out --site, --listen, --data, --budget and --admin, or write them into the file")
		}
		if c.Settings != "" {
			cfg, err = box.LoadWanted(c.Config, c.Settings, box.Profiles())
		} else {
			cfg, err = box.LoadConfig(c.Config, box.Profiles())
		}
	} else {
		cfg, err = c.oneLine()
	}
	if c.LogLevel != "" {
		cfg.Log.Level = c.LogLevel
	}
	return cfg, err
}

// oneLine makes the configuration of the one-line form, and turns the keys of
// its mistakes into flags.
func (c boxCmd) oneLine() (box.Config, error) {
	var missing []string
	for _, flag := range []struct{ name, value string }{{"--site URL", c.Site}, {"--listen ADDR", c.Listen}, {"--data DIR", c.Data}} {
		if flag.value == "" && (flag.name != "--site URL" || !box.Enrolled(c.Data)) {
			missing = append(missing, flag.name)
		}
	}
	switch {
	case len(missing) == 3:
		return box.Config{}, errors.New("nothing to run: give --site URL --listen ADDR --data DIR, or --config FILE")
	case len(missing) > 0:
		return box.Config{}, fmt.Errorf("missing %s", strings.Join(missing, " and "))
	}
	cfg := box.FromFlags(box.Flags{Site: c.Site, Listen: c.Listen, Data: c.Data, Budget: c.Budget, Admin: c.Admin})
	return cfg, inFlags(cfg.Validate(box.Profiles()), map[string]string{
		"site[1].upstream": "--site", "listen[1].address": "--listen", "data": "--data",
		"budget": "--budget", "admin.listen": "--admin",
	})
}

func summary(cfg box.Config) string {
	var sites []string
	for _, s := range cfg.Site {
		sites = append(sites, s.Name+" from "+s.Upstream)
	}
	var doors []string
	for _, l := range cfg.Listen {
		doors = append(doors, l.Address)
	}
	return fmt.Sprintf("%s, on %s, %v in %s", strings.Join(sites, ", "), strings.Join(doors, ", "), cfg.Budget, cfg.Data)
}
