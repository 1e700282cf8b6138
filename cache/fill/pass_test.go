package fill

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
)

// lender is a bed whose body another keeps.
type lender struct {
	*bed
	often  atomic.Bool  // it is to be kept here too
	passed atomic.Int32 // times it was told that nothing was kept
}

func newLender(tb testing.TB, limit int64) *lender {
	tb.Helper()
	return &lender{bed: newBed(tb, limit)}
}

func (l *lender) body(src Source) *Body {
	l.t.Helper()
	b, err := l.m.Open(ID{1}, func() (Spec, error) {
		spec := l.spec(src)
		spec.Pass, spec.Passed = func() bool { return !l.often.Load() }, func() { l.passed.Add(1) }
		return spec, nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// wantNothing checks that nothing of the body is kept, or in memory.
func (l *lender) wantNothing() {
	l.t.Helper()
	if l.store.Puts() != 0 || l.saves != 0 {
		l.t.Errorf("%d blocks were stored, %d manifests saved", l.store.Puts(), l.saves)
	}
	if m := l.m.memory; m.held.Load() != 0 || m.passing.Load() != 0 {
		l.t.Errorf("%d bytes, %d blocks are still in memory", m.held.Load(), m.passing.Load())
	}
	if got := l.passed.Load(); got != 1 {
		l.t.Errorf("the owner was told %d times", got)
	}
}

// slowly is a checker that takes its time before some of what it is given.
type slowly struct {
	checker
	wait func(at int)
}

func (s *slowly) Write(p []byte) (int, error) {
	s.wait(s.n)
	return s.checker.Write(p)
}

// follow reads all of the body from b, waiting as wait says.
func (l *lender) follow(b *Body, o *origin, wait func(at int)) {
	r := b.NewReader(0, -1)
	defer r.Close()
	s := &slowly{checker{want: o.start}, wait}
	if n, err := r.CopyTo(context.Background(), s); err != nil || s.wrong || n != int64(len(o.start)) {
		l.t.Errorf("%d bytes of %d, %v; wrong %v", n, len(o.start), err, s.wrong)
	}
}

func TestWhatAnotherKeepsIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(12*block.Size+777)
		b := l.body(o)
		b.Feed(o.first())
		var most int64
		l.follow(b, o, func(int) { most = max(most, l.m.memory.held.Load()) })
		b.Release()
		synctest.Wait()
		l.wantNothing()
		l.quiet(o)
		if o.sent() != int64(len(o.data)) || len(o.asked()) != 1 {
			t.Errorf("%d bytes in %v", o.sent(), o.asked())
		}
		if bound := int64((passedParts + 2) * block.Size); most > bound {
			t.Errorf("%d bytes were in memory, at most %d should be", most, bound)
		}
		// Asked for anew it is fetched anew.
		l.often.Store(true)
		b = l.body(o)
		l.follow(b, o, func(int) {})
		b.Release()
		synctest.Wait()
		if m := l.saved(); !m.Complete() || l.passed.Load() != 1 {
			t.Errorf("%d bytes are kept of what is asked for often", m.Held())
		}
	})
}

func TestWhoComesMeanwhileFollowsTheSameFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(3*block.Size+777)
		o.bits = 80e6
		b := l.body(o)
		b.Feed(o.first())
		var all sync.WaitGroup
		for i := range 35 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond) // the last comes when all of it is here
				l.follow(b, o, func(int) {})
			})
		}
		all.Wait()
		b.Release()
		synctest.Wait()
		l.wantNothing()
		if o.sent() != int64(len(o.data)) {
			t.Errorf("%d bytes came of %d", o.sent(), len(o.data))
		}
	})
}

func TestWhatTurnsOutToBeWantedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(12*block.Size)
		b := l.body(o)
		b.Feed(o.first())
		l.follow(b, o, func(at int) {
			if at >= 8*block.Size {
				l.often.Store(true)
			}
		})
		b.Release()
		synctest.Wait()
		held := l.held()
		if held < 4*block.Size || held == int64(len(o.data)) || l.passed.Load() != 0 {
			t.Errorf("%d bytes are kept", held)
		}
		l.mustGet(o, 0, -1) // only what is missing comes
		synctest.Wait()     // its reader has it before the disk
		if want := 2*int64(len(o.data)) - held; o.sent() != want || !l.saved().Complete() {
			t.Errorf("%d bytes came, want %d; %d are kept", o.sent(), want, l.held())
		}
	})
}

func TestWhatIsHeldWhenItTurnsOutToBeWantedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(2*block.Size+5)
		b := l.body(o)
		b.Feed(o.first())
		l.follow(b, o, func(int) {})
		l.often.Store(true)
		b.Release()
		synctest.Wait()
		if m := l.saved(); !m.Complete() || o.sent() != int64(len(o.data)) {
			t.Errorf("%d bytes are kept, %d came", m.Held(), o.sent())
		}
	})
}

// TestWhoStandsStillHasItKept: a film that is paused holds up neither memory nor
// whoever sends it.
func TestWhoStandsStillHasItKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(16*block.Size)
		b := l.body(o)
		b.Feed(o.first())
		l.follow(b, o, func(at int) {
			if at == block.Size {
				time.Sleep(passWait / 2)
				if held := l.m.memory.held.Load(); l.store.Puts() > 0 || held > (passedParts+2)*block.Size {
					t.Errorf("%d blocks stored, %d bytes held while it is waited for", l.store.Puts(), held)
				}
				time.Sleep(passWait)
				if o.sent() != int64(len(o.data)) {
					t.Errorf("%d bytes have come", o.sent())
				}
			}
		})
		b.Release()
		synctest.Wait()
		if l.passed.Load() != 0 || l.held() < 14*block.Size {
			t.Errorf("%d bytes are kept", l.held())
		}
		l.quiet(o)
	})
}

func TestReadersFarApartHaveItKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(16*block.Size)
		o.bits = 800e6
		b := l.body(o)
		b.Feed(o.first())
		var all sync.WaitGroup
		all.Go(func() { l.follow(b, o, func(int) {}) })
		all.Go(func() { l.follow(b, o, func(int) { time.Sleep(5 * time.Millisecond) }) })
		all.Wait()
		b.Release()
		synctest.Wait()
		if l.passed.Load() != 0 || l.store.Puts() == 0 {
			t.Errorf("%d blocks stored", l.store.Puts())
		}
		if most := int64(len(o.data)) + 2*passedParts*block.Size; o.sent() > most {
			t.Errorf("%d bytes came, at most %d should", o.sent(), most)
		}
	})
}

// TestOneWhoLeavesHasNothingKept: what was passed on to somebody who left is
// neither fetched to its end nor kept.
func TestOneWhoLeavesHasNothingKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, o := newLender(t, 1<<30), newOrigin(6*block.Size)
		o.bits = 80e6
		b := l.body(o)
		b.Feed(o.first())
		ctx, leave := context.WithTimeout(t.Context(), 550*time.Millisecond) // little is left by then
		defer leave()
		if n, err := l.read(ctx, b, 0, -1, o.start); !errors.Is(err, context.DeadlineExceeded) || n < 5*block.Size {
			t.Errorf("%d bytes, %v", n, err)
		}
		b.Release()
		synctest.Wait()
		l.wantNothing()
		l.quiet(o)
	})
}

// TestPassingManyThings: whatever breaks, and whenever it turns out to be wanted,
// every reader gets every byte, and memory is bounded.
func TestPassingManyThings(t *testing.T) {
	runs := 20
	if testing.Short() {
		runs = 4
	}
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			l, o := newLender(t, 1<<30), newOrigin(int(5*block.Size+rnd.Int64N(8*block.Size)))
			o.bits, o.dieEach = 400e6, block.Size/2+rnd.Int64N(3*block.Size)
			size := int64(len(o.data))
			var all sync.WaitGroup
			for range 1 + rnd.IntN(5) {
				from, come, pause := rnd.Int64N(size), time.Duration(rnd.Int64N(int64(300*time.Millisecond))), time.Duration(rnd.Int64N(int64(3*time.Millisecond)))
				to := from + rnd.Int64N(size-from) + 1
				all.Go(func() {
					time.Sleep(come)
					b := l.body(o)
					defer b.Release()
					r := b.NewReader(from, to)
					defer r.Close()
					s := &slowly{checker{want: o.start[from:to]}, func(int) { time.Sleep(pause) }}
					if n, err := r.CopyTo(t.Context(), s); err != nil || s.wrong || n != to-from {
						t.Errorf("seed %d: %d bytes of %d..%d, %v; wrong %v", seed, n, from, to, err, s.wrong)
					}
				})
			}
			if turn := rnd.Int64N(int64(time.Second)); turn%2 == 0 {
				all.Go(func() {
					time.Sleep(time.Duration(turn))
					l.often.Store(true)
				})
			}
			all.Wait()
			synctest.Wait()
			l.m.Close()
			if m := l.m.memory; m.held.Load() != 0 || m.passing.Load() != 0 || m.sheltered.Load() != 0 {
				t.Errorf("seed %d: %d bytes, %d blocks are still in memory", seed, m.held.Load(), m.passing.Load())
			}
		})
	}
}
