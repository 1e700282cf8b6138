package lifecycle

import (
	"context"
	"log/slog"
	"time"
)

// Backoff says how long to wait before beginning again: Min after the first
// failure, twice as long after each further one, never more than Max. A run
// that lasted longer than Max counts as a success and starts over at Min.
type Backoff struct{ Min, Max time.Duration }

// DefaultBackoff suits parts that talk over a line that comes and goes.
func DefaultBackoff() Backoff { return Backoff{Min: time.Second, Max: time.Minute} }

// Restart wraps a part whose failure the rest can live with: it is logged and
// the part begins again after a pause. A return of nil is final.
func Restart(p Part, b Backoff, log *slog.Logger) Part {
	if b.Min <= 0 {
		b.Min = DefaultBackoff().Min
	}
	b.Max = max(b.Max, b.Min)
	run := p.Run
	p.Run = func(ctx context.Context) error {
		wait := b.Min
		for {
			began := time.Now()
			err := run(ctx)
			// Our own context decides, not the error: a timeout of the
			// network looks like a cancelled context too.
			if err == nil || ctx.Err() != nil {
				return nil
			}
			if time.Since(began) > b.Max {
				wait = b.Min
			}
			log.WarnContext(ctx, "part failed and begins again", "name", p.Name, "err", err, "dur", wait)
			pause := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				pause.Stop()
				return nil
			case <-pause.C:
			}
			wait = min(2*wait, b.Max)
		}
	}
	return p
}
