//go:build bench

package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// band is one kind of content in the large store and its share of the budget in sixteenths.
type band struct {
	size  int64
	share int64
}

// bands together are 20 sixteenths of the budget; large is 256 MiB unless the store is small.
func (sc scale) bands() []band {
	return []band{{sc.large(), 8}, {miB, 11}, {4 * kiB, 1}}
}

func (sc scale) large() int64 { return min(256*miB, sc.store/4) }

// watch samples a peer while f runs and returns the largest memory and disk use seen.
func (s *stage) watch(f func()) (m memory, disk int64) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			now := s.memory()
			m.rss, m.anon = max(m.rss, now.rss), max(m.anon, now.anon)
			if s.peer.store != "" {
				disk = max(disk, diskUse(s.set.dir+"/"+s.peer.store))
			}
			select {
			case <-stop:
				return
			case <-time.After(150 * time.Millisecond):
			}
		}
	})
	f()
	close(stop)
	wg.Wait()
	return m, disk
}

// benchStore fills a store beyond its budget, reads it with the whole class by
// body size, kills the server with SIGKILL and opens the store again.
func (b *bench) benchStore(t *testing.T, p peer, out *table) {
	budget := b.scale.store
	s := b.stage(t, p, stageOptions{direct: true, budget: budget})
	var kept [][]string
	fillTime := time.Duration(0)
	cells := []string{p.name}
	filling, peak := s.watch(func() {
		began := time.Now()
		for i, band := range b.scale.bands() {
			n := max(1, int(budget*band.share/16/band.size))
			paths := make([]string, n)
			for j := range paths {
				paths[j] = s.origin.add(fmt.Sprintf("band%d-%d", i, j), band.size, "max-age=86400").path
			}
			b.verify(t, s, paths)
			kept = append(kept, paths[n/2:]) // the later half: what a cache of any policy may still have
		}
		fillTime = time.Since(began)
	})
	share := func(n int64) string {
		if p.store == "" {
			return "in memory"
		}
		return fmt.Sprintf("%.3f", float64(n)/float64(budget))
	}
	cells = append(cells, secs(fillTime), share(peak), mib(filling.anon))
	for _, paths := range kept {
		m, _ := s.watch(func() {
			if _, err := load(loadWork{Addr: s.set.listen, Conns: clients, Time: 2 * b.scale.round, Paths: paths}, -1, func() {}); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		})
		cells = append(cells, mib(m.anon)+" / "+mib(m.rss))
	}
	settled := int64(0)
	if p.store != "" {
		time.Sleep(2 * time.Second)
		settled = diskUse(s.set.dir + "/" + p.store)
	}
	out.row(append(cells, share(settled), b.reopen(t, s, kept[len(kept)-1]))...)
}

// reopen kills the server and measures until it answers from its store again.
func (b *bench) reopen(t *testing.T, s *stage, paths []string) string {
	if !s.peer.persistent {
		return "not persistent"
	}
	s.origin.mu.RLock()
	obj := s.origin.objects[paths[len(paths)-1]]
	s.origin.mu.RUnlock()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	get(ctx, newClient(), s.base, obj, 0, -1, 0) // stored for certain, a moment ago
	time.Sleep(1500 * time.Millisecond)          // and long enough ago for any store that writes behind
	if err := s.kill(); err != nil {
		t.Errorf("%s: %v", s.peer.name, err)
	}
	began := time.Now()
	again, err := s.peer.start(ctx, s.set, -1)
	if err != nil {
		t.Errorf("%s does not come back after SIGKILL: %v", s.peer.name, err)
		return "**does not start**"
	}
	s.running = again // the cleanup of the stage stops this one
	listens := time.Since(began)
	obj.asked.Store(0)
	for ctx.Err() == nil {
		r := get(ctx, newClient(), s.base, obj, 0, -1, 0)
		if r.ok && obj.asked.Load() == 0 {
			return fmt.Sprintf("%s, first hit %s", secs(listens), secs(time.Since(began)))
		}
		if r.ok {
			return fmt.Sprintf("%s, **lost**", secs(listens))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Sprintf("%s, no hit", secs(listens))
}
