package main

import (
	"context"

	"preau/node/control"
)

type revokeCmd struct {
	Name   string `arg:"" help:"The box, as preau boxes calls it."`
	Role   string `enum:"box,server,operator" default:"box" help:"What it is: box, server or operator."`
	Reason string `placeholder:"TEXT" help:"Why, for those who look later."`

	operatorFlags
}

func (revokeCmd) Help() string {
	return `Within seconds every server refuses its certificate and closes its connections. A server is taken out with preau region remove instead, while the region can still decide.

    preau revoke library-2 --reason "stolen"
    preau revoke ann --role operator` + operatorHelp
}

func (c revokeCmd) Run(ctx context.Context, to streams) error {
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		done, err := ask.Revoke(ctx, control.Revocation{Role: c.Role, Name: c.Name, Reason: c.Reason})
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(done)
		}
		return to.printf("The %s %s is shut out (index %s). To take it back: preau readmit %s --role %s\n", c.Role, c.Name, count(done.Index), c.Name, c.Role)
	})
}
