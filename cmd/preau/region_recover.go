package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"preau/node/region"
)

type regionRecoverCmd struct {
	folderFlags

	Yes  bool `help:"Don't ask."`
	JSON bool `name:"json" help:"Write what was kept as JSON; needs --yes."`
}

const recoverMeans = `This makes the server in %s the only one of its region, with all that it has itself.
What only the others had, and was decided in their presence, is lost. Do it when most of
the servers are gone for good, with the one of those left that was furthest (preau status
told the index), and with no other server running. Others that are left are reset before
they run again: preau region reset.
`

func (regionRecoverCmd) Help() string {
	return `A region of three goes on when one server is lost, and stops deciding when two are. If those two never come back, one server can go on alone, and others join it anew. Boxes learn by a new epoch that what they heard last may be undone, and mend their copy by themselves.

    preau region recover --data ./r3
    preau region run --data ./r3
    preau region token --server     and so on: a second and a third server

On each server that is left beside it, before it runs:

    preau region reset --data ./r2` + operatorHelp
}

func (c regionRecoverCmd) Run(ctx context.Context, to streams) error {
	cfg, err := c.load()
	if err != nil {
		return usageError{err}
	}
	if err := confirm(to, c.Yes, recoverMeans, c.Data); err != nil {
		return err
	}
	log, err := quiet(to)
	if err != nil {
		return err
	}
	kept, err := region.Recover(ctx, cfg, log)
	if err != nil {
		return err
	}
	if c.JSON {
		return to.json(struct {
			Index uint64 `json:"index"`
			Epoch uint64 `json:"epoch"`
		}{kept.Index, kept.Epoch})
	}
	return to.printf("Done: the region has this server alone, all up to index %s, and is in epoch %d. Next:\n\n    preau region run --data %s\n",
		count(kept.Index), kept.Epoch, c.Data)
}

// confirm explains what a command is about to do and asks whether it should.
func confirm(to streams, yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	fmt.Fprintf(to.err, format+"\nType yes to go on: ", args...)
	answer, err := bufio.NewReader(to.in).ReadString('\n')
	if strings.TrimSpace(strings.ToLower(answer)) == "yes" {
		return nil
	}
	fmt.Fprintln(to.err)
	if err != nil {
		return usage("nobody said yes, so nothing was done: --yes says it for scripts")
	}
	return usage("that was not yes, so nothing was done")
}
