package main

import (
	"context"
	"strings"

	"preau/node/control"
)

type readmitCmd struct {
	Name string  `arg:"" help:"Its name, as preau list revocations or preau boxes shows it."`
	Role string  `enum:"box,server,operator" default:"box" help:"What it is: box, server or operator."`
	Code *string `placeholder:"CODE" help:"Take back a box whose disk does not open, and that shows this code."`

	operatorFlags
}

func (readmitCmd) Help() string {
	return `With the identity that it has it is in again, unless that has run out meanwhile.

    preau readmit library-2

A box whose disk does not open (its main board or its TPM is another one, or the disk is dead) runs from memory. It asks for its place back, and shows a code on its screen and on its page. Call the school at the number that you have on file, and have somebody read out what the box shows: whoever has had the box in hand, or its used invitation, can ask in its name, but with another code. So never act on a call that comes in. With the right one the box enrols by itself within a minute or two, in the same school, under a name beside the old one; what is on its disk stays good for the day it opens.

    preau boxes --state asking
    preau readmit library-2 --code ABCD-EFGH-JKLM` + operatorHelp
}

func (c readmitCmd) Run(ctx context.Context, to streams) error {
	if c.Code != nil {
		return c.takeBack(ctx, to)
	}
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

// takeBack takes back a box that asks for it.
func (c readmitCmd) takeBack(ctx context.Context, to streams) error {
	if c.Role != "box" {
		return usage("--code is that of a box: a %s is enrolled with a token (preau region token)", c.Role)
	}
	// A script whose variable is empty must not take a revocation back.
	if strings.TrimSpace(*c.Code) == "" {
		return usage("--code is empty: write the code that the box shows, such as ABCD-EFGH-JKLM")
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		back, err := ask.TakeBack(ctx, control.ReturnRequest{Box: c.Name, Code: *c.Code})
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(back)
		}
		return to.printf("The box %s of school %s may come back as %s until %s (index %s): it does so by itself within a minute or two. %s stays the name of what is on its disk, and of who asks again after the next start.\n",
			back.Box, back.School, back.Name, back.Expires.Local().Format("2 January 2006, 15:04"), count(back.Index), back.Box)
	})
}
