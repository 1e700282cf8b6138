package update

import "context"

// Service is the box's service, and the program that runs in it.
type Service struct {
	Config string // the box's own file
}

// Check returns what is wrong with settings of the region for this box.
func (s Service) Check(ctx context.Context, file string) error {
	_, err := command(ctx, program, "box", "--config", s.Config, "--settings", file, "--check")
	return err
}

// Restart has a box that runs read its settings anew.
func (Service) Restart(ctx context.Context) error {
	_, err := command(context.WithoutCancel(ctx), "systemctl", "try-restart", "preau-box.service")
	return err
}
