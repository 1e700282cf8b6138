package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"preau/node/config"
	"preau/node/control"
)

// operatorVariable names the operator's folder in the environment.
const operatorVariable = "PREAU_OPERATOR"

// warnBefore is how long before its end people hear of their certificate's.
const warnBefore = 30 * config.Day

// operatorFlags are common to all commands that ask a region.
type operatorFlags struct {
	Region  []string         `placeholder:"HOST:PORT" help:"Servers to ask, instead of those that the operator's folder remembers."`
	As      string           `placeholder:"DIR" help:"The operator's folder (default: $$PREAU_OPERATOR, or ./operator, or ~/.config/preau/operator)."`
	JSON    bool             `name:"json" help:"Write the answer as JSON, for scripts."`
	Timeout *config.Duration `placeholder:"TIME" help:"Give up after this time (default: 1m; publish: never)."`
}

// operatorHelp closes the help of these commands.
const operatorHelp = `

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 the region could not decide or no server answers (the same command can be given again), 4 the region refused, or has no such thing.`

// folder finds the operator's folder.
func (f operatorFlags) folder() (string, error) {
	if f.As != "" {
		return f.As, nil
	}
	if dir := os.Getenv(operatorVariable); dir != "" {
		return dir, nil
	}
	places := []string{"operator"}
	if dir, err := ownOperatorDir(); err == nil {
		places = append(places, dir)
	}
	for _, dir := range places {
		if control.HasIdentity(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no operator's identity is here: looked at $%s, which is not set, and in %s. "+
		"Say where it is with --as DIR. The first operator's is in the folder operator of the region's first server; preau enrol --operator makes others",
		operatorVariable, strings.Join(places, " and "))
}

func ownOperatorDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "preau", "operator"), nil
}

// with has fn ask the region, within the time that there is.
func (f operatorFlags) with(ctx context.Context, to streams, within time.Duration, fn func(context.Context, *control.Client) error) error {
	dir, err := f.folder()
	if err != nil {
		return usageError{err}
	}
	c, err := control.Open(dir, f.Region)
	if err != nil {
		return usageError{err}
	}
	if f.Timeout != nil {
		within = f.Timeout.Std()
	}
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, within, fmt.Errorf("not done within %v (--timeout)", config.Duration(within)))
		defer cancel()
	}
	err = fn(ctx, c)
	if err == nil {
		for _, lost := range c.Lost() {
			to.note("%s did not answer; another server did", lost)
		}
	}
	if c.Index() > 0 { // somebody has answered
		renew(ctx, to, c, dir)
	}
	return errors.Join(err, c.Close())
}

// renew looks after the operator's certificate, as people should not have to. It
// is nobody's failure if that can't be done yet: the next command tries again.
func renew(ctx context.Context, to streams, c *control.Client, dir string) {
	renewed, err := c.Renew(ctx)
	left := when(c.Until(), time.Now())
	switch {
	case renewed:
		to.note("the certificate of %s in %s was renewed, and runs out %s", c.Name(), dir, left)
	case time.Until(c.Until()) >= warnBefore:
	case err != nil:
		to.note("the certificate of %s in %s runs out %s and could not be renewed (%s): if that does not pass, ask for a token (preau region token --operator) and enrol again with --replace",
			c.Name(), dir, left, control.Why(err))
	}
}

// usual is how long most commands may take.
const usual = time.Minute
