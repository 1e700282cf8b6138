package badgerblock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

func TestChurnStaysInBudget(t *testing.T) {
	t.Parallel() // it waits for the disk mostly
	budget, through := int64(64*mib), 600*mib
	if testing.Short() {
		budget, through = 24*mib, 40*mib
	}
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = budget
	k := &shelf{}
	k.keep = func(d block.Digest) (block.Ring, bool) { // a fifth, once
		_, again := k.moved[d]
		return 1, d[0] < 256/5 && !again
	}
	s := mustOpen(t, cfg, k)
	run(t, s)
	var most int64
	done := 0
	for i := 0; done < through; i++ {
		n := []int{block.Size, 300_000, 4096, 70_000}[i%4]
		p := blocktest.Bytes(uint64(i), n)
		mustPut(t, s, block.Ring(i%3), p)
		done += n
		if i%16 == 0 {
			k.mu.Lock()
			k.ring = block.Ring(i / 16 % 3)
			k.mu.Unlock()
			disk := measured(t, s)
			most = max(most, disk)
			if disk > budget*105/100 {
				t.Fatalf("%d bytes on disk of a budget of %d", disk, budget)
			}
		}
	}
	t.Logf("at most %.3f of the budget", float64(most)/float64(budget))
	if u := s.Usage(); u.Bytes < s.leastUse() || u.Bytes > budget || u.Full {
		t.Errorf("usage %+v of a budget of %d", u, budget)
	}
	if disk := measured(t, s); disk < s.leastUse()-mib {
		t.Errorf("only %d bytes on disk of a budget of %d", disk, budget)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.retired) == 0 || len(k.moved) == 0 {
		t.Errorf("%d segments retired, %d blocks moved", len(k.retired), len(k.moved))
	}
}

func TestRetireKeepsWhatIsWanted(t *testing.T) {
	k := &shelf{}
	s := mustOpen(t, testConfig(t.TempDir()), k)
	want := stock(t, s)
	s.sealNow()
	keep := make(map[block.Digest]bool)
	for d := range want {
		keep[d] = d[1]%5 == 0
	}
	k.keep = func(d block.Digest) (block.Ring, bool) { return 2, keep[d] }
	// One damaged block among those to keep: left behind, not carried on.
	var bad block.Digest
	for d := range want {
		if keep[d] && len(want[d]) > 100 {
			bad = d
			break
		}
	}
	g, pl, _ := s.find(bad, false)
	damage(t, g, pl)
	g.release()
	n := len(s.all())
	for _, g := range s.all() {
		if _, err := s.retire(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	for d, p := range want {
		seg, ok := s.Has(d)
		if ok != (keep[d] && d != bad) {
			t.Errorf("kept: %v, wanted: %v", ok, keep[d])
		}
		if ok {
			blocktest.Check(t, s, d, p)
			if k.moved[d] != seg {
				t.Errorf("moved to segment %d, is in %d", k.moved[d], seg)
			}
		}
	}
	if len(k.retired) != n {
		t.Errorf("retired %v", k.retired)
	}
}

func damage(t *testing.T, g *segment, p place) {
	t.Helper()
	f, err := openRW(g.vlog.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(p.off)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{^b[0]}, int64(p.off)); err != nil {
		t.Fatal(err)
	}
}

func TestKeeperError(t *testing.T) {
	k := &shelf{err: errors.New("not now")}
	s := mustOpen(t, testConfig(t.TempDir()), k)
	d, _ := mustPut(t, s, 0, []byte("x"))
	s.sealNow()
	if _, err := s.retire(t.Context(), s.all()[0]); !errors.Is(err, k.err) {
		t.Errorf("retire: %v", err)
	}
	blocktest.Check(t, s, d, []byte("x"))
	if _, seg := mustPut(t, s, 0, []byte("x")); seg != s.Segments()[0] {
		t.Error("a segment that stays does not count for deduplication")
	}
}

// TestDedupeOfWhatGoes puts a block that lies in a segment about to go.
func TestDedupeOfWhatGoes(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	p := blocktest.Bytes(1, 5000)
	d, first := mustPut(t, s, 0, p)
	s.sealNow()
	g := s.all()[0]
	g.retiring.Store(true)
	if _, second := mustPut(t, s, 0, p); second == first {
		t.Error("a segment about to go was counted on")
	}
	g.retiring.Store(false)
	if _, err := s.retire(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	blocktest.Check(t, s, d, p)
}

func TestAllPinned(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 24 * mib
	k := &shelf{keep: func(block.Digest) (block.Ring, bool) { return 0, true }}
	s := mustOpen(t, cfg, k)
	put := make(map[block.Digest][]byte)
	var err error
	for i := 0; err == nil; i++ {
		if i > 100 {
			t.Fatal("no end")
		}
		p := blocktest.Bytes(uint64(i), block.Size)
		if _, err = s.Put(t.Context(), 0, block.Sum(p), p); err == nil {
			put[block.Sum(p)] = p
		}
	}
	if !errors.Is(err, block.ErrNoSpace) || !s.Full() {
		t.Errorf("Put with everything pinned: %v, full: %v", err, s.Full())
	}
	for d, p := range put {
		blocktest.Check(t, s, d, p)
	}
	if s.stuckFor != minStuck {
		t.Errorf("the next attempt is %v away", s.stuckFor)
	}
	s.stuckUntil = time.Now().Add(time.Hour) // on a slow machine too
	before := k.asked
	p := blocktest.Bytes(1000, block.Size)
	for range 50 {
		if _, err := s.Put(t.Context(), 0, block.Sum(p), p); !errors.Is(err, block.ErrNoSpace) {
			t.Errorf("Put: %v", err)
		}
	}
	if n := k.asked - before; n > 0 {
		t.Errorf("after 50 refusals %d segments were asked about: what is pinned goes round and round", n)
	}
	if n, err := allocated(cfg.Dir); err != nil || n > cfg.BudgetBytes*105/100 {
		t.Errorf("%d bytes on disk, %v", n, err)
	}
}

func TestDiskShort(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.ReserveBytes = 10 * mib
	var free atomic.Int64
	free.Store(1 << 40)
	space := func(string) (int64, int64, error) { return free.Load(), 1 << 40, nil }
	k := &shelf{}
	s := mustOpenSpace(t, cfg, k, space)
	want := stock(t, s)
	s.sealNow()
	n := len(s.Segments())

	// Short for good: everything old goes, then nothing more is kept.
	free.Store(9 * mib)
	p := blocktest.Bytes(1000, 5000)
	if _, err := s.Put(t.Context(), 0, block.Sum(p), p); !errors.Is(err, block.ErrNoSpace) {
		t.Errorf("Put on a full disk: %v", err)
	}
	if !s.Full() || !s.Usage().Full {
		t.Error("not Full")
	}
	k.mu.Lock()
	if len(k.retired) != n {
		t.Errorf("retired %v of %d", k.retired, n)
	}
	k.mu.Unlock()

	// Room again.
	free.Store(1 << 40)
	mustPut(t, s, 0, p)
	if s.Full() {
		t.Error("still Full")
	}
	for d, p := range want {
		mustPut(t, s, 0, p)
		blocktest.Check(t, s, d, p)
	}

	// A start on a full disk makes room before anything is written.
	s.sealNow()
	n = len(s.Segments())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := allocated(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	space = func(string) (int64, int64, error) {
		now, err := allocated(cfg.Dir)
		return 9*mib + before - now, 1 << 40, err
	}
	s = mustOpenSpace(t, cfg, &shelf{}, space)
	if left := len(s.Segments()); left != n-1 {
		t.Errorf("%d of %d segments are left", left, n)
	}
}

func TestDiskSmallerThanBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	t.Parallel() // it waits for the disk mostly
	const disk = 40 * mib
	const n = 50
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 256 * mib
	cfg.SegmentBytes = 2 * mib
	cfg.ReserveBytes = 8 * mib
	space := func(string) (int64, int64, error) {
		n, err := allocated(cfg.Dir)
		return disk - n, disk, err
	}
	s := mustOpenSpace(t, cfg, &shelf{}, space)
	for i := range n {
		p := blocktest.Bytes(uint64(i), block.Size)
		d, _ := mustPut(t, s, 0, p)
		blocktest.Check(t, s, d, p)
		if free, _, _ := space(""); free < cfg.ReserveBytes {
			t.Fatalf("%d bytes free after %d blocks", free, i)
		}
	}
}

func TestReserveFor(t *testing.T) {
	tests := map[int64]int64{100 * mib: 25 * mib, 1 << 30: 64 * mib, 10 << 30: (10 << 30) / 50, 1 << 40: 1 << 30}
	for total, want := range tests {
		if got := reserveFor(total); got != want {
			t.Errorf("reserveFor(%d) = %d, want %d", total, got, want)
		}
	}
}

// TestSegmentsStayWithinTheirRoom fills segments in the ways that need most of
// what is allocated for them: Badger must never begin a second file, for which
// nothing is.
func TestSegmentsStayWithinTheirRoom(t *testing.T) {
	tests := map[string]func(s *Store, i int) error{
		"tiny blocks": func(s *Store, i int) error {
			p := []byte(fmt.Sprint(i))
			_, err := s.Put(t.Context(), 0, block.Sum(p), p)
			return err
		},
		"full blocks": func(s *Store, i int) error {
			p := blocktest.Bytes(uint64(i), block.Size)
			_, err := s.Put(t.Context(), 0, block.Sum(p), p)
			return err
		},
		"records with long keys": func(s *Store, i int) error {
			_, err := s.PutRecord(t.Context(), 0, blocktest.Bytes(uint64(i), maxRecordKey), []byte("x"))
			return err
		},
		"records of many lengths": func(s *Store, i int) error {
			_, err := s.PutRecord(t.Context(), 0, blocktest.Bytes(uint64(i), i%200), blocktest.Bytes(1, i%3000))
			return err
		},
	}
	for name, put := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			cfg.SegmentBytes = 8 * mib
			s := mustOpen(t, cfg, &shelf{})
			var most int64
			var dir string
			for i := 0; len(s.Segments()) < 2; i++ {
				if err := put(s, i); err != nil {
					t.Fatal(err)
				}
				if i > 0 && i%97 != 0 && i > 16 {
					continue
				}
				dir = s.all()[0].dir()
				n, err := allocated(dir)
				if err != nil {
					t.Fatal(err)
				}
				most = max(most, n)
				for _, path := range files(t, dir) {
					switch name := filepath.Base(path); filepath.Ext(name) {
					case ".vlog", ".mem", ".sst":
						fi, err := os.Stat(path)
						if err != nil {
							t.Fatal(err)
						}
						// The next log has only its room, for when Badger is closed.
						if name != vlogName && name != "00001.mem" && (name != "00002.mem" || fi.Size() > 0) {
							t.Fatalf("after %d: %s", i, name)
						}
					}
				}
			}
			if most > s.geo.cost {
				t.Errorf("%d bytes allocated, planned for %d", most, s.geo.cost)
			}
		})
	}
}

// TestCloseWhileMakingRoom closes a store whose writers are retiring segments.
func TestCloseWhileMakingRoom(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 24 * mib
	k := &shelf{}
	k.keep = func(d block.Digest) (block.Ring, bool) {
		_, again := k.moved[d]
		return 1, d[0] < 64 && !again
	}
	s := mustOpen(t, cfg, k)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				p := blocktest.Bytes(uint64(w<<32+i), 200_000)
				if _, err := s.Put(t.Context(), 0, block.Sum(p), p); errors.Is(err, ErrClosed) {
					return
				}
			}
		})
	}
	for {
		k.mu.Lock()
		n := len(k.retired)
		k.mu.Unlock()
		if n > 3 {
			break
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // a real disk, so no bubble
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
