package main

import (
	"context"
	"net/http"

	"preau/node/box"
	"preau/node/control"
)

type claimCmd struct {
	Anew bool `help:"Make a new code, for a box that was claimed before: its school has lost every other way in."`

	boxFlags
}

func (claimCmd) Help() string {
	return `    preau claim               the code of a box that nobody has claimed yet
    preau claim --anew        a new one

No password comes with a box. Whoever enters this code on the box's page /claim is the school's admin from then on, and makes badges with which teachers sign in; the code works once. Where the ministry's sign-in is configured ([sign_in] in the box's configuration), people with that role need no code. A badge or a session that there is stays as it is.

Exit codes: 0 here is the code, 1 failed, 2 the command line is wrong, 4 the box was claimed: --anew makes a new code.`
}

// errClaimed is said by a command that has nothing to show.
var errClaimed = &control.Error{Status: http.StatusConflict, Code: "claimed", Detail: "the box was claimed: preau claim --anew makes a new code"}

func (c claimCmd) Run(ctx context.Context, to streams) error {
	method := http.MethodGet
	if c.Anew {
		method = http.MethodPost
	}
	var a box.Claim
	if err := c.ask(ctx, method, "/claim", &a); err != nil {
		return err
	}
	if c.JSON {
		return to.json(a)
	}
	if !a.Open {
		return errClaimed
	}
	address := a.Address
	if address == "/claim" {
		address = "/claim on the box itself, such as http://127.0.0.1/claim: it has no secure address yet"
	}
	return to.printf("%s\n\nEnter it at %s. It works once.\n", a.Code, address)
}
