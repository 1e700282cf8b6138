package main

import (
	"context"
	"fmt"
	"time"

	"preau/node/config"
	"preau/node/control"
)

type regionTokenCmd struct {
	School   string          `placeholder:"CODE" xor:"for" help:"For a box in this school, by its code, such as 0690001A."`
	Server   bool            `xor:"for" help:"For a further server of the region."`
	Operator bool            `xor:"for" help:"For a person who may do all that these commands do."`
	Central  bool            `xor:"for" help:"For the ministry's gateway."`
	Valid    config.Duration `default:"7d" help:"How long it may wait to be used."`
	QR       *bool           `name:"qr" negatable:"" help:"Draw it as a QR code too (default: on a terminal)."`

	operatorFlags
}

func (regionTokenCmd) Help() string {
	return `An invitation enrols one machine, once. It is a secret until it has been used: it goes to whoever installs the machine, by a way that you trust.

    preau region token --school 0690001A
    preau region token --school 0690001A --valid 1d --json
    preau region token --server
    preau region token --operator` + operatorHelp
}

func (c regionTokenCmd) Run(ctx context.Context, to streams) error {
	q := control.TokenRequest{Role: "box", School: c.School, Valid: c.Valid.Std()}
	switch {
	case c.Server:
		q.Role = "server"
	case c.Operator:
		q.Role = "operator"
	case c.Central:
		q.Role = "central"
	case c.School == "":
		return usage("say what it is for: --school CODE for a box, --server, --operator or --central")
	}
	return c.with(ctx, to, usual, func(ctx context.Context, ask *control.Client) error {
		t, err := ask.Token(ctx, q)
		if err != nil {
			return err
		}
		if c.JSON {
			return to.json(t)
		}
		text := tokenText(t, time.Now())
		if draw := c.QR; draw != nil && *draw || draw == nil && isTerminal(to.out) {
			code, err := qrCode(t.Token)
			if err != nil {
				return err
			}
			text += "\n" + code
		}
		return to.print(text)
	})
}

// tokenText is an invitation and what to do with it.
func tokenText(t control.Token, now time.Time) string {
	what, command := "a box in school "+t.School, "preau enrol --token "+t.Token+" --data /var/lib/preau"
	switch t.Role {
	case "server":
		what, command = "a server of the region", "preau region join "+t.Token+" --data /var/lib/preau-region --listen ADDR --server NAME"
	case "central":
		what, command = "the ministry's gateway", "preau central enrol --token "+t.Token+" --data /var/lib/preau-central"
	case "operator":
		what, command = "an operator of the region", "preau enrol --operator --token "+t.Token
	}
	return fmt.Sprintf("%s\n\nFor %s, once, until %s (%s). There:\n\n    %s\n",
		t.Token, what, t.Expires.Local().Format("2 January 2006, 15:04"), when(t.Expires, now), command)
}
