package main

import (
	"context"
	"path/filepath"

	"preau/node/region"
)

type regionInitCmd struct {
	folderFlags

	Name   string `default:"Région" help:"What people call the region."`
	Server string `default:"s1" placeholder:"NAME" help:"What this server is called: a-z, 0-9 and -."`
	JSON   bool   `name:"json" help:"Write what was made as JSON."`
}

func (regionInitCmd) Help() string {
	return `It makes the region's own certificate authority, the first server, and the identity of the first operator, in DIR/operator. It leaves no server running. When it was cut off, the same command goes on.

    preau region init --data ./r1 --listen 192.0.2.11:4433 --name "Académie de Lyon"
    preau region init --data /var/lib/preau-region --listen :4433 --advertise region1.example.org:4433 --server lyon-1

A certificate of the region counts inside the region only: it says nothing to browsers.` + operatorHelp
}

func (c regionInitCmd) Run(ctx context.Context, to streams) error {
	cfg, err := c.fresh()
	if err != nil {
		return err
	}
	log, err := quiet(to)
	if err != nil {
		return err
	}
	var id string
	err = remember(cfg, func() error {
		made, err := region.Found(ctx, cfg, region.Founding{Name: c.Name, Server: c.Server}, log)
		id = string(made)
		return err
	})
	if err != nil {
		return err
	}
	operator := region.OperatorDir(c.Data)
	if c.JSON {
		return to.json(struct {
			Region   string `json:"region"`
			Name     string `json:"name"`
			Server   string `json:"server"`
			Data     string `json:"data"`
			Operator string `json:"operator"`
		}{id, c.Name, c.Server, c.Data, operator})
	}
	return to.printf(`The region %q (%s) is founded, with server %s.

%s
%s

Next:

    preau region run --data %s
                                    run the server; then, from another terminal:
    export PREAU_OPERATOR=%s
    preau status
    preau region token --server     invite a second server, and a third: one alone survives nothing
    preau region token --school 0690001A
                                    invite a box in that school
`, c.Name, id, c.Server, table([][]string{
		{c.Data, "the server's folder: it can't be made again, so never delete it"},
		{filepath.Join(c.Data, settingsFile), "its settings"},
		{operator, "the identity of the region's first operator"},
	}), "Keep a copy of "+operator+" in a safe place: who has it can do all that an operator can.", c.Data, operator)
}
