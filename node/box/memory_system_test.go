//go:build system && linux

package box

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"preau/node/config"
)

// anonymous is the memory of a process that is not the page cache's.
func anonymous(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no RssAnon in %s", b)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// TestMemory has 40 clients ask for many small objects and some large ones. A
// box may have 150 MB beyond the page cache. It then kills the box, and tells
// how long it takes to come up.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes several times the memory")
	}
	const bound = 150e6
	o := newOrigin(t, 0)
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), o.url())
	cfg.Budget = config.GiB
	c := newClients(t, o, time.Minute)
	box := begin(t, cfg)
	ctx, leave := context.WithTimeout(t.Context(), 18*time.Second)
	defer leave()
	var class sync.WaitGroup
	var mu sync.Mutex
	asked := 0
	for i := range 40 {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		class.Go(func() {
			for ctx.Err() == nil {
				p := path(1000+rng.Int64N(30000), rng.IntN(20)) // mostly new
				if rng.IntN(400) == 0 {
					p = path(16<<20, rng.IntN(8))
				}
				a := c.get(ctx, box, p, 0, 0)
				if a.outcome != right && ctx.Err() == nil || a.outcome == wrong {
					t.Errorf("%s: %v: %v", p, a.outcome, a.why)
				}
				mu.Lock()
				asked++
				mu.Unlock()
			}
		})
	}
	var most int64
	for ctx.Err() == nil {
		most = max(most, anonymous(t, box.cmd.Process.Pid))
		time.Sleep(100 * time.Millisecond)
	}
	class.Wait()
	t.Logf("%d answers; at the most %.0f MB beyond the page cache; %.0f MB on the disk", asked, float64(most)/1e6, float64(diskUse(cfg.Data))/1e6)
	if most > bound {
		t.Errorf("%.0f MB of memory beyond the page cache, want at most %.0f", float64(most)/1e6, bound/1e6)
	}
	box.kill(t)
	box = begin(t, cfg)
	t.Logf("up again %v after it was killed, with %.0f MB beyond the page cache", box.took.Round(time.Millisecond), float64(anonymous(t, box.cmd.Process.Pid))/1e6)
	box.stop(t)
}
