package main

import (
	"context"

	"preau/node/control"
)

type readmitCmd struct {
	Name string `arg:"" help:"Its name, as preau list revocations shows it."`
	Role string `enum:"box,server,operator" default:"box" help:"What it is: box, server or operator."`

	operatorFlags
}

func (readmitCmd) Help() string {
	return `With the identity that it has it is in again, unless that has run out meanwhile.

    preau readmit library-2` + operatorHelp
}

func (c readmitCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Readmit(ctx, c.Role, c.Name)
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(done)
		}
		return to.printf("The %s %s may connect again (index %s).\n", c.Role, c.Name, count(done.Index))
	})
}
