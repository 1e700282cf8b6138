package main

import (
	"context"

	"preau/node/control"
)

type unpinCmd struct {
	ID string `arg:"" help:"The pin's id, as preau pin told it and preau list pins shows it."`

	operatorFlags
}

func (unpinCmd) Help() string {
	return `What was pinned is not deleted: it may go when a box needs the room.

    preau unpin pin-0123456789abcdef` + operatorHelp
}

func (c unpinCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Unpin(ctx, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(done)
		}
		return to.printf("The pin %s is off (index %s).\n", c.ID, count(done.Index))
	})
}
