package publish_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/central"
	"preau/replication/central/publish"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

var errKilled = errors.New("killed")

// mortal is a store as a gateway sees it that is killed at one of its calls:
// before the call has done its work, or after. From then on nothing reaches the
// store.
type mortal struct {
	store.Store
	mu    sync.Mutex
	left  int // calls
	after bool
	dead  chan struct{}
}

func newMortal(st store.Store, calls int, after bool) *mortal {
	return &mortal{Store: st, left: calls, after: after, dead: make(chan struct{})}
}

func (m *mortal) call(work func() error) error {
	m.mu.Lock()
	m.left--
	last := m.left == 0
	over := m.left < 0
	if last {
		close(m.dead)
	}
	m.mu.Unlock()
	if over || last && !m.after {
		return errKilled
	}
	err := work()
	if last {
		return errKilled
	}
	return err
}

func (m *mortal) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (info store.Info, err error) {
	err = m.call(func() (err error) { info, err = m.Store.Put(ctx, bucket, key, body, size, o, c); return err })
	return info, err
}

func (m *mortal) Head(ctx context.Context, bucket, key string) (info store.Info, err error) {
	err = m.call(func() (err error) { info, err = m.Store.Head(ctx, bucket, key); return err })
	return info, err
}

func (m *mortal) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (rc io.ReadCloser, info store.Info, err error) {
	err = m.call(func() (err error) { rc, info, err = m.Store.Get(ctx, bucket, key, off, length, etag); return err })
	return rc, info, err
}

func (m *mortal) Delete(ctx context.Context, bucket, key string) error {
	return m.call(func() error { return m.Store.Delete(ctx, bucket, key) })
}

func (m *mortal) List(ctx context.Context, bucket, prefix, after string, limit int) (page store.Page, err error) {
	err = m.call(func() (err error) { page, err = m.Store.List(ctx, bucket, prefix, after, limit); return err })
	return page, err
}

// A random history of a bucket, seen by two gateways that are killed at random
// calls of the store and start anew, and whose store fails at times: in the end
// the log, read from its beginning, comes to what is in the bucket, and every
// version that stood for a while was in it.
func TestNothingIsLostInCrashes(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			bubble(t, func(w *world) { crashes(w, seed) })
		})
	}
}

// reborn runs a gateway that is killed again and again, until stop is closed.
func (w *world) reborn(rng *rand.Rand, c publish.Config, stop chan struct{}) {
	for {
		faulty := storetest.NewFaulty(w.st, rng.Uint64())
		faulty.Add(storetest.Fault{Rate: 0.03, Lost: rng.IntN(2) == 0})
		if rng.IntN(3) == 0 {
			faulty.Add(storetest.Fault{Rate: 0.05, Slow: true, Delay: time.Duration(rng.IntN(5000)) * time.Millisecond})
		}
		m := newMortal(faulty, 1+rng.IntN(400), rng.IntN(2) == 0)
		g := w.start(m, c)
		if rng.IntN(2) == 0 { // hints for some keys, now and then
			for _, key := range keysOf() {
				hintTo(w.t, g, key)
			}
		}
		select {
		case <-m.dead:
			g.stop()
			pauseOr(stop, time.Duration(rng.IntN(30_000))*time.Millisecond)
		case <-stop:
			g.stop()
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func pauseOr(stop chan struct{}, d time.Duration) {
	select {
	case <-stop:
	case <-time.After(d):
	}
}

func keysOf() []string {
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("dir %d/é+%d%%", i%3, i))
	}
	return keys
}

func crashes(w *world, seed uint64) {
	t := w.t
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	c := small()
	c.Every, c.Look = 20*time.Second, time.Second
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		own := rand.New(rand.NewPCG(rng.Uint64(), 2))
		wg.Go(func() { w.reborn(own, c, stop) })
	}
	keys := keysOf()
	there := map[string]bool{}
	stood := map[string]store.Info{} // versions that must be in the log, by key and ETag
	for step := range 60 {
		key := keys[rng.IntN(len(keys))]
		switch {
		case there[key] && rng.IntN(3) == 0:
			w.remove(key)
			there[key] = false
		case rng.IntN(8) == 0:
			w.put(key, "the same for all", "title", fmt.Sprint(step%3))
			there[key] = true
		default:
			w.put(key, fmt.Sprint(key, step, rng.IntN(3)), "title", fmt.Sprint(step))
			there[key] = true
		}
		settle(time.Duration(rng.IntN(4000)) * time.Millisecond)
	}
	close(stop)
	wg.Wait()

	// Quiet: a gateway that stays alive finds the rest.
	g := w.start(w.st, c)
	settle(3 * time.Minute)
	for _, key := range keys {
		if there[key] {
			info, _ := w.get(key)
			stood[key+"\x00"+info.ETag] = info
		}
	}
	// What is replaced from here on may be gone from a log that is compacted.
	f := w.follower()
	f.read(g, 1+rng.IntN(20))
	logged := map[string]bool{}
	for _, o := range f.log {
		logged[o.Key+"\x00"+o.ETag] = true
	}
	w.put(keys[0], "the last")
	if there[keys[1]] {
		w.remove(keys[1])
	}
	settle(2 * time.Minute)
	f.read(g, 1+rng.IntN(20))
	w.agrees(g, f.now)
	for version := range stood {
		if !logged[version] {
			t.Errorf("version %q is not in the log", version)
		}
	}
	g.stop()

	// Another gateway, with the table and without, says the same.
	for _, drop := range []bool{false, true} {
		if drop {
			if err := w.st.Delete(t.Context(), system, "table/"+maps+"/root"); err != nil {
				t.Fatal(err)
			}
		}
		g := w.start(w.st, c)
		settle(time.Minute)
		again := w.follower()
		again.read(g, 1000)
		if len(again.log) != len(f.log) {
			t.Errorf("%d changes after a restart, want %d (table dropped: %t)", len(again.log), len(f.log), drop)
		}
		w.agrees(g, again.now)
		g.stop()
	}
	synctest.Wait()
}

var _ central.Publications = (*publish.Publisher)(nil)
