package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"preau/node/config"
	"preau/node/obs"
	updating "preau/node/update"
)

// updateCmd holds the commands that keep a box's program up to date.
type updateCmd struct {
	Status updateStatusCmd `cmd:"" default:"withargs" help:"Say how updates of this machine's box stand."`
	Run    updateRunCmd    `cmd:"" help:"Do what the timer does: take what the region wants here, in its hours."`
	Now    updateNowCmd    `cmd:"" help:"Take what the region wants here now, whatever the hour."`
	Back   updateBackCmd   `cmd:"" help:"Go back to the version that was installed before."`
	Plan   updatePlanCmd   `cmd:"" help:"Print a plan for a region's boxes, to be signed and published."`

	Settings updateSettingsCmd `cmd:"" help:"Take only what the region sets for this box, such as web sites: for machines with a whole image."`
}

// Help is the way of an update, from the signer's desk to the boxes.
func (updateCmd) Help() string {
	return `For boxes on plain Debian; appliances take a plan's settings (preau update settings) and their version with their image. A region publishes a package and a signed plan; each box takes them from its own shelf at night, so they cross a school's line once. It believes what the key in ` + updating.KeyFile + ` has signed, and nothing else. A version with which the box does not come back well is taken back by itself, and not tried again.

Once, with the key that signs (GnuPG), for every box:

    gpg --export KEY > update.gpg          to ` + updating.KeyFile + ` of the boxes
    systemctl enable --now preau-update.timer

For each version, first for one school, then for a tenth, then for all:

    preau update plan preau_1.2.0_*.deb preau_1.1.0_*.deb --school 0690001A > plan
    gpg --local-user KEY --clearsign --output plan.asc plan
    for f in preau_1.[12].0_*.deb; do preau publish "$f" --collection updates --id "$(echo "$f" | tr '+~' -)"; done
    preau publish plan.asc --collection updates --id ` + updating.PlanID + `

    preau update plan preau_1.2.0_*.deb preau_1.1.0_*.deb --percent 10 > plan
                                           and so on: sign it and publish it

Name the version too that boxes have now: without a way back none is taken.

Web sites for all boxes, appliances too, which know the key that signs their images (a plan replaces the one before: name the packages again if there are any):

    preau update plan --settings sites.toml > plan
                                           and so on: sign it and publish it

On a box:

    preau update                           how it stands
    preau update now
    preau update back`
}

// updateFlags is what commands on the box's machine have in common.
type updateFlags struct {
	Folder string          `default:"/var/lib/preau-update" placeholder:"DIR" help:"Where the updater keeps its things."`
	Admin  string          `default:"127.0.0.1:9190" placeholder:"ADDR" help:"Where the box's operator looks."`
	Key    string          `default:"/etc/preau/update.gpg" placeholder:"FILE" help:"The key that signs updates, as gpg --export writes it."`
	Within config.Duration `default:"5m" help:"How long a version may take to be well."`
	Steady config.Duration `default:"1m" help:"How long the box must be well with it before that counts."`
}

// with makes a run and has do use it.
func (c updateFlags) with(to streams, hours []string, do func(*updating.Updater) (updating.Told, error)) error {
	return c.run(to, hours, updating.Parts{Packages: updating.DPKG{}}, do)
}

// run does it with these parts, and with those that all runs have.
func (c updateFlags) run(to streams, hours []string, parts updating.Parts, do func(*updating.Updater) (updating.Told, error)) error {
	log, err := obs.NewLogger(to.err, obs.DefaultLog())
	if err != nil {
		return err
	}
	box, err := updating.NewBox(c.Admin)
	if err != nil {
		return usageError{err}
	}
	cfg := updating.DefaultConfig()
	cfg.Folder, cfg.Hours, cfg.Within, cfg.Steady = c.Folder, hours, c.Within.Std(), c.Steady.Std()
	parts.Box, parts.Verify, parts.Now, parts.Own = box, updating.GPG{Key: c.Key}.Verify, time.Now, "/proc/self/exe"
	parts.Settings = updating.Service{Config: "/etc/preau/box.toml"}
	u, err := updating.New(cfg, parts, log)
	if err != nil {
		return err
	}
	t, err := do(u)
	return errors.Join(err, to.print(toldText(t, time.Now())), u.Close())
}

type updateRunCmd struct {
	Hours []string `placeholder:"HH:MM-HH:MM" help:"When it may change over, by its own clock, whatever the plan says; may be given again; any: at any time (default: what the plan says, or 01:00-05:00)."`

	updateFlags
}

func (c updateRunCmd) Run(ctx context.Context, to streams) error {
	if _, err := updating.ParseHours(c.Hours); err != nil {
		return usage("--hours: %w", err)
	}
	return c.with(to, c.Hours, func(u *updating.Updater) (updating.Told, error) { return u.Run(ctx, updating.Options{}) })
}

type updateNowCmd struct {
	Again bool `help:"Try a version again that was given up."`

	updateFlags
}

func (c updateNowCmd) Run(ctx context.Context, to streams) error {
	return c.with(to, nil, func(u *updating.Updater) (updating.Told, error) {
		return u.Run(ctx, updating.Options{AnyTime: true, Again: c.Again})
	})
}

type updateBackCmd struct{ updateFlags }

func (updateBackCmd) Help() string {
	return `The version before lies on the disk since the last update. The one that is left is not taken again, until preau update now --again.`
}

func (c updateBackCmd) Run(ctx context.Context, to streams) error {
	return c.with(to, nil, func(u *updating.Updater) (updating.Told, error) { return u.Back(ctx) })
}

type updateStatusCmd struct {
	Folder string `default:"/var/lib/preau-update" placeholder:"DIR" help:"Where the updater keeps its things."`
	JSON   bool   `name:"json" help:"Write the answer as JSON, for scripts."`
}

func (updateStatusCmd) Help() string {
	return `Exit codes: 0 all is well, 1 somebody has to look at it.`
}

func (c updateStatusCmd) Run(to streams) error {
	t, err := updating.Read(c.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("nothing has looked for updates here yet: systemctl enable --now preau-update.timer, and preau update --help")
	}
	if err != nil {
		return err
	}
	if c.JSON {
		err = to.json(t)
	} else {
		err = to.print(toldText(t, time.Now()))
	}
	if wrong := t.Trouble(); err == nil && wrong != "" {
		err = errors.New(wrong)
	}
	return err
}

// toldText is how updates stand, on one screen.
func toldText(t updating.Told, now time.Time) string {
	if t.Text == "" {
		return ""
	}
	rows := [][]string{{"now", t.Text}, {"looked", when(t.At, now)}}
	if t.Wanted != "" { // an appliance's version is its image's
		rows = append([][]string{{"installed", t.Version}, {"wanted", t.Wanted}}, rows...)
	} else if t.Version != "" {
		rows = append([][]string{{"version", t.Version}}, rows...)
	}
	var text strings.Builder
	text.WriteString(table(rows))
	if t.Problem != "" {
		text.WriteString("  ! " + t.Problem + "\n")
	}
	for _, r := range slices.Backward(t.Refused) {
		fmt.Fprintf(&text, "  ! %s was given up %s: %s\n", r.Version, when(r.At, now), r.Why)
	}
	return text.String()
}
