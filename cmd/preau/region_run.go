package main

import (
	"context"
	"errors"
	"strings"

	"preau/node/config"
	"preau/node/obs"
	"preau/node/region"
)

type regionRunCmd struct {
	folderFlags

	Admin  string        `placeholder:"ADDR" help:"Where this machine's operator looks: /healthz, /readyz, /metrics (default: 127.0.0.1:9191, or another port if that is taken)."`
	Budget *config.Bytes `placeholder:"SIZE" help:"Room for copies of web sites, such as 2GiB (default: 20GiB). Published files come on top of it."`

	Central string `placeholder:"ADDR" help:"Where the ministry's gateway is, such as central.example.org:4434 (default: there is none)."`

	Config string `placeholder:"FILE" help:"Read everything from a file instead: see preau region config."`
	Check  bool   `help:"Say whether the configuration is right, and stop."`

	LogLevel string `placeholder:"LEVEL" enum:",debug,info,warn,error" default:"" help:"debug, info, warn or error (default: what the file says, or info)."`
}

func (regionRunCmd) Help() string {
	return `What init or join was told is in DIR/server.toml, so the folder is enough:

    preau region run --data ./r1
    preau region run --config /etc/preau/region.toml --check
    curl http://127.0.0.1:9191/readyz
                                    is it ready, and if not why

Ctrl-C stops it in good order: it hands on its leadership first.`
}

// Run checks, then runs the server until ctx ends.
func (c regionRunCmd) Run(ctx context.Context, to streams) error {
	cfg, err := c.configuration()
	if err != nil {
		return usageError{err}
	}
	if c.Check {
		return to.printf("The configuration is right: %s.\n", regionSummary(cfg))
	}
	log, err := obs.NewLogger(to.err, cfg.Log)
	if err != nil {
		return usageError{err}
	}
	return serve(ctx, log, cfg.Admin.Listen, &cfg.Admin.MayMove, func() (*region.Region, error) { return region.New(ctx, cfg, log) })
}

func (c regionRunCmd) configuration() (region.Config, error) {
	var cfg region.Config
	var err error
	if c.Config != "" {
		if c.folderFlags != (folderFlags{}) || c.Admin != "" || c.Budget != nil || c.Central != "" {
			return cfg, errors.New("--config says it all: leave out --data, --listen, --advertise, --admin, --budget and --central, or write them into the file")
		}
		cfg, err = region.LoadConfig(c.Config)
	} else {
		cfg, err = c.fromFolder()
	}
	if c.LogLevel != "" {
		cfg.Log.Level = c.LogLevel
	}
	return cfg, err
}

func (c regionRunCmd) fromFolder() (region.Config, error) {
	cfg, err := c.load()
	if err != nil {
		return cfg, err
	}
	if c.Budget != nil {
		cfg.Budget = *c.Budget
	}
	if c.Central != "" {
		cfg.Central.Address = c.Central
	}
	switch {
	case c.Admin != "":
		cfg.Admin.Listen = c.Admin
	case cfg.Admin == region.DefaultConfig().Admin:
		cfg.Admin.MayMove = true // nobody chose the port
	}
	return cfg, inFlags(cfg.Validate(), regionFlags)
}

func regionSummary(cfg region.Config) string {
	text := "a region's server on " + cfg.Listen
	if cfg.Advertise != "" {
		text += ", found at " + cfg.Advertise
	}
	var sites []string
	for _, s := range cfg.Site {
		sites = append(sites, s.Name+" from "+s.Upstream)
	}
	if len(sites) > 0 {
		text += ", for " + strings.Join(sites, ", ")
	}
	return text + ", in " + cfg.Data
}
