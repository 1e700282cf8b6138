//go:build system && linux

package whole_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/replication/central/store"
)

// hands is how many deposit at once, and how many publish.
const hands = 4

// told is a file that a box or Ceph has acknowledged.
type told struct {
	*file
	box *ministry.Box // that a deposit was made on
	id  string        // of a deposit
}

// traffic is what goes both ways while things break.
type traffic struct {
	c *centre

	mu        sync.Mutex
	deposits  []told
	publishes map[string]*file // by key
	tried     map[string]*file // deposits by key, from before the first try
	troubles  map[string]int   // tries without an answer that counts, by what
}

func (tr *traffic) note(what string, err error) {
	if r := (ministry.Refused{}); errors.As(err, &r) {
		what = fmt.Sprintf("%s: %d", what, r.Status)
	} else {
		what += ": no answer"
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.troubles[what]++
}

// deposit adds n files, each until a box says that it has it.
func (tr *traffic) deposit(t *testing.T, rng *rand.Rand, hand, n int, pace time.Duration) {
	t.Helper()
	for i := range n {
		f := newFile(rng, fmt.Sprintf("deposit-%d-%d.bin", hand, i))
		b := tr.c.Boxes[rng.IntN(len(tr.c.Boxes))]
		tr.mu.Lock()
		tr.tried[key(b, f)] = f
		tr.mu.Unlock()
		for t.Context().Err() == nil {
			id, err := tr.c.deposit(t.Context(), b, f)
			if err == nil {
				tr.mu.Lock()
				tr.deposits = append(tr.deposits, told{f, b, id})
				tr.mu.Unlock()
				break
			}
			tr.note("deposit", err)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(2 * pace))))
	}
}

// publish puts n files into the bucket, each until Ceph says that it has it.
func (tr *traffic) publish(t *testing.T, rng *rand.Rand, hand, n int, pace time.Duration) {
	t.Helper()
	for i := range n {
		key := fmt.Sprintf("c%d/file-%d.bin", hand, i)
		f := newFile(rng, path.Base(key))
		tr.mu.Lock()
		tr.publishes[key] = f
		tr.mu.Unlock()
		for t.Context().Err() == nil {
			err := tr.c.Put(t.Context(), lessons, key, f.bytes(), store.Options{})
			if err == nil {
				break
			}
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("put %s: %v", key, err)
			}
			tr.note("publish", err)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(2 * pace))))
	}
}

// watch looks until stop is closed at what is visible, in Ceph and on boxes, and
// says how often it saw something. What is there is whole.
func (tr *traffic) watch(t *testing.T, rng *rand.Rand, stop <-chan struct{}) (objects, downloads int) {
	t.Helper()
	seen := map[string]bool{}
	for {
		select {
		case <-stop:
			return objects, downloads
		case <-time.After(100 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		keys, err := tr.c.Deposited(ctx)
		if err != nil {
			tr.note("list deposits", err)
		}
		for _, key := range keys {
			if seen[key] {
				continue
			}
			p, err := tr.c.Object(ctx, ministry.Deposits, key)
			if err != nil {
				tr.note("read a deposit", err)
				continue
			}
			seen[key] = true
			objects++
			tr.mu.Lock()
			f := tr.tried[key]
			tr.mu.Unlock()
			if f == nil {
				t.Errorf("Ceph has a deposit that nobody made: %s", key)
			} else if err := f.is(p); err != nil {
				t.Errorf("visible in Ceph, and not whole: %s: %v", key, err)
			}
		}
		all, err := tr.c.Published(ctx)
		if err != nil {
			tr.note("list resources", err)
		}
		for key, at := range all {
			if rng.IntN(1+len(all)/4) != 0 {
				continue
			}
			tr.mu.Lock()
			f := tr.publishes[key]
			tr.mu.Unlock()
			b := tr.c.Boxes[rng.IntN(len(tr.c.Boxes))]
			got, err := tr.c.get(ctx, b, at)
			if err != nil {
				tr.note("download", err)
				continue
			}
			downloads++
			if err := f.is(got); err != nil {
				t.Errorf("%s serves, and not whole: %s: %v", b.Name, key, err)
			}
		}
		cancel()
	}
}

// kinds are what is killed, and how it comes back.
func (c *centre) kinds(rng *rand.Rand) map[string]func(ctx context.Context) (back func() error, err error) {
	process := func(p *ministry.Process) (func() error, error) { return p.Start, p.Kill() }
	return map[string]func(ctx context.Context) (func() error, error){
		"box":     func(context.Context) (func() error, error) { return process(c.Boxes[rng.IntN(len(c.Boxes))].Process) },
		"central": func(context.Context) (func() error, error) { return process(c.Central) },
		"leader": func(ctx context.Context) (func() error, error) {
			for ctx.Err() == nil {
				if p, err := c.Leader(ctx); err == nil && p != nil {
					return process(p)
				}
				time.Sleep(100 * time.Millisecond)
			}
			return nil, ctx.Err()
		},
		"radosgw": func(ctx context.Context) (func() error, error) {
			return func() error { return c.Ceph.StartRGW(ctx) }, c.Ceph.KillRGW()
		},
		"osd": func(context.Context) (func() error, error) {
			n := rng.IntN(3)
			return func() error { return c.Ceph.StartOSD(n) }, c.Ceph.KillOSD(n)
		},
	}
}

// breakThings kills one thing after another, all kinds in turn and sometimes two at
// once, until stop is closed and each kind was killed. It leaves all running.
func (c *centre) breakThings(t *testing.T, rng *rand.Rand, stop <-chan struct{}) map[string]int {
	t.Helper()
	kinds := c.kinds(rng)
	var turn []string
	killed := map[string]int{}
	for {
		select {
		case <-stop:
			if len(killed) == len(kinds) {
				return killed
			}
		default:
		}
		if t.Failed() {
			return killed
		}
		if len(turn) < 2 {
			for name := range kinds {
				turn = append(turn, name)
			}
			slices.Sort(turn) // so that a seed says it all
			rng.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		now := turn[:1]
		if rng.IntN(3) == 0 && turn[0] != turn[1] {
			now = turn[:2]
		}
		turn = turn[len(now):]
		time.Sleep(time.Duration(200+rng.IntN(1800)) * time.Millisecond)
		var back []func() error
		for _, name := range now {
			b, err := kinds[name](t.Context())
			if err != nil {
				t.Errorf("kill %s: %v", name, err)
			}
			if b != nil {
				back = append(back, b)
			}
			killed[name]++
		}
		time.Sleep(time.Duration(100+rng.IntN(2000)) * time.Millisecond)
		for _, b := range back {
			if err := b(); err != nil {
				t.Errorf("start again: %v", err)
			}
		}
	}
}

// TestNothingAcknowledgedIsLostBetweenSchoolsAndCeph kills a box, the region's
// leader, the gateway, radosgw and OSDs while schools deposit and the ministry
// publishes; then radosgw stands still for a while. With PREAU_THOROUGH set it
// does five times as much.
func TestNothingAcknowledgedIsLostBetweenSchoolsAndCeph(t *testing.T) {
	t.Parallel()
	rng := seeded(t)
	c := withCeph(t, 3, false)
	each := 50
	if os.Getenv("PREAU_THOROUGH") != "" {
		each = 250
	}
	first := newFile(rng, "first.bin")
	c.tool(t, first, first.name)
	within(t, 60*time.Second, func() error {
		all, err := c.Published(t.Context())
		if err == nil && len(all) == 0 {
			err = errors.New("the first file is not published")
		}
		return err
	})
	tr := &traffic{c: c, publishes: map[string]*file{first.name: first}, tried: map[string]*file{}, troubles: map[string]int{}}
	began := time.Now()
	var working, around sync.WaitGroup
	fork := func() *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), 0)) }
	for hand := range hands {
		down, up := fork(), fork()
		working.Go(func() { tr.deposit(t, up, hand, each, 300*time.Millisecond) })
		working.Go(func() { tr.publish(t, down, hand, each, 300*time.Millisecond) })
	}
	stop := make(chan struct{})
	var killed map[string]int
	var objects, downloads int
	killer, watcher := fork(), fork()
	around.Go(func() { killed = c.breakThings(t, killer, stop) })
	around.Go(func() { objects, downloads = tr.watch(t, watcher, stop) })
	working.Wait()
	close(stop)
	around.Wait()
	t.Logf("%v of it: killed %v, not at the first try %v, looked at %d objects and %d downloads",
		time.Since(began).Round(time.Second), killed, tr.troubles, objects, downloads)
	if objects == 0 || downloads == 0 {
		t.Error("the watcher has seen nothing")
	}
	if t.Failed() {
		return
	}
	tr.settle(t)

	tr.standsStill(t, fork())
	tr.settle(t)
}

// standsStill has radosgw do nothing for 16 s, while schools deposit.
func (tr *traffic) standsStill(t *testing.T, rng *rand.Rand) {
	t.Helper()
	before := len(tr.deposits)
	tr.troubles = map[string]int{}
	if err := tr.c.Ceph.PauseRGW(); err != nil {
		t.Fatal(err)
	}
	pause := time.NewTimer(16 * time.Second)
	defer pause.Stop()
	var working sync.WaitGroup
	var slowest atomic.Int64
	for hand := range hands {
		r := rand.New(rand.NewPCG(rng.Uint64(), 0))
		working.Go(func() {
			for i := range 15 {
				f := newFile(r, fmt.Sprintf("still-%d-%d.bin", hand, i))
				b := tr.c.Boxes[r.IntN(len(tr.c.Boxes))]
				asked := time.Now()
				id, err := tr.c.deposit(t.Context(), b, f)
				if err != nil {
					t.Errorf("refused at the school while radosgw stands still: %v", err)
					return
				}
				for took := time.Since(asked).Nanoseconds(); ; {
					if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
				tr.mu.Lock()
				tr.tried[key(b, f)] = f
				tr.deposits = append(tr.deposits, told{f, b, id})
				tr.mu.Unlock()
				time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
			}
		})
	}
	working.Wait()
	select {
	case <-pause.C:
	case <-t.Context().Done():
	}
	if err := tr.c.Ceph.ResumeRGW(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d deposits while radosgw stood still, the slowest took %v",
		len(tr.deposits)-before, time.Duration(slowest.Load()).Round(time.Millisecond))
}

// settle waits until everything is where it is to be, and compares all of it.
func (tr *traffic) settle(t *testing.T) {
	t.Helper()
	c, ctx := tr.c, t.Context()
	began := time.Now()
	for _, d := range tr.deposits {
		within(t, arrives, func() error { return c.inCentre(ctx, d.box, d.id) })
	}
	t.Logf("the last of %d deposits was in the centre %v later", len(tr.deposits), time.Since(began).Round(100*time.Millisecond))
	keys, err := c.Deposited(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != len(tr.deposits) || len(tr.tried) != len(tr.deposits) {
		t.Errorf("%d objects in Ceph of %d deposits", len(keys), len(tr.deposits))
	}
	several(tr.deposits, func(d told) {
		p, err := c.Object(ctx, ministry.Deposits, key(d.box, d.file))
		if err == nil {
			err = d.is(p)
		}
		if err != nil {
			t.Errorf("acknowledged and lost: %s of %s: %v", d.id, d.box.Name, err)
		}
	})
	for _, k := range keys {
		parts := strings.Split(k, "/")
		if f := tr.tried[k]; f == nil || len(parts) != 3 || parts[1] != hex.EncodeToString(f.sum[:16]) {
			t.Errorf("Ceph has %s, which nobody deposited", k)
		}
	}

	began = time.Now()
	var all map[string]string
	within(t, arrives, func() error {
		if all, err = c.Published(ctx); err == nil && len(all) != len(tr.publishes) {
			err = fmt.Errorf("%d of %d are published", len(all), len(tr.publishes))
		}
		return err
	})
	t.Logf("the last of %d objects was published %v later", len(all), time.Since(began).Round(100*time.Millisecond))
	several(slices.Sorted(maps.Keys(tr.publishes)), func(key string) {
		for _, b := range c.Boxes {
			if err := c.serves(ctx, b, all[key], tr.publishes[key]); err != nil {
				t.Errorf("%s, %s: %v", b.Name, key, err)
			}
		}
	})
	t.Logf("all of them were on both boxes %v later", time.Since(began).Round(100*time.Millisecond))
}

// arrives is how long something may take to arrive when all is well again: a
// region that was refused for a while waits longer from time to time.
const arrives = 5 * time.Minute

// serves waits until a box serves a published file, whole from the first time
// on.
func (c *centre) serves(ctx context.Context, b *ministry.Box, at string, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, arrives)
	defer cancel()
	for {
		got, err := c.get(ctx, b, at)
		if err == nil {
			return f.is(got)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// several does something with each, some at once.
func several[T any](all []T, do func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, hands)
	for _, one := range all {
		slots <- struct{}{}
		wg.Go(func() {
			do(one)
			<-slots
		})
	}
	wg.Wait()
}
