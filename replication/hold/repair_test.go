package hold_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/cache/block"
	"preau/replication/hold"
)

// catalogue is what a test's region has agreed on.
type catalogue struct {
	mu     sync.Mutex
	wanted []block.Digest
	lists  []block.Digest
	err    error
	behind bool
	looks  int
}

func (c *catalogue) set(fn func(c *catalogue)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(c)
}

func (c *catalogue) want(digests ...block.Digest) {
	c.set(func(c *catalogue) { c.wanted = digests })
}

func (c *catalogue) told() hold.Catalogue {
	tell := func(which func() []block.Digest) func(context.Context, func(block.Digest) bool) error {
		return func(_ context.Context, fn func(block.Digest) bool) error {
			c.mu.Lock()
			digests, err := slices.Clone(which()), c.err
			c.looks++
			c.mu.Unlock()
			for i, d := range digests {
				// One that fails does so in the middle.
				if err != nil && i == len(digests)/2 {
					return err
				}
				if !fn(d) {
					return nil
				}
			}
			return err
		}
	}
	return hold.Catalogue{
		Wanted: tell(func() []block.Digest { return c.wanted }),
		Lists:  tell(func() []block.Digest { return c.lists }),
		Current: func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return !c.behind
		},
	}
}

// repairs runs a repairer of servers[0] until the test, or the returned
// function, ends it.
func repairs(t *testing.T, cfg hold.RepairConfig, c *catalogue, servers ...*server) (_ *hold.Repairer, stop func()) {
	t.Helper()
	r, err := hold.NewRepairer(cfg, servers[0].shelf, c.told(), peersOf(t, servers[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return r, stop
}

func held(s *server, digests []block.Digest) int {
	n := 0
	for _, d := range digests {
		if s.disk.has(d) {
			n++
		}
	}
	return n
}

func TestWhatTheCatalogueNamesIsFetched(t *testing.T) {
	digests, bodies := blocks(50, 40)
	forged, _ := blocks(51, 1)
	tests := map[string]func(s []*server){
		"both have it":         func(s []*server) { place(t, s[1].disk, bodies...); place(t, s[2].disk, bodies...) },
		"one is down":          func(s []*server) { s[1].down.Store(true); place(t, s[2].disk, bodies...) },
		"each has a half":      func(s []*server) { place(t, s[1].disk, bodies[:20]...); place(t, s[2].disk, bodies[20:]...) },
		"one serves a forgery": func(s []*server) { s[1].answers(forgery(forged[0])); place(t, s[2].disk, bodies...) },
		"one has a damaged one": func(s []*server) {
			place(t, s[1].disk, bodies...)
			place(t, s[2].disk, bodies...)
			s[1].disk.Damage(digests[3])
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				servers := region(t, 3)
				prepare(servers)
				c := new(catalogue)
				c.want(digests...)
				repairs(t, hold.DefaultRepairConfig(), c, servers...)
				time.Sleep(5 * time.Second)
				if n := held(servers[0], digests); n != len(digests) {
					t.Errorf("%d of %d blocks came", n, len(digests))
				}
				for _, d := range digests {
					if _, err := servers[0].shelf.Read(d, nil); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

func forgery(d block.Digest) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(d[:]) }
}

func TestAListIsFetchedAndThenWhatItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 2)
		digests, bodies := blocks(52, 30)
		list, err := hold.EncodeManifest(digests)
		if err != nil {
			t.Fatal(err)
		}
		place(t, servers[1].disk, bodies...)
		place(t, servers[1].disk, list)
		c := &catalogue{lists: []block.Digest{block.Sum(list)}}
		repairs(t, hold.DefaultRepairConfig(), c, servers...)
		time.Sleep(5 * time.Second)
		if n := held(servers[0], append(digests, block.Sum(list))); n != 31 {
			t.Errorf("%d of 31 blocks came", n)
		}
	})
}

func TestALookComesByItselfOrWhenPoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 2)
		digests, bodies := blocks(53, 3)
		place(t, servers[1].disk, bodies[:2]...)
		c := new(catalogue)
		r, stop := repairs(t, hold.DefaultRepairConfig(), c, servers...)
		time.Sleep(time.Second)
		c.want(digests[0])
		time.Sleep(time.Minute)
		if held(servers[0], digests) != 0 {
			t.Fatal("a look came before its time")
		}
		r.Poke()
		synctest.Wait()
		if held(servers[0], digests) != 1 {
			t.Error("a poke brought nothing")
		}
		c.want(digests...)
		time.Sleep(11 * time.Minute)
		if held(servers[0], digests) != 2 {
			t.Error("no look came by itself")
		}
		if n := testutil.ToFloat64(gauge(t, servers[0], "preau_hold_missing_blocks")); n != 1 {
			t.Errorf("missing blocks = %v, want 1", n)
		}
		// Nobody had the third: it is asked for again soon.
		place(t, servers[1].disk, bodies[2])
		time.Sleep(time.Minute + time.Second)
		if held(servers[0], digests) != 3 {
			t.Error("what was missing was not asked for again")
		}
		stop()
		c.set(func(c *catalogue) { c.looks = 0 })
		time.Sleep(time.Hour)
		c.set(func(c *catalogue) {
			if c.looks != 0 {
				t.Error("it looks after it has ended")
			}
		})
	})
}

func TestADamagedBlockComesBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 3)
		digests, bodies := blocks(54, 2)
		for _, s := range servers {
			place(t, s.disk, bodies...)
		}
		c := new(catalogue)
		c.want(digests...)
		repairs(t, hold.DefaultRepairConfig(), c, servers...)
		time.Sleep(time.Second)
		servers[0].disk.Damage(digests[0])
		w := request(t, servers[0], "box", "GET", "/blocks/"+digests[0].String(), nil)
		synctest.Wait()
		if w.Code != 404 || held(servers[0], digests) != 2 {
			t.Errorf("after a read: status %d, %d of 2 blocks", w.Code, held(servers[0], digests))
		}
		// As a scrub finds it.
		servers[0].disk.Drop(digests[1])
		servers[0].shelf.Damaged(digests[1])
		synctest.Wait()
		if held(servers[0], digests) != 2 {
			t.Error("after a scrub: not fetched again")
		}
		// Nobody answers now, so it waits for the retry.
		servers[1].down.Store(true)
		servers[2].down.Store(true)
		servers[0].disk.Drop(digests[1])
		servers[0].shelf.Damaged(digests[1])
		time.Sleep(10 * time.Second)
		servers[1].down.Store(false)
		time.Sleep(time.Minute)
		if held(servers[0], digests) != 2 {
			t.Error("after the others were back: not fetched again")
		}
		// More than the queue takes is found by a look.
		many, manyBodies := blocks(55, 3000)
		for _, s := range servers {
			place(t, s.disk, manyBodies...)
		}
		c.want(many...)
		for _, d := range many {
			servers[0].disk.Drop(d)
			servers[0].shelf.Damaged(d)
		}
		time.Sleep(11 * time.Minute)
		if n := held(servers[0], many); n != 3000 {
			t.Errorf("after many: %d of 3000", n)
		}
	})
}

func TestRepairKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 2)
		digests, bodies := blocks(56, 100)
		place(t, servers[1].disk, bodies...)
		c := new(catalogue)
		c.want(digests...)
		cfg := hold.DefaultRepairConfig()
		cfg.BytesPerSecond = block.Size // a block a second
		repairs(t, cfg, c, servers...)
		time.Sleep(50*time.Second + time.Millisecond)
		if n := held(servers[0], digests); n < 49 || n > 52 {
			t.Errorf("%d blocks in 50 s at one a second", n)
		}
	})
}

func TestRepairStopsAtAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 2)
		digests, bodies := blocks(57, 300)
		place(t, servers[1].disk, bodies...)
		servers[0].disk.set(func(d *disk) { d.putErr = block.ErrNoSpace })
		c := new(catalogue)
		c.want(digests...)
		repairs(t, hold.DefaultRepairConfig(), c, servers...)
		time.Sleep(30 * time.Second)
		if n := servers[1].asked.Load(); n > 10 {
			t.Errorf("%d blocks fetched for a full disk", n)
		}
		servers[0].disk.set(func(d *disk) { d.putErr = nil })
		time.Sleep(time.Minute)
		if n := held(servers[0], digests); n != 300 {
			t.Errorf("%d of 300 blocks once there was room", n)
		}
	})
}

func TestMoreThanOneLookRemembersIsFetchedInTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of blocks, time and again")
	}
	synctest.Test(t, func(t *testing.T) {
		servers := region(t, 2)
		digests, bodies := blocks(58, 5000) // a look remembers 4096
		lost, _ := blocks(59, 4500)
		place(t, servers[1].disk, bodies...)
		c := new(catalogue)
		c.want(append(lost, digests...)...)
		repairs(t, hold.DefaultRepairConfig(), c, servers...)
		time.Sleep(5 * time.Minute)
		if n := held(servers[0], digests); n != len(digests) {
			t.Errorf("%d of %d blocks came past those that nobody has", n, len(digests))
		}
	})
}

func TestRepairConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(c *hold.RepairConfig){
		"every":            func(c *hold.RepairConfig) { c.Every = 0 },
		"retry":            func(c *hold.RepairConfig) { c.Retry = -time.Second },
		"sweep":            func(c *hold.RepairConfig) { c.Sweep = time.Millisecond },
		"fetches":          func(c *hold.RepairConfig) { c.Fetches = 9 },
		"bytes_per_second": func(c *hold.RepairConfig) { c.BytesPerSecond = -1 },
	} {
		cfg := hold.DefaultRepairConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: a wrong value was taken", name)
		}
	}
	if err := hold.DefaultRepairConfig().Validate(); err != nil {
		t.Error(err)
	}
	if _, err := hold.New(newDisk(0), 0, slog.New(slog.DiscardHandler), newServer(t, "a", newDisk(0)).reg); err == nil {
		t.Error("a shelf without grace was made")
	}
	var none hold.Catalogue
	if _, err := hold.NewRepairer(hold.DefaultRepairConfig(), newServer(t, "a", newDisk(0)).shelf, none, peersOf(t)); err == nil {
		t.Error("a repairer that is told nothing was made")
	}
}

var errCatalogue = errors.New("catalogue not read")
