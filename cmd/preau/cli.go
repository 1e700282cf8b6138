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
	Config  configCmd  `cmd:"" help:"Print a commented configuration file of a box with every setting."`
	Explain explainCmd `cmd:"" help:"Say what a box would do with a request, and why, rule by rule."`
	Version versionCmd `cmd:"" help:"Print the version."`
	Health  healthCmd  `cmd:"" help:"Say by the exit code whether what runs on this machine is well."`

	Manual     manualCmd     `cmd:"" help:"Print a page of the manual, for man."`
	Completion completionCmd `cmd:"" help:"Print what has a shell complete this program's command lines."`

	Deposit  depositCmd  `cmd:"" help:"Add files on a box, which brings them to the ministry's centre."`
	Deposits depositsCmd `cmd:"" help:"List what was added on a box, and how far each has come."`

	Claim      claimCmd      `cmd:"" help:"Show the code with which a new box is claimed by its school."`
	Neighbours neighboursCmd `cmd:"" help:"List the other boxes of this box's school, and how each is."`
	Drain      drainCmd      `cmd:"" help:"Take a box out of its school's pool, before it is repaired or taken away."`

	Update updateCmd `cmd:"" help:"Keep this machine's box up to date, as its region wants it; plan that for a region."`

	Region    regionCmd    `cmd:"" group:"A region and its boxes:" help:"Found, run and look after a region: its servers, its invitations, its rules."`
	Central   centralCmd   `cmd:"" group:"A region and its boxes:" help:"Run the ministry's gateway, between its object store and the regions."`
	Enrol     enrolCmd     `cmd:"" group:"A region and its boxes:" help:"Make this machine a box, or this person an operator, of a region."`
	Provision provisionCmd `cmd:"" group:"A region and its boxes:" help:"Have a new appliance enrolled by a file on a USB stick or its boot partition."`

	Status    statusCmd    `cmd:"" group:"What operators ask of a region:" help:"Say how the region is: leader, servers, boxes, the way to the centre."`
	Boxes     boxesCmd     `cmd:"" group:"What operators ask of a region:" help:"List the boxes and how each is."`
	Locate    locateCmd    `cmd:"" group:"What operators ask of a region:" help:"Say where a device is sent that asks for its school's box."`
	List      listCmd      `cmd:"" group:"What operators ask of a region:" help:"List what the region has decided: resources, pins, purges and so on."`
	Publish   publishCmd   `cmd:"" group:"What operators ask of a region:" help:"Publish files to all boxes, or to some schools."`
	Unpublish unpublishCmd `cmd:"" group:"What operators ask of a region:" help:"Take a published file away from all boxes."`
	Pin       pinCmd       `cmd:"" group:"What operators ask of a region:" help:"Have boxes hold a file or a collection, whatever else they need room for."`
	Unpin     unpinCmd     `cmd:"" group:"What operators ask of a region:" help:"Take a pin off."`
	Purge     purgeCmd     `cmd:"" group:"What operators ask of a region:" help:"Have all boxes forget a page, a part of a site, or a file."`
	Revoke    revokeCmd    `cmd:"" group:"What operators ask of a region:" help:"Shut out a box that was stolen or retired, a server or an operator."`
	Readmit   readmitCmd   `cmd:"" group:"What operators ask of a region:" help:"Take a revocation back, or a box whose disk does not open."`
}

// Help is what preau --help says before the list of commands.
func (cli) Help() string {
	return `Where to begin:

    preau demo                      see a class download once, in your browser

    preau box --site http://127.0.0.1:18000 --listen 127.0.0.1:18020 --data ./cache
                                    put a box in front of a site of your own

    preau class http://127.0.0.1:18020/film.mp4 --devices 35
                                    let 35 devices download through it

    preau region --help             many boxes that know of one another's files and follow one word

Exit codes: 0 all went well, 1 something went wrong while running, 2 the command line or the configuration is wrong and nothing was started, 3 the region could not decide or no server of it answers, 4 the region refused, or has no such thing.`
}

type configCmd struct{}

func (configCmd) Help() string {
	return `Write your own file and check it:

    preau config > box.toml
    preau box --config box.toml --check

A region's server has other settings: preau region config.`
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
