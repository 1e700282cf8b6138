package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/node/lifecycle"
)

var quiet = slog.New(slog.DiscardHandler)

// diary is a list of what happened that several parts write.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) note(entry string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, entry)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.entries)
}

// slowPart notes when it stops, which takes it a while.
func slowPart(d *diary, name string, takes time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes)
		d.note(name)
		return nil
	}
}

func TestPartsStopInReverseOrderOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		g := lifecycle.New(quiet)
		g.Add("store", time.Minute, slowPart(&d, "store", time.Second))
		g.Add("fill", time.Minute, slowPart(&d, "fill", 3*time.Second))
		g.Add("face", time.Minute, slowPart(&d, "face", 5*time.Second))
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		began := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := d.read(), []string{"face", "fill", "store"}; !slices.Equal(got, want) {
			t.Errorf("stopped %v, want %v", got, want)
		}
		if got, want := time.Since(began), time.Hour+9*time.Second; got != want {
			t.Errorf("took %v, want %v: parts must not stop at the same time", got, want)
		}
	})
}

func TestFirstFailureStopsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		broken := errors.New("disk on fire")
		g := lifecycle.New(quiet)
		g.Add("store", 0, slowPart(&d, "store", 0))
		g.Add("fill", 0, func(context.Context) error {
			time.Sleep(time.Minute)
			return broken
		})
		g.Add("face", 0, slowPart(&d, "face", 0))
		err := g.Run(t.Context())
		if !errors.Is(err, broken) || err.Error() != "fill: disk on fire" {
			t.Errorf("error = %v, want it to name the part and its cause", err)
		}
		if got := d.read(); !slices.Equal(got, []string{"face", "store"}) {
			t.Errorf("stopped %v", got)
		}
	})
}

func TestHangingPartIsNamedAndTheOthersStillStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		let := make(chan struct{})
		g := lifecycle.New(quiet)
		g.Add("store", 0, slowPart(&d, "store", 0))
		g.Add("stuck", 4*time.Second, func(context.Context) error { <-let; return nil })
		ctx, stop := context.WithCancel(t.Context())
		stop()
		began := time.Now()
		err := g.Run(ctx)
		if !errors.Is(err, lifecycle.ErrHung) || err.Error() != "stuck: did not stop in time (4s)" {
			t.Errorf("error = %v, want it to name the part that hangs", err)
		}
		if got := time.Since(began); got != 4*time.Second {
			t.Errorf("waited %v, want the part's grace", got)
		}
		if got := d.read(); !slices.Equal(got, []string{"store"}) {
			t.Errorf("stopped %v, want the store to stop all the same", got)
		}
		close(let)
	})
}

func TestPartThatEndsByItselfStopsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		g := lifecycle.New(quiet)
		g.Add("once", 0, func(context.Context) error { return nil })
		g.Add("face", 0, slowPart(&d, "face", 0))
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		began := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != time.Hour {
			t.Errorf("stopped after %v, want an hour", got)
		}
	})
}

func TestGroupEndsWhenAllPartsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New(quiet)
		g.Add("once", 0, func(context.Context) error { time.Sleep(time.Second); return nil })
		if err := g.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRestartWaitsLongerEachTimeAndForgetsAfterAGoodRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var starts []time.Duration
		lasts := []time.Duration{0, 0, 0, 0, 20 * time.Second, 0}
		part := lifecycle.Restart(lifecycle.Part{Name: "feed", Run: func(context.Context) error {
			starts = append(starts, time.Since(began))
			if len(starts) > len(lasts) {
				return nil
			}
			time.Sleep(lasts[len(starts)-1])
			return errors.New("line is down")
		}}, lifecycle.Backoff{Min: time.Second, Max: 4 * time.Second}, quiet)
		if err := part.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 1, 3, 7, 11, 32, 34}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(starts, want) {
			t.Errorf("started at %v, want %v", starts, want)
		}
	})
}

func TestRestartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 90*time.Second)
		defer stop()
		part := lifecycle.Restart(lifecycle.Part{Name: "feed", Run: func(context.Context) error {
			return errors.New("no")
		}}, lifecycle.DefaultBackoff(), quiet)
		began := time.Now()
		if err := part.Run(ctx); err != nil {
			t.Errorf("error = %v, want nil when stopped", err)
		}
		if got := time.Since(began); got != 90*time.Second {
			t.Errorf("ended after %v, want at once with its context", got)
		}
	})
}
