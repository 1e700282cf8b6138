//go:build system && linux

package wiretest_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"preau/replication/wire"
	"preau/replication/wire/wiretest"
)

func TestMain(m *testing.M) {
	if wiretest.Child() {
		return
	}
	os.Exit(m.Run())
}

func open(t *testing.T, up, down wiretest.Line) *wiretest.Path {
	t.Helper()
	p, err := wiretest.Open(up, down)
	if err != nil && os.Getenv("CI") == "true" && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// The benchmarks hold these figures to what is wanted; here, on a machine that
// may be busy, they must only tell what works from what does not: quic-go by
// itself takes five seconds to notice that UDP is blocked.
const slack = 2 * time.Second

// steadily tries up to three times what a machine that stands still for a moment
// can spoil: a fault is there each time.
func steadily(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for range 3 {
		if err = try(); err == nil {
			return
		}
		t.Log(err)
	}
	t.Error(err)
}

func TestUDPThatIsBlockedCostsOnce(t *testing.T) {
	line := wiretest.Line{Rate: 20_000_000, Delay: 20 * time.Millisecond, Queue: 128}
	p := open(t, line, line)
	s := stage(t, p)
	for _, blocked := range []bool{false, true} {
		p.BlockUDP(blocked)
		steadily(t, func() error {
			r, err := s.Client(t.Context(), wiretest.Job{First: 5})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("blocked %v: %v", blocked, r.First)
			want := wire.OverQUIC
			if blocked {
				want = wire.OverTCP
			}
			if len(r.Paths) != 1 || r.Paths[0].Way != want && blocked {
				t.Errorf("blocked %v: paths are %+v, want one over %s", blocked, r.Paths, want)
			}
			if took := slices.Max(r.First); took > slack {
				return fmt.Errorf("blocked %v: a request took %v", blocked, took)
			}
			return nil
		})
	}
}

func TestBulkFillsALossyLine(t *testing.T) {
	up := wiretest.Line{Rate: 20_000_000, Delay: 20 * time.Millisecond, Queue: 128}
	down := up
	down.Loss = 0.02
	s := stage(t, open(t, up, down))
	steadily(t, func() error {
		r, err := s.Client(t.Context(), wiretest.Job{Count: 25, Size: 1 << 20, Callers: 16})
		if err != nil {
			t.Fatal(err)
		}
		rate := float64(r.Bytes) * 8 / r.Ended.Sub(r.Began).Seconds()
		t.Logf("%.1f Mbit/s over %v", rate/1e6, r.Modes)
		if r.Bytes != 25<<20 || rate < float64(down.Rate)/2 {
			return fmt.Errorf("%d bytes at %.1f Mbit/s, want all of 25 MiB at half the line's rate at least", r.Bytes, rate/1e6)
		}
		return nil
	})
}

func stage(t *testing.T, p *wiretest.Path) *wiretest.Stage {
	t.Helper()
	// A test's own context ends before its cleanups.
	s, err := wiretest.NewStage(context.WithoutCancel(t.Context()), p, wiretest.Job{Congestion: "bbr"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
