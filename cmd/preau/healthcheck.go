package main

import (
	"context"
	"errors"
	"fmt"

	"preau/node/config"
	"preau/node/notify"
)

type healthCmd struct {
	Admin   []string        `placeholder:"ADDR" default:"127.0.0.1:9190,127.0.0.1:9191,127.0.0.1:9192" help:"Where its operator looks; of several the first that answers (default: where a box, a server and a gateway are)."`
	Ready   bool            `help:"Ask whether it does all its work, not only whether it lives."`
	Timeout config.Duration `default:"10s" help:"Give up after this time."`
}

func (healthCmd) Help() string {
	return `It is for those who start programs and want to know whether one that runs still works, such as a container's health check: nothing is printed, and the exit code is 0 if all is well.

    preau health
    preau health --ready --admin 127.0.0.1:9191

A box that lives and is not ready serves what it can: to start it again helps nobody.`
}

// Run asks.
func (c healthCmd) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout.Std(), fmt.Errorf("no answer within %v", c.Timeout))
	defer cancel()
	var errs []error
	for _, address := range c.Admin {
		face, err := notify.NewAdmin(address)
		if err != nil {
			return usageError{err}
		}
		if err = face.Alive(ctx); err == nil {
			if c.Ready {
				return face.Ready(ctx)
			}
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
