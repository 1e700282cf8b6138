package follow

import (
	"errors"
	"testing"
	"time"

	"preau/cache/shelf"
	"preau/replication/catalogue"
)

func TestLessonsComeFirstAndLetGo(t *testing.T) {
	planned(t, func(p *plan) {
		p.stock.fetch = slow(10 * time.Second)
		p.tell(append(newest("geo", "a", "b"), catalogue.Pin{ID: "p", Resource: "a"})...)
		p.tell(newest("music", "song", "choir")...)
		p.at(5*time.Second, "pin a", "fetch a")
		p.Prepare([]string{"song", "unknown", "b"})
		p.Prepare([]string{"song", "unknown", "b"}) // nothing new
		p.at(time.Minute, "pin song", "pin b", "fetch song", "fetch b")
		p.Prepare([]string{"b"})
		p.at(2*time.Minute, "unpin song")
		p.Prepare([]string{"a"})
		p.at(150*time.Second, "unpin b")
		p.Prepare(nil)
		p.at(3 * time.Minute) // the region's own pin is there still
		if n := len(p.known.near); n != 1 {
			t.Errorf("%d resources are in memory and one is wanted", n)
		}
	})
}

func TestWhatIsKnownOfAResource(t *testing.T) {
	planned(t, func(p *plan) {
		p.tell(append(newest("geo", "a"), catalogue.Collection{ID: "geo", Title: "Geography"}, catalogue.Pin{ID: "p", Resource: "a"})...)
		p.at(5*time.Second, "pin a", "fetch a")
		it, _, err := p.Resource("a")
		if err != nil || it.ID != "a" || it.Length != 1<<20 || it.Collection != "Geography" {
			t.Errorf("%+v, %v", it, err)
		}
		if _, _, err := p.Resource("b"); !errors.Is(err, shelf.ErrUnknown) {
			t.Errorf("of nothing: %v", err)
		}
	})
}

func TestWhatMayBeFetchedAhead(t *testing.T) {
	planned(t, func(p *plan) {
		ahead := p.Ahead()
		if open, change := ahead.When(p.began); !open || !change.IsZero() || ahead.Rate() != 0 || len(ahead.Hours()) != 0 {
			t.Errorf("without a policy: %v %v %d", open, change, ahead.Rate())
		}
		p.tell(catalogue.Policy{PrefetchRate: 100_000, PrefetchHours: []catalogue.Hours{hours(3, 5)}})
		for _, tt := range []struct {
			at, change time.Duration
			open       bool
		}{{0, 3 * time.Minute, false}, {4 * time.Minute, 5 * time.Minute, true}, {5 * time.Minute, 24*time.Hour + 3*time.Minute, false}} {
			open, change := ahead.When(p.began.Add(tt.at))
			if open != tt.open || !change.Equal(p.began.Add(tt.change).Truncate(time.Minute)) {
				t.Errorf("after %v: %v until %v", tt.at, open, change.Sub(p.began))
			}
		}
		began := time.Now()
		for range 20 {
			if err := ahead.WaitN(p.t.Context(), 100_000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 17*time.Second || took > 21*time.Second {
			t.Errorf("2 MB at 100 kB/s took %v", took)
		}
	})
}
