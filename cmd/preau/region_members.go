package main

import (
	"context"

	"preau/node/control"
)

type regionRemoveCmd struct {
	Name string `arg:"" help:"The server, as preau status calls it."`

	operatorFlags
}

func (regionRemoveCmd) Help() string {
	return `For a server that is gone for good or is to be taken away. Its certificate is revoked, so it can't come back by itself; a new one can have its name once it is readmitted. The leader hands on its leadership first: preau region lead.

    preau region remove s2` + operatorHelp
}

func (c regionRemoveCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.RemoveServer(ctx, c.Name)
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(done)
		}
		return to.printf("Server %s is out of the region (index %s).\n", c.Name, count(done.Index))
	})
}

type regionLeadCmd struct {
	Name string `arg:"" help:"The server, as preau status calls it."`

	operatorFlags
}

func (regionLeadCmd) Help() string {
	return `It takes a moment, in which nothing is lost and decisions wait.

    preau region lead s3` + operatorHelp
}

func (c regionLeadCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Lead(ctx, c.Name)
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(done)
		}
		return to.printf("Server %s leads.\n", c.Name)
	})
}
