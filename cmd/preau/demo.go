package main

import (
	"context"
	"os"
	"os/exec"
	"strings"

	"preau/node/demo"
)

type demoCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where the page is."`
}

func (demoCmd) Help() string {
	return `A small school library behind a simulated line of 20 Mbit/s, a box in front of it, the region that the box belongs to, the centre with its buckets, and a page that shows all of it live. Everything runs in this one program, on this machine only, and Ctrl-C removes it all.

    preau demo
    then open http://127.0.0.1:8080, press "class", and after it "cut the line"`
}

// Run shows a school in this one process until ctx ends.
func (c demoCmd) Run(ctx context.Context, to streams) error {
	cfg := demo.DefaultConfig()
	cfg.Page, cfg.NewBox, cfg.Beyond, cfg.Program = c.Listen, demo.RealBox, demo.DefaultBeyond(), calledAs(os.Executable, exec.LookPath)
	return demo.Run(ctx, cfg, to.out)
}

// calledAs is what to type in another terminal for this same program.
func calledAs(executable func() (string, error), look func(string) (string, error)) string {
	file, err := executable()
	switch {
	case err != nil:
		return "preau"
	case strings.Contains(file, "go-build"): // make run, or go run
		return "go run ./cmd/preau"
	}
	if found, err := look("preau"); err == nil && same(found, file) {
		return "preau"
	}
	return file
}

// same reports two names of one file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
