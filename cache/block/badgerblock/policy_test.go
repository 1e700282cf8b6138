package badgerblock

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
	"preau/cache/evict"
)

// judge is a Keeper that does what the real policy says. Every block is an
// object of its own.
type judge struct {
	policy *evict.Policy

	mu     sync.Mutex
	store  *Store
	copied int64
	moves  int
	labels int
}

func keyOf(d block.Digest) evict.Key { return evict.Key(binary.BigEndian.Uint64(d[:])) }

func (k *judge) NextRing(used []int64) block.Ring { return k.policy.NextRing(used) }

func (k *judge) Retire(ctx context.Context, r block.Ring, s block.Segment) ([]Keep, error) {
	var list []Keep
	err := k.store.Each(ctx, s, func(d block.Digest, n int) error {
		if keep, to := k.policy.Retire(keyOf(d), r, int64(n)); keep {
			list = append(list, Keep{d, to})
		}
		return nil
	})
	return list, err
}

func (k *judge) Moved(_ context.Context, _ block.Segment, moves []Move) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		b, err := k.store.Open(m.Digest)
		if err != nil {
			return err
		}
		k.copied += int64(b.Len())
		k.moves++
		if err := b.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (k *judge) Relabelled(context.Context, block.Segment, block.Segment, []block.Digest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.labels++
	return nil
}

func (k *judge) Retired(context.Context, block.Segment) {}

func openJudged(tb testing.TB, budget int64) (*Store, *judge) {
	tb.Helper()
	p, err := evict.New(evict.DefaultConfig(budget))
	if err != nil {
		tb.Fatal(err)
	}
	cfg := testConfig(tb.TempDir())
	cfg.BudgetBytes = budget
	k := &judge{policy: p}
	s, err := New(cfg, k, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	k.store = s
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s, k
}

// TestAClassTouchesEverything puts several times the budget, and 35 devices ask
// for each object as soon as it is there.
func TestAClassTouchesEverything(t *testing.T) {
	budget, rounds := int64(64*mib), int64(4)
	if testing.Short() {
		budget, rounds = 24*mib, 2
	}
	s, k := openJudged(t, budget)
	run(t, s)
	half, stop := watch(t, s)
	var written int64
	for i := 0; written < rounds*budget; i++ {
		p := blocktest.Bytes(uint64(i), []int{block.Size, 700_000, 30_000, 200_000}[i%4])
		d := block.Sum(p)
		if _, err := s.Put(t.Context(), k.policy.Admit(keyOf(d), int64(len(p))), d, p); err != nil {
			t.Fatalf("after %d bytes: %v", written, err)
		}
		for range 35 {
			k.policy.Touch(keyOf(d))
		}
		if written += int64(len(p)); written > rounds*budget/2 {
			half()
		}
	}
	most, mean := stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	t.Logf("at most %.3f of the budget, %.3f in the mean; %d blocks copied, %.3f of the bytes; %d segments relabelled",
		float64(most)/float64(budget), float64(mean)/float64(budget), k.moves, float64(k.copied)/float64(written), k.labels)
	if most > budget || mean < s.leastUse() {
		t.Errorf("disk use is out of bounds")
	}
	if k.copied > written/20 {
		t.Errorf("%d bytes copied for %d written", k.copied, written)
	}
	if k.labels == 0 {
		t.Error("nothing was relabelled")
	}
}

// BenchmarkChurnAllHot puts blocks of 1 MiB through a store that is full of
// what was touched 35 times. Each is hashed once.
func BenchmarkChurnAllHot(b *testing.B) {
	s, k := openJudged(b, 512*mib)
	run(b, s)
	p := blocktest.Bytes(1, block.Size)
	put := func(i int) {
		binary.BigEndian.PutUint64(p, uint64(i))
		d := block.Sum(p)
		if _, err := s.Put(b.Context(), k.policy.Admit(keyOf(d), int64(len(p))), d, p); err != nil {
			b.Fatal(err)
		}
		for range 35 {
			k.policy.Touch(keyOf(d))
		}
	}
	for i := range 512 {
		put(1<<40 + i)
	}
	perGB(b, int64(b.N)*block.Size, func() {
		for i := range b.N {
			put(i)
		}
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	b.ReportMetric(float64(k.copied)/(float64(b.N)*block.Size), "copied/put")
}
