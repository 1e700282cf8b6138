//go:build bench

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// patience is how long a device waits for something that takes the line d.
func patience(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 4*d+10*time.Second)
}

// benchHerd: the whole class opens the same file.
func (b *bench) benchHerd(t *testing.T, p peer, out *table) {
	s := b.stage(t, p, stageOptions{})
	obj := s.origin.add("film", b.scale.file, "max-age=3600")
	ctx, cancel := patience(t.Context(), ideal(obj.size))
	defer cancel()
	cpu, began := s.cpuSeconds(), time.Now()
	fetch := func(int) result { return get(ctx, newClient(), s.base, obj, 0, -1, 0) }
	rs := class(clients, time.Second, fetch)
	took := time.Since(began)
	wan := s.wan()
	hitsBegan := time.Now()
	hits := class(clients, 0, fetch)
	hitsTook := time.Since(hitsBegan)
	used, mem := s.cpuSeconds()-cpu, s.memory()
	gb := float64(2*clients*obj.size) / 1e9
	out.row(p.name, ratio(wan, obj.size), p50p99(column(rs, ttfb)),
		fmt.Sprintf("%s (%.2f)", secs(took), took.Seconds()/ideal(obj.size).Seconds()),
		tally(rs).String(), fmt.Sprintf("%s, %s", secs(hitsTook), tally(hits)),
		fmt.Sprintf("%.2f (%.3f)", used, used/gb), mib(mem.rss)+" / "+mib(mem.anon))
}

// benchRanges: each device asks for 1 MiB somewhere, then for all of it.
func (b *bench) benchRanges(t *testing.T, p peer, out *table) {
	s := b.stage(t, p, stageOptions{})
	obj := s.origin.add("film", b.scale.file, "max-age=3600")
	ctx, cancel := patience(t.Context(), ideal(obj.size))
	defer cancel()
	places := rand.New(rand.NewPCG(1, 2)) // the same places for every peer
	at := make([]int64, clients)
	for i := range at {
		at[i] = places.Int64N(obj.size - miB)
	}
	firsts := make([]result, clients)
	began := time.Now()
	rs := class(clients, time.Second, func(i int) result {
		c := newClient()
		firsts[i] = get(ctx, c, s.base, obj, at[i], miB, 0)
		return get(ctx, c, s.base, obj, 0, -1, 0)
	})
	took, wan := time.Since(began), s.wan()
	seek, beside := b.seeks(t, p)
	out.row(p.name, ratio(wan, obj.size), p50p99(column(firsts, ttfb)), p50p99(column(firsts, total)),
		fmt.Sprintf("%s (%.2f)", secs(took), took.Seconds()/ideal(obj.size).Seconds()),
		fmt.Sprintf("%s; %s", tally(firsts), tally(rs)), seek, beside)
}

// seeks measures a jump into a file nobody has asked for, and one while
// another device downloads it from the start: first byte and whole MiB.
func (b *bench) seeks(t *testing.T, p peer) (cold, beside string) {
	show := func(r result) string {
		if !r.ok {
			return fmt.Sprintf("%s (%v)", tally([]result{r}), r.err)
		}
		return secs(r.ttfb) + " / " + secs(r.total)
	}
	alone, busy := b.stage(t, p, stageOptions{}), b.stage(t, p, stageOptions{})
	ctx, cancel := patience(t.Context(), ideal(b.scale.file))
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		obj := alone.origin.add("film", b.scale.file, "max-age=3600")
		cold = show(get(ctx, newClient(), alone.base, obj, b.scale.seek, miB, 0))
	})
	wg.Go(func() {
		obj := busy.origin.add("film", b.scale.file, "max-age=3600")
		reading, leave := context.WithCancel(ctx)
		defer leave()
		wg.Go(func() { get(reading, newClient(), busy.base, obj, 0, -1, 0) }) // its fate is not the question
		time.Sleep(b.scale.deathAt / 4)
		beside = show(get(ctx, newClient(), busy.base, obj, b.scale.seek, miB, 0))
	})
	wg.Wait()
	return cold, beside
}

// benchAborts: devices that leave in the middle; the two parts have a server and a line each.
func (b *bench) benchAborts(t *testing.T, p peer, out *table) {
	one, half := b.stage(t, p, stageOptions{}), b.stage(t, p, stageOptions{})
	ctx, cancel := patience(t.Context(), 2*ideal(b.scale.file))
	defer cancel()
	var wg sync.WaitGroup
	cells := make([]string, 7)
	wg.Go(func() {
		obj := one.origin.add("film", b.scale.file, "max-age=3600")
		c := newClient()
		left := get(ctx, c, one.base, obj, 0, -1, b.scale.leave)
		c.CloseIdleConnections()
		one.settle(1500*time.Millisecond, ideal(obj.size)+5*time.Second)
		after := one.wan()
		next := get(ctx, newClient(), one.base, obj, 0, -1, 0)
		copy(cells, []string{secs(left.ttfb), fmt.Sprintf("%.0f %%", 100*float64(after)/float64(obj.size)),
			ratio(one.wan()-after, obj.size), secs(next.total), tally([]result{next}).String()})
	})
	wg.Go(func() {
		obj := half.origin.add("film", b.scale.file, "max-age=3600")
		rs := class(clients, time.Second, func(i int) result {
			if i%2 == 1 {
				return get(ctx, newClient(), half.base, obj, 0, -1, 0)
			}
			// Every other device, the first among them, leaves somewhere in the first half.
			return get(ctx, newClient(), half.base, obj, 0, -1, obj.size*int64(i+4)/(2*clients+8))
		})
		var stayed []result
		for i, r := range rs {
			if i%2 == 1 {
				stayed = append(stayed, r)
			}
		}
		copy(cells[5:], []string{ratio(half.wan(), obj.size), tally(stayed).String()})
	})
	wg.Wait()
	out.row(append([]string{p.name}, cells...)...)
}
