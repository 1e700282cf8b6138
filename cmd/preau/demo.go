package main

import (
	"context"

	"preau/node/demo"
)

type demoCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where the page is."`
}

func (demoCmd) Help() string {
	return `A small school library behind a simulated line of 20 Mbit/s, a box in front of it, and a page that shows the box live. Everything runs in this one program, on this machine only, and Ctrl-C removes it all.

    preau demo
    then open http://127.0.0.1:8080, press "class", and after it "cut the line"`
}

// Run shows a school in this one process until ctx ends.
func (c demoCmd) Run(ctx context.Context, to streams) error {
	cfg := demo.DefaultConfig()
	cfg.Page, cfg.NewBox = c.Listen, demo.RealBox
	return demo.Run(ctx, cfg, to.out)
}
