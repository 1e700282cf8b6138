package main

import (
	"fmt"

	"preau/node/box"
	"preau/node/obs"
)

// cli is the whole command line; kong reads it.
type cli struct {
	Demo    demoCmd    `cmd:"" help:"See it work on this machine, with nothing installed and no network."`
	Box     boxCmd     `cmd:"" help:"Run a box: stand in front of web sites and let a class download once."`
	Class   classCmd   `cmd:"" help:"Let a class download a URL, check every body and measure."`
	Config  configCmd  `cmd:"" help:"Print a commented configuration file with every setting."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// Help is what preau --help says before the list of commands.
func (cli) Help() string {
	return `Where to begin:

    preau demo                      see a class download once, in your browser

    preau box --site http://127.0.0.1:18000 --listen 127.0.0.1:18020 --data ./cache
                                    put a box in front of a site of your own

    preau class http://127.0.0.1:18020/film.mp4 --devices 35
                                    let 35 devices download through it

Exit codes: 0 all went well, 1 something went wrong while running, 2 the command line or the configuration is wrong and nothing was started.`
}

type configCmd struct{}

func (configCmd) Help() string {
	return `Write your own file and check it:

    preau config > box.toml
    preau box --config box.toml --check`
}

func (configCmd) Run(to streams) error {
	if _, err := to.out.Write(box.ReferenceFile()); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

type versionCmd struct{}

func (versionCmd) Run(to streams) error {
	b := obs.ReadBuild()
	if _, err := fmt.Fprintf(to.out, "preau %s (commit %s, %s)\n", b.Version, b.Commit, b.Go); err != nil {
		return fmt.Errorf("print version: %w", err)
	}
	return nil
}
