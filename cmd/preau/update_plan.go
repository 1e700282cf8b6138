package main

import (
	"os"
	"slices"
	"time"

	updating "preau/node/update"
)

type updatePlanCmd struct {
	Packages []string `arg:"" optional:"" placeholder:"FILE" help:"Packages as make deb names them: of the version that boxes are to have, and of those that they have. None: the plan has settings alone, and no box changes its version."`
	To       string   `placeholder:"VERSION" help:"The version that boxes are to have (default: the latest of the packages)."`
	School   []string `placeholder:"CODE" help:"Only boxes of this school; may be given again."`
	Box      []string `placeholder:"NAME" help:"Only this box; may be given again."`
	Percent  *float64 `placeholder:"N" help:"Only this share of the boxes, beside those that are named."`
	Else     string   `placeholder:"VERSION" help:"What all other boxes are to have (default: what they have)."`
	Back     bool     `help:"Boxes with a later version go back to this one."`
	Hours    []string `placeholder:"HH:MM-HH:MM" help:"When boxes may change over; may be given again; any: at any time (default: 01:00-05:00)."`
	Region   string   `placeholder:"ID" help:"Only this region takes the plan (default: any)."`
	Settings string   `placeholder:"FILE" help:"What boxes take into their settings: [[site]] and [portal] title, written as in a box's own file, which wins."`
	Serial   int64    `placeholder:"N" help:"A number larger than in all plans before (default: the time)."`
}

func (updatePlanCmd) Help() string {
	return `A box takes no plan that is older than one that it has seen. It goes back to an older version only with --back.

With --settings and no package, boxes keep the version that they have; appliances take their settings from the same plan. --settings is for all boxes; write more [[settings]], with schools or boxes, into the plan before it is signed. A box that can't use its settings says so and keeps those before.

    preau update plan preau_1.2.0_amd64.deb preau_1.1.0_amd64.deb --school 0690001A --percent 5 > plan
    preau update plan preau_1.1.0_amd64.deb preau_1.2.0_amd64.deb --to 1.1.0 --back --hours any > plan
    preau update plan --settings sites.toml --hours any > plan`
}

// versions reports whether something is said that means nothing without packages.
func (c updatePlanCmd) versions() bool {
	return c.To != "" || c.Else != "" || c.Back || c.Percent != nil || len(c.School) > 0 || len(c.Box) > 0
}

func (c updatePlanCmd) Run(to streams) error {
	var packages []updating.Package
	for _, file := range c.Packages {
		k, err := updating.Describe(file)
		if err != nil {
			return usageError{err}
		}
		packages = append(packages, k)
	}
	if len(packages) == 0 && c.versions() {
		return usage("these speak of versions: name the packages too. Settings for some boxes alone are written into the plan, with schools or boxes under [[settings]]")
	}
	if c.To == "" && len(packages) > 0 {
		c.To = slices.MaxFunc(packages, func(a, b updating.Package) int { return updating.Compare(a.Version, b.Version) }).Version
	}
	if c.Serial == 0 {
		c.Serial = time.Now().Unix()
	}
	p := updating.Plan{Serial: c.Serial, Region: c.Region, Package: packages}
	if len(packages) > 0 || len(c.Hours) > 0 {
		p.Ring = []updating.Ring{{Version: c.To, Schools: c.School, Boxes: c.Box, Percent: c.Percent, Back: c.Back, Hours: c.Hours}}
	}
	if c.Settings != "" {
		text, err := os.ReadFile(c.Settings)
		if err != nil {
			return usageError{err}
		}
		p.Settings = []updating.Settings{{Text: string(text)}}
	}
	if c.Else != "" {
		p.Ring = append(p.Ring, updating.Ring{Version: c.Else, Hours: c.Hours})
	}
	text := p.Text()
	if _, err := updating.ParsePlan(text); err != nil {
		return usageError{err}
	}
	return to.print(string(text))
}
