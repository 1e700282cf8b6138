package main

import (
	"context"

	"preau/node/control"
)

type pinCmd struct {
	Resource   string   `placeholder:"ID" xor:"what" help:"A published file (see preau list resources)."`
	Collection string   `placeholder:"ID" xor:"what" help:"A collection and all files in it."`
	School     []string `placeholder:"CODE" help:"In these schools only (default: in all)."`
	From       moment   `placeholder:"TIME" help:"From when on, such as 2026-09-01T08:00 (default: now)."`
	Until      moment   `placeholder:"TIME" help:"Until when (default: until it is taken off)."`

	operatorFlags
}

func (pinCmd) Help() string {
	return `Boxes fetch what is pinned ahead of the rest and hold it as long as the pin is in force.

    preau pin --collection maths-6e
    preau pin --resource r-3f2a99 --school 0690001A --school 0690002B --from 2026-09-01T08:00 --until 2026-09-05` + operatorHelp
}

func (c pinCmd) Run(ctx context.Context, to streams) error {
	what := "resource " + c.Resource
	switch {
	case c.Resource == "" && c.Collection == "":
		return usage("say what to pin: --resource ID or --collection ID")
	case c.Collection != "":
		what = "collection " + c.Collection
	}
	if !c.Until.IsZero() && !c.Until.After(c.From.Time) {
		return usage("the pin would end before it begins")
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Pin(ctx, control.PinRequest{
			Resource: c.Resource, Collection: c.Collection, Schools: c.School, From: c.From.Time, Until: c.Until.Time,
		})
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(done)
		}
		return to.printf("The %s is pinned, as %s (index %s). To take it off: preau unpin %s\n", what, done.ID, count(done.Index), done.ID)
	})
}
