package main

import (
	"context"

	"preau/node/class"
	"preau/node/config"
)

type classCmd struct {
	URL     string          `arg:"" help:"What to download, through any cache or none."`
	Devices int             `default:"35" help:"How many devices take part."`
	Over    config.Duration `default:"1s" help:"Time over which they arrive; 0s: all at once."`

	Range  string       `placeholder:"MODE" enum:",random,seek" default:"" help:"What each reads before the whole: random (1 MiB somewhere) or seek (like a video player)."`
	Size   config.Bytes `help:"Size of the body, where the server does not tell; ranges need it."`
	Abort  int          `help:"How many devices leave in the middle."`
	Resume bool         `help:"Let those who left or were cut off come back for the rest."`
	Slow   int          `help:"How many devices read slowly."`
	Rate   config.Bytes `name:"slow-rate" default:"100kB" help:"How much a slow device reads in a second."`

	Expect  string          `placeholder:"SHA256" help:"What the whole body must hash to; without it the bodies are compared with one another."`
	Timeout config.Duration `default:"10m" help:"A device that takes longer has failed."`
	Connect string          `placeholder:"ADDR" help:"Connect to this address whatever the URL's host is."`
	// Insecure is for boxes with a certificate of the school's own.
	Insecure bool   `help:"Accept any certificate."`
	Metrics  string `placeholder:"URL" help:"Admin address of a box, such as http://127.0.0.1:9190: count the bytes of its line too."`
	JSON     bool   `name:"json" help:"Write the report as JSON."`
}

func (classCmd) Help() string {
	return `A table shows each device while it downloads: seconds, bytes, and whether its body is right. Exit code 1 means that a body was wrong or not whole.

    preau class http://127.0.0.1:18020/film.mp4 --devices 35
    preau class http://127.0.0.1:18020/film.mp4 --metrics http://127.0.0.1:9190
                                    with the bytes that crossed the line
    preau class https://school.example/film.mp4 --connect 127.0.0.1:8443 --insecure
                                    through a box that has no DNS name yet
    preau class http://127.0.0.1:18020/film.mp4 --range seek --abort 10 --resume
                                    a restless class`
}

func (c classCmd) Run(ctx context.Context, to streams) error {
	over := c.Over.Std()
	if over == 0 {
		over = -1 // class.Config: below zero all come at once
	}
	_, err := class.Run(ctx, class.Config{
		URL: c.URL, Devices: c.Devices, Over: over,
		Range: c.Range, Size: int64(c.Size), Abort: c.Abort, Resume: c.Resume,
		Slow: c.Slow, SlowRate: int64(c.Rate),
		Expect: c.Expect, Timeout: c.Timeout.Std(), Connect: c.Connect,
		Insecure: c.Insecure, Metrics: c.Metrics, JSON: c.JSON,
	}, to.out)
	return err
}
