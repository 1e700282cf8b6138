package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// lottery is a Keeper that keeps a share of what it is asked about, in ring 1,
// and remembers what it gave up.
type lottery struct {
	shelf
	percent int
	asked   int
	gone    map[block.Digest]bool
}

func (k *lottery) NextRing(used []int64) block.Ring {
	next := 0
	for r := range used {
		if used[r] > used[next] {
			next = r
		}
	}
	return block.Ring(next)
}

func (k *lottery) Retire(ctx context.Context, _ block.Ring, s block.Segment) ([]Keep, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []Keep
	err := k.store.Each(ctx, s, func(d block.Digest, _ int) error {
		// Another draw on each lap, the same on each run of the test.
		k.asked++
		if (k.asked*7919+int(d[0]))%100 < k.percent {
			list = append(list, Keep{d, 1})
		} else {
			k.gone[d] = true
		}
		return nil
	})
	return list, err
}

// leastUse is what a full store uses in the mean at least: room for one segment
// is kept for what is carried forward, up to two are free on the way to the
// next, and one may have been sealed before it was full. Where segments are of
// the least size there are, that is more than a tenth of a small budget.
func (s *Store) leastUse() int64 { return s.cfg.BudgetBytes - 4*s.geo.cost }

// measured is what s takes on the disk. A segment may come and another go while
// the folders are read, for long if others want the processor too, so one figure
// alone may be of neither moment: it is the least of three during which none did.
func measured(t *testing.T, s *Store) int64 {
	t.Helper()
	least := int64(1 << 62)
	for n := 0; n < 3; {
		list := s.list.Load()
		disk, err := allocated(s.cfg.Dir)
		if err != nil {
			t.Error(err)
		}
		if s.list.Load() == list {
			least = min(least, disk)
			n++
		}
	}
	return least
}

// watch measures the disk that s takes again and again. stop returns the most
// that was seen, and the mean since half was called: of one figure at least,
// however little of the processor is left for that.
func watch(t *testing.T, s *Store) (half func(), stop func() (most, mean int64)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var late atomic.Bool
	var most, sum, n int64
	pause := time.Millisecond
	if testing.Short() {
		pause *= 20 // a walk takes as much time as a put
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil || late.Load() && n == 0 {
			disk := measured(t, s)
			most = max(most, disk)
			if late.Load() {
				sum += disk
				n++
			}
			time.Sleep(pause) //nolint:forbidigo // cancel ends it
		}
	})
	return func() { late.Store(true) }, func() (int64, int64) {
		cancel()
		wg.Wait()
		return most, sum / max(n, 1)
	}
}

// TestBudget has 40 writers write all rings, and a Keeper that keeps more or
// less of it.
func TestBudget(t *testing.T) {
	// With the least there may be, a segment is an eighth.
	least := Config{Rings: make([]RingConfig, 3), SegmentBytes: minSegment}.leastBudget()
	budgets := []int64{least, 64 * mib}
	if testing.Short() {
		budgets = []int64{least, 21 * mib}
	}
	if os.Getenv("PREAU_LARGE") != "" { // takes minutes
		budgets = append(budgets, 256*mib, 2<<30)
	}
	for _, budget := range budgets {
		for _, percent := range []int{100, 95, 50, 0} {
			if budget != budgets[1] && percent != 95 || testing.Short() && percent != 50 && budget != least {
				continue // much the same, and slow
			}
			t.Run(fmt.Sprintf("%d MiB keeping %d", budget/mib, percent), func(t *testing.T) { churn(t, budget, percent) })
		}
	}
}

func churn(t *testing.T, budget int64, percent int) {
	t.Helper()
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = budget
	extra := atomic.Int64{}
	extra.Store(mib)
	cfg.ExtraUsage = extra.Load
	k := &lottery{percent: percent, gone: make(map[block.Digest]bool)}
	s, err := New(cfg, k, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	k.store = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	stopRun := run(t, s)
	half, stop := watch(t, s)
	enough := budget * 2
	if testing.Short() {
		enough = budget * 5 / 4
	}
	var written, refused, next atomic.Int64
	var mu sync.Mutex
	put := make(map[block.Digest]int)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				n := []int{block.Size, 300_000, 4096, 70_000}[i%4]
				p := blocktest.Bytes(uint64(i), n)
				d := block.Sum(p)
				_, err := s.Put(t.Context(), block.Ring(i%3), d, p)
				switch {
				case errors.Is(err, block.ErrNoSpace):
					if refused.Add(1) > 400 {
						return
					}
				case err != nil:
					t.Error(err)
					return
				default:
					mu.Lock()
					put[d] = i
					mu.Unlock()
				}
				total := written.Add(int64(n))
				if total > budget {
					half()
				}
				if total > enough {
					return
				}
			}
		})
	}
	wg.Wait()
	stopRun() // it retires, and with that asks k
	most, mean := stop()
	share := func(n int64) float64 { return float64(n+mib) / float64(budget) }
	t.Logf("at most %.3f of the budget, %.3f in the mean; %d refused", share(most), share(mean), refused.Load())
	if share(most) > 1.0 {
		t.Errorf("%.3f of the budget used", share(most))
	}
	if mean+mib < s.leastUse() && refused.Load() == 0 {
		t.Errorf("only %.3f of the budget used", share(mean))
	}
	// Of five segments of six blocks, laps may go by with all of them kept.
	if (percent <= 50 || percent < 100 && budget >= 64*mib) && refused.Load() > 0 {
		t.Errorf("%d blocks refused though not all is kept", refused.Load())
	}
	// What was put and not given up is there.
	lost := 0
	for d, i := range put {
		if _, ok := s.Has(d); !ok && !k.gone[d] {
			lost++
		} else if ok && i%16 == 0 {
			blocktest.Check(t, s, d, blocktest.Bytes(uint64(i), []int{block.Size, 300_000, 4096, 70_000}[i%4]))
		}
	}
	if lost > 0 {
		t.Errorf("%d blocks lost of %d that were put", lost, len(put))
	}
}

// TestRoomIsClaimedOnce has all rings want a segment at once where there is
// room for one.
func TestRoomIsClaimedOnce(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 24 * mib
	var extra atomic.Int64
	cfg.ExtraUsage = extra.Load
	s := mustOpen(t, cfg, &shelf{})
	extra.Store(cfg.BudgetBytes - 5*s.geo.cost/2 - s.foreign)
	var wg sync.WaitGroup
	var got atomic.Int64
	for range 20 {
		wg.Go(func() {
			if s.claim(1, false) {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	if got.Load() != 1 {
		t.Errorf("%d segments claimed where there is room for one", got.Load())
	}
}

// TestQueueIsNotCarried retires a segment while ordinary blocks wait for room:
// what is carried forward must not take them along.
func TestQueueIsNotCarried(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 24 * mib
	k := &shelf{keep: func(d block.Digest) (block.Ring, bool) { return 1, d[0] < 128 }}
	s := mustOpen(t, cfg, k)
	for i := range 8 {
		mustPut(t, s, 0, blocktest.Bytes(uint64(i), 200_000))
	}
	s.sealNow()
	waiting := &request{pair: pair{blockKey(block.Sum(nil)), nil}, digest: block.Sum(nil)}
	s.rings[1].queue = append(s.rings[1].queue, waiting)
	if _, err := s.retire(t.Context(), s.all()[0]); err != nil {
		t.Fatal(err)
	}
	if waiting.done || len(s.rings[1].queue) != 1 {
		t.Error("a block that waits for room was written by what makes room")
	}
	s.rings[1].queue = nil
}

// TestRefusalIsSaidOnce refuses many blocks for one reason.
func TestRefusalIsSaidOnce(t *testing.T) {
	var out lockedBuffer
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 24 * mib
	k := &shelf{keep: func(block.Digest) (block.Ring, bool) { return 0, true }}
	s, err := open(cfg, k, slog.New(slog.NewTextHandler(&out, nil)), prometheus.NewRegistry(), diskSpace)
	if err != nil {
		t.Fatal(err)
	}
	k.store = s
	t.Cleanup(func() { _ = s.Close() })
	refused := 0
	var p []byte
	for i := range 80 {
		if refused == 0 {
			p = blocktest.Bytes(uint64(i), block.Size)
		}
		if _, err := s.Put(t.Context(), 0, block.Sum(p), p); errors.Is(err, block.ErrNoSpace) {
			refused++
			if refused%10 == 0 {
				s.stuckUntil = time.Time{} // let it try again
			}
		}
	}
	if refused < 30 {
		t.Fatalf("%d refused", refused)
	}
	if n := strings.Count(out.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, out.String())
	}
	// Room again, and refused again: two more lines.
	k.mu.Lock()
	k.keep = nil
	k.mu.Unlock()
	s.stuckUntil = time.Time{}
	mustPut(t, s, 0, []byte("x"))
	for i := range 3 {
		mustPut(t, s, 0, blocktest.Bytes(uint64(1000+i), block.Size))
	}
	if n := strings.Count(out.String(), "room for new blocks again"); n != 1 {
		t.Errorf("%d lines about room:\n%s", n, out.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
