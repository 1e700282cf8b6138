package main

import (
	"context"

	"preau/node/control"
)

type unpublishCmd struct {
	ID string `arg:"" help:"The resource's id, as preau publish told it and preau list resources shows it."`

	watchFlags
	operatorFlags
}

func (unpublishCmd) Help() string {
	return `    preau unpublish r-3f2a99
    preau unpublish r-3f2a99 --no-wait` + operatorHelp
}

func (c unpublishCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Unpublish(ctx, c.ID)
		if err != nil {
			return err
		}
		return c.watch(ctx, to, ask, done, c.JSON, "End of "+c.ID)
	})
}
