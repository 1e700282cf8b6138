package badgerblock

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

// TestSegmentsSuitTheDisk has a budget far beyond a small disk: all rings must
// find room on it, also beside segments of another size.
func TestSegmentsSuitTheDisk(t *testing.T) {
	t.Parallel() // it waits for the disk mostly
	const disk = 128 * mib
	cfg := testConfig(t.TempDir())
	cfg.BudgetBytes = 2 << 30
	space := func(string) (int64, int64, error) {
		n, err := allocated(cfg.Dir)
		return disk - n, disk, err
	}
	for i, segment := range []int64{42 * mib, 0} {
		n := []int{12, 40}[i]
		cfg.SegmentBytes = segment
		s := mustOpenSpace(t, cfg, &shelf{}, space)
		if segment == 0 && s.segment > disk/32 {
			t.Errorf("segments of %d bytes on a disk of %d", s.segment, int64(disk))
		}
		for i := range n {
			p := blocktest.Bytes(uint64(segment)+uint64(i), 700_000)
			_, err := s.Put(t.Context(), block.Ring(i%3), block.Sum(p), p)
			if segment == 0 && err != nil {
				t.Fatalf("ring %d after %d blocks: %v", i%3, i, err)
			}
		}
		if free, _, _ := space(""); free < s.reserve {
			t.Errorf("%d bytes free, %d are reserved", free, s.reserve)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoomComesBack gives room back while a store waits for a minute before it
// tries again: not enough for a segment, but for making room for one.
func TestRoomComesBack(t *testing.T) {
	errPinned := errors.New("everything is pinned")
	tests := map[string]func(free, extra *atomic.Int64, n int64){
		"on the disk":   func(free, _ *atomic.Int64, n int64) { free.Add(n) },
		"in the budget": func(_, extra *atomic.Int64, n int64) { extra.Add(-n) },
	}
	for name, giveBack := range tests {
		t.Run(name, func(t *testing.T) {
			var others, extra atomic.Int64
			cfg := testConfig(t.TempDir())
			cfg.BudgetBytes = 48 * mib
			cfg.ReserveBytes = 8 * mib
			cfg.ExtraUsage = extra.Load
			others.Store(1 << 40)
			space := func(string) (int64, int64, error) {
				n, err := allocated(cfg.Dir)
				return others.Load() - n, 1 << 40, err
			}
			k := &shelf{}
			s := mustOpenSpace(t, cfg, k, space)
			for i := range 20 {
				mustPut(t, s, 0, blocktest.Bytes(uint64(i), block.Size))
			}
			s.sealNow()
			k.mu.Lock()
			k.err = errPinned
			k.mu.Unlock()
			if name == "on the disk" {
				others.Store(s.used() + cfg.ReserveBytes)
			} else {
				extra.Store(cfg.BudgetBytes - s.used())
			}
			p := blocktest.Bytes(1000, block.Size)
			try := func() error {
				_, err := s.Put(t.Context(), 0, block.Sum(p), p)
				return err
			}
			for range 8 {
				s.stuckUntil = time.Time{}
				if err := try(); !errors.Is(err, errPinned) {
					t.Fatalf("Put: %v", err)
				}
			}
			if s.stuckFor != maxStuck {
				t.Errorf("the next attempt is %v away", s.stuckFor)
			}
			k.mu.Lock()
			k.err = nil
			k.mu.Unlock()
			giveBack(&others, &extra, s.geo.cost/8)
			if err := try(); !errors.Is(err, block.ErrNoSpace) {
				t.Errorf("Put with hardly anything given back: %v", err)
			}
			run(t, s)
			giveBack(&others, &extra, s.geo.cost/4)
			begin := time.Now()
			for try() != nil {
				if time.Since(begin) > time.Minute {
					t.Fatal("nothing is stored though there is room again")
				}
				time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the disk is real, so no bubble
			}
			blocktest.Check(t, s, block.Sum(p), p)
		})
	}
}
