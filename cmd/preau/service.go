package main

import (
	"context"
	"log/slog"

	"preau/node/notify"
)

// runner is a role that is ready to run.
type runner interface {
	Run(ctx context.Context) error
}

// serve opens a role and runs it until ctx ends, and tells the service manager
// that started this program how it is: ready once its ports are open, and alive
// while its face for operators, at admin, answers.
func serve[R runner](ctx context.Context, log *slog.Logger, admin string, mayMove *bool, open func() (R, error)) error {
	m, err := notify.Here()
	if err != nil {
		return err
	}
	if m.Watchdog() > 0 {
		*mayMove = false // it is asked there for signs of life
	}
	face, err := notify.NewAdmin(admin)
	if err != nil {
		return err
	}
	role, err := open()
	if err != nil {
		return err
	}
	return notify.Run(ctx, m, log, notify.Program{Run: role.Run, Alive: face.Alive, State: face.State})
}
