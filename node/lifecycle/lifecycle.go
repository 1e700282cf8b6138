// Package lifecycle starts the parts of a program in order and stops them in
// reverse.
//
// A part runs on a context of its own that is not a child of the one that
// carries the signal: otherwise a Ctrl-C would end the stores at the same
// moment as the faces that still answer from them. The package restarts
// nothing by itself and knows nothing of what its parts do; a part that may
// fail and begin again is wrapped in Restart.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// DefaultGrace is how long a part without a grace of its own has to stop.
const DefaultGrace = 10 * time.Second

// ErrHung is in Run's error when a part was abandoned: it was asked to stop
// and had not returned when its grace was over.
var ErrHung = errors.New("did not stop in time")

// Part is one long-lived piece of a program.
type Part struct {
	Name string
	// Run blocks until ctx ends and then returns nil. An error stops the whole
	// group; nil before ctx ends means that the part had nothing more to do.
	Run func(ctx context.Context) error
	// Grace is how long Run may take to return once ctx has ended.
	Grace time.Duration
}

// Group holds parts. It is used once: Add, then Run.
type Group struct {
	log   *slog.Logger
	parts []Part
}

// New makes an empty group.
func New(log *slog.Logger) *Group { return &Group{log: log.With("part", "lifecycle")} }

// Add appends a part: it starts after, and stops before, those added earlier.
func (g *Group) Add(name string, grace time.Duration, run func(ctx context.Context) error) {
	g.AddPart(Part{Name: name, Grace: grace, Run: run})
}

// AddPart is Add for a part that exists already, as Restart makes them.
func (g *Group) AddPart(p Part) {
	if p.Grace <= 0 {
		p.Grace = DefaultGrace
	}
	g.parts = append(g.parts, p)
}

type running struct {
	Part
	cancel context.CancelFunc
	done   chan struct{}
	err    error // readable once done is closed
}

// Run starts the parts and blocks until ctx ends, a part fails, or all parts
// have returned. Then it stops what still runs, last first. Its error joins the
// failures and the names of the parts that hung; it is nil after a clean stop.
// Except for parts that hung, nothing is running when it returns.
func (g *Group) Run(ctx context.Context) error {
	parts := make([]*running, 0, len(g.parts))
	failed := make(chan struct{}, len(g.parts))
	allDone := make(chan struct{})
	for _, p := range g.parts {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{Part: p, cancel: cancel, done: make(chan struct{})}
		parts = append(parts, r)
		go func() {
			defer close(r.done)
			if r.err = r.Run(own); r.err != nil {
				failed <- struct{}{}
			}
		}()
	}
	go func() { // ends with the parts; a part that hangs keeps it waiting too
		for _, r := range parts {
			<-r.done
		}
		close(allDone)
	}()

	select {
	case <-ctx.Done():
	case <-failed:
	case <-allDone:
	}

	var errs []error
	for _, part := range slices.Backward(parts) {
		errs = append(errs, g.stop(part))
	}
	return errors.Join(errs...)
}

func (g *Group) stop(r *running) error {
	r.cancel()
	grace := time.NewTimer(r.Grace)
	defer grace.Stop()
	select {
	case <-r.done:
	case <-grace.C:
		g.log.Error("part hangs and is abandoned", "name", r.Name, "dur", r.Grace)
		return fmt.Errorf("%s: %w (%v)", r.Name, ErrHung, r.Grace)
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", r.Name, r.err)
	}
	return nil
}
