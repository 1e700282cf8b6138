package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"preau/node/box"
)

type drainCmd struct {
	Undo   bool `help:"Have the box take part again."`
	NoWait bool `name:"no-wait" help:"Don't wait until nothing is on this box alone."`

	boxFlags
}

func (drainCmd) Help() string {
	return `    preau drain                      before the box is repaired or taken away
    preau drain --undo               it takes part in the school's pool again

A box that drains owns nothing new: its neighbours take its share over, from its disk and not over the school's line, and what was added on it is brought to them or to the region. The command waits until no file that somebody added is on this box alone; then the box can be switched off and nothing is lost. It goes on serving devices until then. Started again, it takes part again.

Exit codes: 0 it may be switched off (with --undo: it takes part again), 1 something went wrong, 2 the command line is wrong.`
}

const drainLook = time.Second

func (c drainCmd) Run(ctx context.Context, to streams) error {
	method := http.MethodPut
	if c.Undo {
		method = http.MethodDelete
	}
	var s box.Drain
	if err := c.ask(ctx, method, "/drain", &s); err != nil {
		return err
	}
	line := newMeter(to.err)
	defer line.clear()
	for !c.Undo && !c.NoWait && s.Alone != 0 {
		line.show("%s", aloneText(s.Alone))
		select {
		case <-ctx.Done():
			return errors.New("stopped waiting; the box goes on draining")
		case <-time.After(drainLook):
		}
		if err := c.ask(ctx, http.MethodGet, "/drain", &s); err != nil {
			return err
		}
	}
	line.clear()
	switch {
	case c.JSON:
		return to.json(s)
	case c.Undo:
		return to.print("The box takes part in the school's pool again.\n")
	case s.Alone != 0:
		return to.printf("The box drains; %s.\n", aloneText(s.Alone))
	}
	return to.print("Nothing that was added is on this box alone: it may be switched off.\n")
}

func aloneText(n int) string {
	if n < 0 {
		return "its folder of deposits can't be read now, so nobody knows what is on it alone"
	}
	return some(n, "added file is", "added files are") + " on this box alone"
}
