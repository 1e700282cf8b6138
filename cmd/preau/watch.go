package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"preau/node/control"
)

// watchFlags are common to commands after which boxes must have forgotten
// something.
type watchFlags struct {
	Wait bool `negatable:"" default:"true" help:"Wait until all connected boxes have confirmed that they did it."`
}

// decided is the answer for scripts.
type decided struct {
	control.Done
	Progress *control.Progress `json:"progress,omitempty"`
}

// watch tells what was decided, and follows how boxes carry it out.
func (f watchFlags) watch(ctx context.Context, to streams, ask *control.Client, done control.Done, asJSON bool, what string) error {
	if !f.Wait {
		if asJSON {
			return to.json(decided{Done: done})
		}
		return to.printf("%s: decided, index %s. Connected boxes do it within seconds, the others when they are back.\n", what, count(done.Index))
	}
	line := newMeter(to.err)
	p, err := ask.WatchProgress(ctx, done.Index, func(p control.Progress) { line.show("%s: %s", what, progressText(p)) })
	line.clear()
	if asJSON {
		err = errors.Join(to.json(decided{Done: done, Progress: &p}), err)
	} else if err == nil {
		err = to.printf("%s: decided, index %s. Done by %s.\n", what, count(done.Index), progressText(p))
	}
	if err != nil {
		return fmt.Errorf("it is decided (index %s) and goes on without you, but not all have confirmed it yet: %s%s: %w",
			count(done.Index), progressText(p), waitingText(p), err)
	}
	return nil
}

// progressText is how many boxes have done it.
func progressText(p control.Progress) string {
	text := fmt.Sprintf("%s of %s", count(p.Confirmed), some(p.Connected, "connected box", "connected boxes"))
	switch away := p.Known - p.Connected; {
	case away == 1:
		text += ", 1 away will do it when it is back"
	case away > 1:
		text += fmt.Sprintf(", %s away will do it when they are back", count(away))
	}
	if len(p.Silent) > 0 {
		text += ", and what the boxes at " + strings.Join(p.Silent, " and ") + " do is not known: no answer from there"
	}
	return text
}

func waitingText(p control.Progress) string {
	if len(p.Waiting) == 0 {
		return ""
	}
	text := ", waiting for " + strings.Join(p.Waiting[:min(len(p.Waiting), 5)], ", ")
	if p.Connected-p.Confirmed > 5 {
		text += " and others"
	}
	return text
}
