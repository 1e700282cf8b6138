package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// broken is a line: while it is cut nothing is answered, and what was sent into it
// never is.
type broken struct {
	mu     sync.Mutex
	up     bool
	silent bool // packets vanish; else the router says that there is no way
	tries  []time.Time
}

func (l *broken) set(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
}

func (l *broken) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		l.mu.Lock()
		up, silent := l.up, l.silent
		if r.URL.Path == Path {
			l.tries = append(l.tries, time.Now())
		}
		l.mu.Unlock()
		if up {
			return next.RoundTrip(r)
		}
		if silent {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return nil, errors.New("no route to host")
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// cutOff is a box that has had no line for an hour.
func cutOff(t *testing.T, silent bool) (*village, *box, *broken) {
	t.Helper()
	v := newVillage(t, nil)
	v.put(catalogue.KindResource, "x", "1")
	line := &broken{silent: silent}
	r := &region{ca: v.ca, box: boxOf("a", lyon), hosts: map[identity.Name]*pipes{v.h.name: v.h.pipes}, wrap: line.wrap}
	b := runBox(t, newDisk(t), r, nil)
	t.Cleanup(b.end)
	time.Sleep(time.Hour)
	return v, b, line
}

// Wherever a box is in its waiting and trying, it follows within two seconds of the
// first sign that its line is back.
func TestABoxWhoseLineComesBackFollowsAtOnce(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for phase := range 8 {
			synctest.Test(t, func(t *testing.T) {
				_, b, line := cutOff(t, silent)
				time.Sleep(time.Duration(phase) * 11 * time.Second)
				line.set(true)
				if !b.follower.Hurry() {
					t.Fatal("the sign was not taken")
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if s, since := b.follower.Connected(); s == "" {
					t.Errorf("silent %v, %d s on: not connected 2 s after the line came back", silent, 11*phase)
				} else if b.follower.Hurry() {
					t.Errorf("a sign makes a difference to a box that has followed since %v", since)
				}
			})
		}
	}
}

// Without a sign of its own a box waits as all others do: of those that lost their
// region at the same time, few come at a time.
func TestWhoSeesNoSignKeepsTheSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const boxes = 80
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		line := &broken{}
		var all []*box
		for i := range boxes {
			r := &region{ca: v.ca, box: boxOf(fmt.Sprint("box-", i), lyon), hosts: map[identity.Name]*pipes{v.h.name: v.h.pipes}, wrap: line.wrap}
			b := runBox(t, newDisk(t), r, nil)
			t.Cleanup(b.end)
			all = append(all, b)
		}
		time.Sleep(10 * time.Minute)
		line.set(true)
		// One of them has a reason.
		all[0].follower.Hurry()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		count := func() (n int) {
			for _, b := range all {
				if s, _ := b.follower.Connected(); s != "" {
					n++
				}
			}
			return n
		}
		if s, _ := all[0].follower.Connected(); s == "" {
			t.Error("the one that has seen a sign does not follow")
		}
		// By chance three or four do, eleven once in some hundred times; without a
		// spread all would.
		if n := count(); n > boxes/4 {
			t.Errorf("%d of %d came within 2 s, and nobody told them", n, boxes)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := count(); n != boxes {
			t.Errorf("%d of %d follow after a minute", n, boxes)
		}
	})
}

// Signs that mean nothing cost the region little, however many there are.
func TestAHurryIsNoHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, line := cutOff(t, false)
		line.mu.Lock()
		line.tries = nil
		line.mu.Unlock()
		ctx, stop := context.WithCancel(t.Context())
		var hints sync.WaitGroup
		hints.Go(func() {
			for ctx.Err() == nil {
				b.follower.Hurry()
				time.Sleep(100 * time.Millisecond)
			}
		})
		const minutes = 30
		time.Sleep(minutes * time.Minute)
		stop()
		hints.Wait()
		line.mu.Lock()
		n := len(line.tries)
		line.mu.Unlock()
		// Three signs and two waits of half a minute.
		if n > 6*minutes || n < minutes {
			t.Errorf("%d tries in %d minutes", n, minutes)
		}
	})
}
