package follow

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

// plan is a follower that plans for a shelf of the test's, in a bubble.
type plan struct {
	*Follower
	copy  *fakeCopy
	stock *fakeStock
	began time.Time
	t     *testing.T
}

// planned runs fn with a plan that knows of nothing yet.
func planned(t *testing.T, fn func(p *plan)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, c := opened(t)
		p := &plan{Follower: f, copy: c, stock: newStock(), began: time.Now(), t: t}
		f.stock = p.stock
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.runPrefetch(ctx) }()
		synctest.Wait() // it has seen that there is nothing
		fn(p)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// tell brings facts as the feed does, now.
func (p *plan) tell(facts ...catalogue.Fact) {
	p.t.Helper()
	var records []catalogue.Record
	for _, f := range facts {
		r := record(p.t, f)
		r.At = time.Now()
		records = append(records, r)
	}
	p.copy.apply(p.t, records...)
}

// at waits until so long after the beginning, and checks what was done meanwhile.
func (p *plan) at(after time.Duration, want ...string) {
	p.t.Helper()
	<-time.After(after - time.Since(p.began))
	synctest.Wait()
	if got := p.stock.took(); !slices.Equal(got, want) {
		p.t.Errorf("up to %v: %q, want %q", after, got, want)
	}
}

// hours is a span of the day, in minutes after the bubble's beginning.
func hours(from, to int) catalogue.Hours {
	now := time.Now()
	minute := now.Hour()*60 + now.Minute()
	return catalogue.Hours{From: (minute + from) % (24 * 60), To: (minute + to) % (24 * 60)}
}

// newest are resources of a collection, each more urgent than the next.
func newest(collection string, ids ...string) (out []catalogue.Fact) {
	for i, id := range ids {
		r := resourceOf(id, collection, 1<<20)
		r.Modified = noon.AddDate(0, 0, -i)
		out = append(out, r)
	}
	return out
}

func slow(d time.Duration) func(context.Context, string, shelf.Limiter) error {
	return func(ctx context.Context, _ string, _ shelf.Limiter) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestPrefetchKeepsToTheHours(t *testing.T) {
	planned(t, func(p *plan) {
		p.stock.fetch = slow(100 * time.Second)
		p.tell(append(newest("geo", "a", "b", "c"),
			catalogue.Subscription{ID: "s", Collection: "geo"}, catalogue.Pin{ID: "p", Resource: "b"},
			catalogue.Policy{PrefetchHours: []catalogue.Hours{hours(3, 5), hours(8, 20)}})...)
		p.at(2*time.Minute+30*time.Second, "pin b") // nothing comes, but nothing goes either
		p.at(4*time.Minute, "fetch b")
		p.at(5*time.Minute+30*time.Second, "fetch a") // cut off at the end of the hours
		if p.stock.whole["a"] || !p.stock.whole["b"] {
			t.Errorf("here is %v", p.stock.whole)
		}
		p.at(7*time.Minute + 50*time.Second)
		p.at(15*time.Minute, "fetch a", "fetch c")
		if held := (region{p.Follower}).Held(); held.Wanted != 3 || held.Present != 3 || held.Bytes != 3<<20 {
			t.Errorf("the region is told %+v", held)
		}
	})
}

func TestPrefetchKeepsToTheRate(t *testing.T) {
	planned(t, func(p *plan) {
		var took []time.Duration
		p.stock.fetch = func(ctx context.Context, _ string, limit shelf.Limiter) error {
			began := time.Now()
			for range 10 {
				if limit != nil {
					if err := limit.WaitN(ctx, 100_000); err != nil {
						return err
					}
				}
			}
			took = append(took, time.Since(began))
			return nil
		}
		p.tell(append(newest("geo", "a", "b"), catalogue.Subscription{ID: "s", Collection: "geo"},
			catalogue.Policy{PrefetchRate: 1_000_000}, catalogue.Policy{School: school, PrefetchRate: 50_000})...)
		p.at(50*time.Second, "fetch a", "fetch b")
		if len(took) != 2 || took[0] < 17*time.Second || took[0] > 19*time.Second || took[1] < 17*time.Second || took[1] > 21*time.Second {
			t.Errorf("1 MB each at 50 kB/s took %v", took)
		}
		p.tell(append(newest("geo", "c"), catalogue.Policy{}, catalogue.Policy{School: school})...)
		p.at(55*time.Second, "fetch c")
		if len(took) != 3 || took[2] != 0 {
			t.Errorf("without a rate: %v", took)
		}
	})
}

func TestPinsBeginAndEndInTime(t *testing.T) {
	planned(t, func(p *plan) {
		at := func(minutes int) time.Time { return p.began.Add(time.Duration(minutes) * time.Minute) }
		p.tell(append(newest("geo", "a", "b", "c"),
			catalogue.Pin{ID: "p", Resource: "a", From: at(10), Until: at(20)},
			catalogue.Pin{ID: "q", Resource: "b", Until: at(15)},
			catalogue.Pin{ID: "r", Collection: "geo", Schools: []identity.School{"0750001B"}, From: at(1)})...)
		p.at(9*time.Minute+59*time.Second, "pin b", "fetch b")
		p.at(10*time.Minute+time.Second, "pin a", "fetch a")
		p.at(14*time.Minute + 59*time.Second)
		p.at(15*time.Minute+time.Second, "unpin b")
		p.at(19*time.Minute + 59*time.Second)
		p.at(20*time.Minute+time.Second, "unpin a")
		p.tell(catalogue.Pin{ID: "q", Resource: "b", Until: at(30)}) // longer after all
		p.at(21*time.Minute, "pin b")
		p.copy.apply(p.t, gone(catalogue.KindPin, "q"))
		p.at(22*time.Minute, "unpin b")
	})
}

func TestWhatIsMoreUrgentComesNext(t *testing.T) {
	planned(t, func(p *plan) {
		p.stock.fetch = slow(10 * time.Second)
		p.tell(append(newest("geo", "a", "b", "c"), catalogue.Subscription{ID: "s", Collection: "geo"})...)
		p.tell(newest("music", "song")...)
		p.at(5*time.Second, "fetch a")
		p.tell(catalogue.Pin{ID: "p", Resource: "song"})
		p.at(15*time.Second, "pin song", "fetch song")
		p.at(time.Minute, "fetch b", "fetch c")
	})
}

func TestWhatIsHereIsNotLookedAtWithAllNews(t *testing.T) {
	planned(t, func(p *plan) {
		p.tell(append(newest("geo", "a", "b", "c"), catalogue.Subscription{ID: "s", Collection: "geo"})...)
		p.at(2*time.Second, "fetch a", "fetch b", "fetch c")
		looked := p.stock.looked
		p.tell(newest("geo", "d")...)
		p.at(4*time.Second, "fetch d")
		if n := p.stock.looked - looked; n != 1 {
			t.Errorf("for one that is new, %d were looked at", n)
		}
		p.stock.mu.Lock()
		p.stock.whole["b"] = false // evicted
		p.stock.mu.Unlock()
		p.at(3*time.Minute, "fetch b")
		// Another version is another thing.
		next := resourceOf("a", "geo", 1<<20)
		next.Title = "The same bytes"
		p.tell(next)
		p.at(4 * time.Minute)
		next = resourceOf("a", "geo", 2<<20)
		next.SHA256[0]++
		p.stock.mu.Lock()
		p.stock.whole["a"] = false
		p.stock.mu.Unlock()
		p.tell(next)
		p.at(4*time.Minute+2*time.Second, "fetch a")
	})
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	planned(t, func(p *plan) {
		failing := errors.New("the line is down")
		p.stock.fetch = func(context.Context, string, shelf.Limiter) error { return failing }
		p.tell(append(newest("geo", "a", "b"), catalogue.Subscription{ID: "s", Collection: "geo"})...)
		p.at(10*time.Second, "fetch a", "fetch b")
		p.stock.mu.Lock()
		p.stock.fetch = nil
		p.stock.mu.Unlock()
		p.at(30*time.Second, "fetch a", "fetch b")
		p.stock.mu.Lock()
		p.stock.full = storage.ErrPinsFull
		p.stock.mu.Unlock()
		p.tell(catalogue.Pin{ID: "p", Resource: "a"})
		p.at(40*time.Second, "pin a")
		p.stock.mu.Lock()
		p.stock.full = nil
		p.stock.mu.Unlock()
		p.at(2*time.Minute, "pin a")
		p.at(5 * time.Minute)
	})
}

// What was not wanted is not in memory, so it is read when it is.
func TestPinsAndSubscriptionsFindWhatWasThereBefore(t *testing.T) {
	planned(t, func(p *plan) {
		p.tell(append(newest("geo", "a", "b"), newest("music", "song", "choir")...)...)
		p.at(5 * time.Second)
		if n := len(p.known.near); n != 0 {
			t.Errorf("%d resources are in memory and none is wanted", n)
		}
		p.tell(catalogue.Subscription{ID: "s", Collection: "geo"}, catalogue.Pin{ID: "p", Resource: "choir"})
		p.at(10*time.Second, "pin choir", "fetch choir", "fetch a", "fetch b")
		moved := resourceOf("b", "music", 1<<20)
		p.tell(moved)
		p.copy.apply(p.t, gone(catalogue.KindPin, "p"))
		p.at(15*time.Second, "unpin choir")
		if n := len(p.known.near); n != 1 {
			t.Errorf("%d resources are in memory and one is wanted", n)
		}
		p.tell(catalogue.Subscription{ID: "s", School: "0750001B", Collection: "geo"},
			catalogue.Hints{Keys: []catalogue.Hint{{Key: "r/song"}, {Key: "o/site/x"}, {Key: "r/unknown"}}}, catalogue.Policy{PrefetchPopular: 2 << 20})
		p.at(20*time.Second, "fetch song")
	})
}
