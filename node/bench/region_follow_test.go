//go:build bench

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// benchRegionBoxes measures what it takes to have many boxes follow: fan-out,
// rest, and all of them back at once.
func (b *bench) benchRegionBoxes(t *testing.T, out *table) {
	sc, v := b.scale.region, verdicts{t, out}
	s := b.regionStage(t, 3)
	boxes := s.crowd(t, sc.boxes)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	s.again(ctx, t) // enrolling them made heaps that are none of the boxes'
	time.Sleep(min(5*time.Second, sc.idle))
	alone := s.resting(sc.idle / 2)
	bare := s.rss()

	began := time.Now()
	cpu := s.cpu()
	boxes.order(ctx, "follow")
	index, err := s.purge(ctx, -1)
	if err != nil {
		t.Fatal(err)
	}
	boxes.allOpen(ctx, index, 90*time.Second)
	v.fact("all boxes connect at once, take a first snapshot and acknowledge it", fmt.Sprintf("%s s, %.1f ms of CPU for a box", secs(time.Since(began)), (s.cpu()-cpu)*1000/float64(sc.boxes)))

	made := 1 + b.fanOut(ctx, t, s, boxes, v)
	b.atRest(ctx, s, bare, alone, v)
	b.catchUp(ctx, t, s, boxes, v)
	seen := boxes.await(ctx, 0, 0).Purges
	v.row("purges that boxes have read, of all that were made", fmt.Sprintf("%d to %d of %d", slices.Min(seen), slices.Max(seen), made),
		"all", slices.Min(seen) == made && slices.Max(seen) == made)
}

// again stops all servers and starts them.
func (s *regionStage) again(ctx context.Context, t *testing.T) {
	for _, m := range s.servers {
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range s.servers {
		if err := m.start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.whole(ctx); err != nil {
		t.Fatal(err)
	}
}

// fanOut purges, and looks when the boxes hear of it. It returns how many
// purges it made.
func (b *bench) fanOut(ctx context.Context, t *testing.T, s *regionStage, boxes *followers, v verdicts) int {
	sc := b.scale.region
	made := 0
	round := func(burst int) (field, time.Time, float64) {
		time.Sleep(2500 * time.Millisecond) // the last round's acknowledgements
		boxes.order(ctx, "mark")
		cpu, began := s.cpu(), time.Now()
		var mu sync.Mutex
		var highest uint64
		var group sync.WaitGroup
		slots := make(chan struct{}, 16)
		for range burst {
			serial := made
			made++
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				index, err := s.purge(ctx, serial)
				if err != nil {
					t.Errorf("purge: %v", err)
				}
				mu.Lock()
				highest = max(highest, index)
				mu.Unlock()
			})
		}
		group.Wait()
		f := boxes.await(ctx, highest, 3*wantAll)
		return f, began, s.cpu() - cpu
	}
	tell := func(what string, rounds int, burst int) {
		var half, most, all, acked []time.Duration
		var cpu float64
		lost := 0
		for range rounds {
			f, began, spent := round(burst)
			cpu += spent
			for _, x := range []struct {
				at    []int64
				share float64
				into  *[]time.Duration
			}{{f.Received, 0.5, &half}, {f.Received, 0.99, &most}, {f.Received, 1, &all}, {f.Acked, 1, &acked}} {
				if d, ok := after(began, x.at, boxes.n, x.share); ok {
					*x.into = append(*x.into, d)
				} else {
					lost++
				}
			}
		}
		if lost > 0 {
			v.row(what, fmt.Sprintf("not with all boxes within %v", 3*wantAll), "all", false)
			return
		}
		v.row(what+": with 50 / 99 % of the boxes", fmt.Sprintf("%s / %s s", secs(slices.Max(half)), secs(slices.Max(most))),
			fmt.Sprintf("99 %% in %s s", secs(wantMost)), slices.Max(most) <= wantMost)
		v.row(what+": with all; all acknowledged", fmt.Sprintf("%s s; %s s", secs(slices.Max(all)), secs(slices.Max(acked))),
			fmt.Sprintf("%s s", secs(wantAll)), slices.Max(all) <= wantAll)
		v.fact(what+": CPU of all servers", fmt.Sprintf("%.2f s", cpu/float64(rounds)))
	}
	tell(fmt.Sprintf("a purge (worst of %d)", sc.purges), sc.purges, 1)
	tell(fmt.Sprintf("%d purges at once, the last", sc.burst), 1, sc.burst)
	return made
}

// resting is the share of a core that all servers use for a time.
func (s *regionStage) resting(long time.Duration) float64 {
	cpu, began := s.cpu(), time.Now()
	time.Sleep(long)
	return (s.cpu() - cpu) / time.Since(began).Seconds()
}

// atRest measures what boxes cost that hear nothing new. bare is the servers'
// memory without them, and alone the share of a core.
func (b *bench) atRest(ctx context.Context, s *regionStage, bare memory, alone float64, v verdicts) {
	sc := b.scale.region
	time.Sleep(min(5*time.Second, sc.idle))
	profiled := s.profile(ctx, "rest", sc.idle-time.Second)
	share := s.resting(sc.idle)
	full := s.rss()
	profiled()
	v.row(fmt.Sprintf("%.0f s without news: CPU of all servers", sc.idle.Seconds()),
		fmt.Sprintf("%.1f %% of a core (without boxes %.1f %%)", share*100, alone*100),
		fmt.Sprintf("%.0f %%", wantIdle*100), share <= wantIdle)
	each := (full.rss - bare.rss) / int64(sc.boxes)
	v.row("memory of all servers with the boxes, less without them", fmt.Sprintf("%s − %s MiB: %.0f KiB for a box", mib(full.rss), mib(bare.rss), float64(each)/float64(kiB)),
		fmt.Sprintf("%d KiB", wantPerBox/kiB), each <= wantPerBox)
	v.fact("of it anonymous", fmt.Sprintf("%s − %s MiB: %.0f KiB for a box", mib(full.anon), mib(bare.anon), float64(full.anon-bare.anon)/float64(sc.boxes)/float64(kiB)))
}

// catchUp has all boxes away while much changes, and back at once.
func (b *bench) catchUp(ctx context.Context, t *testing.T, s *regionStage, boxes *followers, v verdicts) {
	sc := b.scale.region
	boxes.order(ctx, "drop")
	p, err := s.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := s.library(ctx); err != nil {
		t.Fatal(err)
	}
	cpu, began := s.cpu(), time.Now()
	profiled := s.profile(ctx, "decide", 5*time.Second)
	last, err := p.publish(ctx, 0, sc.changes, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	v.fact(fmt.Sprintf("%d entries decided one by one, 32 at a time", sc.changes), fmt.Sprintf("%s s, %.0f µs of CPU each", secs(time.Since(began)), (s.cpu()-cpu)*1e6/float64(sc.changes)))
	boxes.order(ctx, "mark")
	for _, m := range s.servers {
		if err := m.forgetPeak(); err != nil {
			t.Fatal(err)
		}
	}
	profiled()
	profiled = s.profile(ctx, "catch-up", 15*time.Second)
	cpu, began = s.cpu(), time.Now()
	boxes.order(ctx, "follow")
	f := boxes.await(ctx, last, wantCaughtUp+time.Minute)
	spent := s.cpu() - cpu
	defer profiled()
	var peaks []int64
	for _, m := range s.servers {
		peaks = append(peaks, m.peak())
	}
	what := fmt.Sprintf("all away while %d entries are decided, back at once: ", sc.changes)
	whole := len(f.Records) > 0 && slices.Min(f.Records) >= sc.changes
	all, ok := after(began, f.Received, boxes.n, 1)
	if half, _ := after(began, f.Received, boxes.n, 0.5); ok && whole {
		v.row(what+"50 % / all caught up", fmt.Sprintf("%s / %s s", secs(half), secs(all)), fmt.Sprintf("%s s", secs(wantCaughtUp)), all <= wantCaughtUp)
	} else {
		v.row(what+"caught up", fmt.Sprintf("%d of %d; fewest records %d; %v", len(f.Received), boxes.n, slices.Min(f.Records), f.Trouble), "all", false)
	}
	v.row(what+"largest memory of a server", mib(slices.Max(peaks))+" MiB", fmt.Sprintf("%d MiB", wantServer/miB), slices.Max(peaks) < wantServer)
	v.fact(what+"CPU of all servers; connections tried again", fmt.Sprintf("%.1f s; %d", spent, f.Retries))
	if f.Retries > 0 {
		t.Logf("why they connected again: %v", f.Trouble)
	}
}
