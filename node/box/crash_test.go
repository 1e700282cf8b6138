package box

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/node/config"
)

// newRand is random numbers whose seed is in the log. Where tests are shortened
// it is the same in every run; the long ones try others each time.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if testing.Short() {
		seed = uint64(crc32.ChecksumIEEE([]byte(t.Name())))
	}
	if s := os.Getenv("PREAU_TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PREAU_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestKilledWhileFilling kills a box several times while a class downloads
// through it from a slow site, and looks at every byte it serves then, while it
// runs and in the end without its site.
//
// It also looks at what a kill costs. What a running fill holds is recorded
// every fill.Config.SaveEvery, at the end of a block; and what a block has in
// memory before its end is lost, one for each fetch that is under way: whoever
// seeks has a fetch of his own. So for each fill that is cut off a kill may
// cost what came in the last SaveEvery, and a few blocks. What was complete that
// long ago must not be fetched again, not a byte of it.
func TestKilledWhileFilling(t *testing.T) {
	t.Parallel()
	rounds, films := 4, []int64{20, 9, 5, 3, 2}
	if testing.Short() {
		rounds, films = 1, []int64{6, 3, 2}
	}
	rng := newRand(t)
	o := newOrigin(t, 6e6)
	o.breakOneIn.Store(9)
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), o.url())
	cfg.Budget = 256 * config.MiB

	var paths []string
	for _, mib := range films {
		paths = append(paths, path(mib<<20+rng.Int64N(1<<20), "film"))
	}
	for i := range 24 {
		paths = append(paths, path(4<<10+rng.Int64N(300<<10), i))
	}
	saveEvery := fill.DefaultConfig().SaveEvery
	slack := 500 * time.Millisecond // for a machine that is busy with other things, more if it is seen to be
	allowed := map[string]int64{}   // beyond its size
	for round := range rounds {
		box := begin(t, cfg)
		ctx, leave := context.WithCancel(t.Context())
		c := newClients(t, o, time.Minute)
		var class sync.WaitGroup
		var got [wrong + 1]atomic.Int64
		for i := range 14 {
			rng := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			class.Go(func() {
				for ctx.Err() == nil {
					p := paths[rng.IntN(len(paths))]
					var from, to int64
					if body, _ := o.body(p); rng.IntN(4) == 0 {
						from = rng.Int64N(body.size)
						to = from + 1 + rng.Int64N(body.size-from)
					}
					a := c.get(ctx, box, p, from, to)
					got[a.outcome].Add(1)
					switch {
					case a.outcome == wrong:
						t.Errorf("round %d: %s [%d, %d) is WRONG: %v (%s)", round, p, from, to, a.why, a.status)
					case a.outcome != right: // killed, or about to be
						time.Sleep(20 * time.Millisecond)
					}
				}
			})
		}
		var before []map[string]int64 // what was sent, over time
		var at []time.Time
		end := time.Now().Add(time.Duration(700+rng.Int64N(1800)) * time.Millisecond)
		for time.Now().Before(end) {
			before, at = append(before, o.sentBytes()), append(at, time.Now())
			box.lives(t, 0)
			// What an answer and this test wait for too long, so does a box that is
			// to record.
			slack = max(slack, 500*time.Millisecond+5*(time.Since(at[len(at)-1])-50*time.Millisecond))
		}
		box.kill(t)
		killed := time.Now()
		leave()
		class.Wait()
		then := map[string]int64{} // what was sent a SaveEvery ago
		for i := range before {
			if killed.Sub(at[i]) >= saveEvery+slack {
				then = before[i]
			}
		}
		for p, n := range o.sentBytes() {
			if late := n - then[p]; late > 0 {
				allowed[p] += late + 4*block.Size
			}
		}
		var sum int64
		for _, n := range o.sentBytes() {
			sum += n
		}
		t.Logf("round %d: up after %v; %d right, %d broken, %d refused; %.1f MB sent so far",
			round, box.took.Round(time.Millisecond), got[right].Load(), got[broken].Load(), got[refused].Load(), float64(sum)/1e6)
	}

	box := begin(t, cfg)
	c := newClients(t, o, time.Minute)
	c.mustAll(t, box, paths, "after the kills")
	sent := o.sentBytes()
	for _, p := range slices.Sorted(maps.Keys(sent)) {
		body, _ := o.body(p)
		if most := body.size + body.size/100 + allowed[p]; sent[p] > most {
			t.Errorf("%s: %d bytes were sent, %.2f of its size; %d kills may cost %d", p, sent[p], float64(sent[p])/float64(body.size), rounds, most-body.size)
		}
	}
	box.lives(t, saveEvery+slack)
	box.kill(t)

	o.down()
	box = begin(t, cfg)
	c.mustAll(t, box, paths, "without the site")
	box.stop(t)
}

// TestKilledWhileEvicting kills a box again and again while much more than it
// may keep goes through it: five times as much, if there is time.
func TestKilledWhileEvicting(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	t.Parallel()
	rounds, total := 5, int64(310<<20)
	rng := newRand(t)
	o := newOrigin(t, 0)
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), o.url())
	most := int64(cfg.Budget) * 105 / 100

	var mu sync.Mutex
	var paths []string
	var through int64
	next := func() string { // a new path, now and then an old one
		mu.Lock()
		defer mu.Unlock()
		if len(paths) > 40 && rng.IntN(4) == 0 {
			return paths[len(paths)-1-rng.IntN(40)]
		}
		size := 4<<10 + rng.Int64N(60<<10)
		if rng.IntN(3) == 0 {
			size = rng.Int64N(4 << 20)
		}
		p := path(size, len(paths))
		paths = append(paths, p)
		through += size
		return p
	}
	done := func(part, of int) bool {
		mu.Lock()
		defer mu.Unlock()
		return through >= total*int64(part)/int64(of)
	}
	peak := watchDisk(cfg.Data)
	c := newClients(t, o, time.Minute)
	for round := range rounds {
		box := begin(t, cfg)
		ctx, leave := context.WithCancel(t.Context())
		var class sync.WaitGroup
		for range 6 {
			class.Go(func() {
				for ctx.Err() == nil {
					if a := c.get(ctx, box, next(), 0, 0); a.outcome == wrong {
						t.Errorf("round %d: %s is WRONG: %v (%s)", round, a.path, a.why, a.status)
					} else if a.outcome != right {
						time.Sleep(20 * time.Millisecond)
					}
				}
			})
		}
		mu.Lock() // rng is the class's too
		end := time.Now().Add(time.Duration(1000+rng.Int64N(1000)) * time.Millisecond)
		mu.Unlock()
		limit := time.Now().Add(2 * time.Minute) // on a machine that is very busy
		for time.Now().Before(end) || !done(round+1, rounds) && time.Now().Before(limit) {
			time.Sleep(time.Millisecond)
		}
		box.kill(t)
		leave()
		class.Wait()
		t.Logf("round %d: up after %v, %d MiB asked for, %d MiB on the disk", round, box.took.Round(time.Millisecond), through>>20, diskUse(cfg.Data)>>20)
	}
	if !done(1, 1) {
		t.Errorf("only %d MiB of %d went through", through>>20, total>>20)
	}

	// From here on nothing new comes, so nothing may grow.
	last := paths[len(paths)-60:]
	var folders []int
	var disk []int64
	for range 3 {
		box := begin(t, cfg)
		box.lives(t, 1500*time.Millisecond) // room is made in the background
		c.neverWrong(t, box, last, "after the kills")
		box.kill(t)
		disk = append(disk, diskUse(cfg.Data))
		n, err := filepath.Glob(filepath.Join(cfg.Data, "bodies", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		folders = append(folders, len(n))
	}
	if u := peak(); u.all > most {
		t.Errorf("too much was on the disk with a budget of %v: %v", cfg.Budget, u)
	} else {
		t.Logf("most on the disk: %v", u)
	}
	// A start begins a segment in each ring; few of them are put together.
	if first, end := folders[0], folders[2]; end > first+6 || disk[2] > disk[0]+int64(cfg.Budget)/20 {
		t.Errorf("it grows with every start: %v folders, %v bytes", folders, disk)
	}

	o.down()
	c = newClients(t, o, time.Minute)
	box := begin(t, cfg)
	if good := c.neverWrong(t, box, last, "without the site"); good < len(last)/2 {
		t.Errorf("only %d of the last %d objects are there", good, len(last))
	} else {
		t.Logf("%d of the last %d objects are there", good, len(last))
	}
	box.stop(t)
}
