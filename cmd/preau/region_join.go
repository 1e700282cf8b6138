package main

import (
	"context"
	"io"
	"strings"

	"preau/node/control"
	"preau/node/region"
)

type regionJoinCmd struct {
	folderFlags

	Token  string `arg:"" help:"The invitation that preau region token --server made; - reads it from standard input."`
	Server string `placeholder:"NAME" required:"" help:"What this server is to be called: a-z, 0-9 and -."`
	JSON   bool   `name:"json" help:"Write what was made as JSON."`
}

func (regionJoinCmd) Help() string {
	return `The server gets its identity now, and is taken in when it runs:

    preau region join PREAU1-... --data ./r2 --listen 192.0.2.12:4433 --server s2
    preau region run --data ./r2

A region has an odd number of servers: with three it survives the loss of one, with five of two.` + operatorHelp
}

func (c regionJoinCmd) Run(ctx context.Context, to streams) error {
	cfg, err := c.fresh()
	if err != nil {
		return err
	}
	token, err := readToken(to, c.Token)
	if err != nil {
		return err
	}
	var id string
	err = remember(cfg, func() error {
		made, err := region.Join(ctx, cfg, token, c.Server)
		id = string(made.Region)
		return control.Explain(err)
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return to.json(struct {
			Region string `json:"region"`
			Server string `json:"server"`
			Data   string `json:"data"`
		}{id, c.Server, c.Data})
	}
	return to.printf(`This machine is server %s of region %s, and is taken in when it runs:

    preau region run --data %s

Its folder can't be made again, so never delete it. preau status, from where an operator is, shows it within seconds.
`, c.Server, id, c.Data)
}

// readToken is the token that was given, or the one on standard input.
func readToken(to streams, token string) (string, error) {
	if token != "-" {
		return token, nil
	}
	text, err := io.ReadAll(io.LimitReader(to.in, 4096))
	if err != nil {
		return "", usage("read the token from standard input: %w", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", usage("there is no token on standard input")
	}
	return string(text), nil
}
