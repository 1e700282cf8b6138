package usage_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"preau/node/keep"
	"preau/node/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a box's counters.
type world struct {
	mu  sync.Mutex
	now usage.Totals
	err error
}

func (w *world) count() (usage.Totals, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now, w.err
}

func (w *world) add(line, sent int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Line += line
	w.now.Sent += sent
}

func (w *world) set(t usage.Totals, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.err = t, err
}

// run opens a book and runs it until stop is called.
func run(t *testing.T, dir string, w *world) (b *usage.Book, stop func()) {
	t.Helper()
	b, err := usage.New(usage.DefaultConfig(dir), w.count, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	return b, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func bins(t *testing.T, b *usage.Book, from time.Time, n int) (out []usage.Totals) {
	t.Helper()
	all, err := b.Bins(from, from.Add(time.Duration(n)*usage.Quarter))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != n {
		t.Fatalf("%d bins, not %d", len(all), n)
	}
	for _, bin := range all {
		out = append(out, bin.Totals)
	}
	return out
}

func TestBytesAreInTheQuarterInWhichTheyCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, dir := &world{}, t.TempDir()
		start := time.Now()
		b, stop := run(t, dir, w)
		w.add(100, 1000)
		<-time.After(20 * time.Minute)
		w.add(10, 20)
		<-time.After(time.Minute)
		want := []usage.Totals{{Line: 100, Sent: 1000}, {Line: 10, Sent: 20}, {}}
		for i, got := range bins(t, b, start, 3) {
			if got != want[i] {
				t.Errorf("quarter %d is %+v, not %+v", i, got, want[i])
			}
		}
		stop()

		// The next life counts from nothing, and goes on with the same quarter.
		w.set(usage.Totals{Line: 5, Sent: 7}, nil)
		b, stop = run(t, dir, w)
		<-time.After(time.Minute)
		if got := bins(t, b, start, 2)[1]; got != (usage.Totals{Line: 15, Sent: 27}) {
			t.Errorf("after a restart the quarter is %+v", got)
		}
		stop()
	})
}

func TestACounterThatFallsHasBegunAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		start := time.Now()
		b, stop := run(t, t.TempDir(), w)
		defer stop()
		w.add(100, 100)
		<-time.After(time.Minute)
		w.set(usage.Totals{Line: 3, Sent: 4}, nil)
		<-time.After(time.Minute)
		w.set(usage.Totals{}, errors.New("no counters"))
		<-time.After(time.Minute)
		w.set(usage.Totals{Line: 4, Sent: 6}, nil)
		<-time.After(time.Minute)
		if got := bins(t, b, start, 1)[0]; got != (usage.Totals{Line: 104, Sent: 106}) {
			t.Errorf("it is %+v", got)
		}
	})
}

func TestWhatIsOldOrLiesAheadIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, dir := &world{}, t.TempDir()
		start := time.Now()
		ahead := start.Add(20 * 24 * time.Hour) // the clock was wrong
		if err := keep.Write(filepath.Join(dir, "usage.json"), map[int64]usage.Totals{ahead.Unix(): {Line: 1}}); err != nil {
			t.Fatal(err)
		}
		b, stop := run(t, dir, w)
		if got := bins(t, b, ahead, 1)[0]; got.Line != 1 {
			t.Fatalf("what was written is not read: %+v", got)
		}
		w.add(1, 1)
		<-time.After(time.Hour)
		stop()
		<-time.After(usage.Kept)
		_, stop = run(t, dir, w)
		w.add(1, 1)
		<-time.After(usage.Quarter)
		stop()
		b, stop = run(t, dir, w)
		defer stop()
		for _, at := range []time.Time{start, ahead} {
			if got := bins(t, b, at, 1)[0]; got != (usage.Totals{}) {
				t.Errorf("of %s there is %+v", at, got)
			}
		}
	})
}

func TestADamagedFileIsBegunAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "usage.json"), []byte("what a disk made of it"), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		w := &world{now: usage.Totals{Line: 1, Sent: 2}}
		b, stop := run(t, dir, w)
		<-time.After(time.Minute)
		stop()
		if got := bins(t, b, start, 1)[0]; got != w.now {
			t.Errorf("it is %+v", got)
		}
	})
}

func TestMoreThanIsKeptCanNotBeAskedFor(t *testing.T) {
	t.Parallel()
	b, err := usage.New(usage.DefaultConfig(t.TempDir()), (&world{}).count, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, to := range []time.Time{now.Add(-time.Hour), now.Add(usage.Kept + time.Hour)} {
		if _, err := b.Bins(now, to); err == nil {
			t.Errorf("%s was no mistake", to)
		}
	}
	if _, err := usage.New(usage.Config{}, nil, nil); err == nil {
		t.Error("no folder was no mistake")
	}
}

func TestNothingSavedIsNotLess(t *testing.T) {
	t.Parallel()
	sum := usage.Sum([]usage.Bin{{Totals: usage.Totals{Line: 10, Sent: 2}}, {Totals: usage.Totals{Line: 1, Sent: 4}}})
	if sum != (usage.Totals{Line: 11, Sent: 6}) || sum.Saved() != 0 {
		t.Errorf("%+v, saved %d", sum, sum.Saved())
	}
	if (usage.Totals{Line: 1, Sent: 4}).Saved() != 3 {
		t.Error("what was saved is another")
	}
}
