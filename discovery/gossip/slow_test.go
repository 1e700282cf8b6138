package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds, as it waits for boxes to be found dead")
	}
	t.Parallel()
}

func TestAKilledBoxIsNoMemberForLong(t *testing.T) {
	slow(t)
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi")
	began := time.Now()
	boxes[1].kill()
	boxes[0].see("carvi")
	boxes[2].see("anis")
	t.Logf("noticed by both after %s", time.Since(began))
	if why := boxes[0].why("badiane"); why != "not heard any more" {
		t.Errorf("why it is no member: %q", why)
	}
}

func TestAProcessThatDiedIsNoMemberForLong(t *testing.T) {
	slow(t)
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi")
	began := time.Now()
	// What the kernel does for a process that is killed.
	if err := boxes[1].tr.Load().Shutdown(); err != nil {
		t.Error(err)
	}
	boxes[0].see("carvi")
	boxes[2].see("anis")
	t.Logf("noticed by both after %s", time.Since(began))
}

func TestAPartitionHeals(t *testing.T) {
	slow(t)
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi", "dill")
	w.part(boxes[:2], boxes[2:])
	boxes[0].see("badiane")
	boxes[1].see("anis")
	boxes[2].see("dill")
	boxes[3].see("carvi")
	w.until("the others are called, in vain", func() bool {
		return testutil.ToFloat64(boxes[0].met.rejoins.WithLabelValues(resultFailed)) > 0
	})
	w.mend()
	began := time.Now()
	for i, n := range boxes {
		var others []string
		for j, o := range boxes {
			if i != j {
				others = append(others, o.nick)
			}
		}
		n.see(others...)
	}
	t.Logf("all see all %s after the end of the partition", time.Since(began))
}

func TestABoxThatMovesWithoutAWordIsOneBox(t *testing.T) {
	slow(t)
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi")
	boxes[1].kill()
	began := time.Now()
	again := w.box("badiane", func(_ *Config, _ *State, n *node) { n.nick = "badiane, moved" })
	again.Hint(boxes[0].Addr())
	for _, n := range []*node{boxes[0], boxes[2]} {
		w.until(n.nick+" sees it at its new address", func() bool {
			m, _ := n.member("badiane")
			return m.State.Port == again.port
		})
		if len(n.All()) != 2 {
			t.Errorf("%s knows %+v", n.nick, n.All())
		}
	}
	again.see("anis", "carvi")
	t.Logf("at home at its new address after %s", time.Since(began))
}

func TestWithoutUDPNobodyDies(t *testing.T) {
	slow(t)
	w := newWorld(t)
	w.noUDP = true
	boxes := w.meet("anis", "badiane", "carvi")
	stop := time.After(15 * time.Second)
	for running := true; running; {
		select {
		case <-stop:
			running = false
		case <-time.After(50 * time.Millisecond):
		}
		for _, n := range boxes {
			if len(n.Members()) != 2 {
				t.Fatalf("%s sees only %s", n.nick, names(n.Members()))
			}
		}
	}
	if n := strings.Count(boxes[0].logs.String(), "heard over TCP only"); n != 1 {
		t.Errorf("it says %d times that UDP is missing", n)
	}
	boxes[0].Say(State{Port: boxes[0].port, Draining: true})
	began := time.Now()
	for _, n := range boxes[1:] {
		w.until("news", func() bool { m, _ := n.member("anis"); return m.State.Draining })
	}
	t.Logf("news over TCP took %s", time.Since(began))
	boxes[0].end()
	began = time.Now()
	boxes[1].see("carvi")
	t.Logf("leaving over TCP took %s", time.Since(began))
	boxes[2].kill()
	boxes[1].see()
}

// TestSleeperProcess is the process that TestABoxThatSleptComesBack puts to sleep.
func TestSleeperProcess(t *testing.T) {
	peer := os.Getenv("PREAU_GOSSIP_PEER")
	if peer == "" {
		t.Skip("only as a child of another test")
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.School, cfg.Listen, cfg.Keys = "sleeper", "collège Jean-Moulin", "127.0.0.1:0", [][]byte{keyA}
	cfg.RejoinEvery = time.Second
	any1 := func(context.Context, string, netip.AddrPort) error { return nil }
	g, err := New(cfg, State{Port: 1}, any1, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	g.Hint(netip.MustParseAddrPort(peer))
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestABoxThatSleptComesBack(t *testing.T) {
	slow(t)
	w := newWorld(t)
	here := w.box("anis")
	w.proves(loop(1), "sleeper")
	child := exec.Command(os.Args[0], "-test.run=^TestSleeperProcess$")
	child.Env = append(os.Environ(), "PREAU_GOSSIP_PEER="+here.Addr().String())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	here.see("sleeper")
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	here.see()
	t.Logf("asleep for %s when noticed", time.Since(began))
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	here.see("sleeper")
	t.Logf("back after %s", time.Since(began))
}

// BenchmarkAKilledBoxIsNoticed kills one of three boxes, b.N times, and says
// after what time both others have noticed.
//
//	go test -run '^$' -bench Killed -benchtime 60x ./discovery/gossip
func BenchmarkAKilledBoxIsNoticed(b *testing.B) {
	for _, boxes := range []int{2, 3, 6} {
		b.Run(fmt.Sprint(boxes, " boxes"), func(b *testing.B) {
			var mu sync.Mutex
			var took []time.Duration
			var wg sync.WaitGroup
			room := make(chan struct{}, 24/boxes)
			for range b.N {
				room <- struct{}{}
				wg.Go(func() {
					defer func() { <-room }()
					w := newWorld(b)
					var all []string
					for i := range boxes {
						all = append(all, fmt.Sprint("box", i))
					}
					ns := w.meet(all...)
					began := time.Now()
					ns[0].kill()
					for _, n := range ns[1:] {
						w.until("the dead box is gone", func() bool { return len(n.Members()) == boxes-2 })
					}
					mu.Lock()
					took = append(took, time.Since(began))
					mu.Unlock()
					for _, n := range ns {
						n.end()
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			at := func(p float64) float64 { return took[int(p*float64(len(took)-1))].Seconds() }
			b.ReportMetric(at(0.5), "p50-s")
			b.ReportMetric(at(0.99), "p99-s")
			b.ReportMetric(at(1), "max-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkIdle has six boxes that have nothing to say for 20 s.
//
//	go test -run '^$' -bench Idle -benchtime 1x ./discovery/gossip
func BenchmarkIdle(b *testing.B) {
	const boxes, during = 6, 20 * time.Second
	w := newWorld(b)
	ns := w.meet("anis", "badiane", "carvi", "dill", "épice", "fenouil")
	for range b.N {
		count := func() (bytes, packets float64) {
			for _, n := range ns {
				bytes += testutil.ToFloat64(n.met.bytesOut)
				packets += testutil.ToFloat64(n.met.packetsOut)
			}
			return bytes, packets
		}
		b0, p0 := count()
		cpu0 := cpu(b)
		<-time.After(during)
		cpu1 := cpu(b)
		b1, p1 := count()
		per := boxes * during.Seconds()
		b.ReportMetric(float64((cpu1-cpu0).Microseconds())/1000/per, "cpu-ms/s/box")
		b.ReportMetric((b1-b0)/per, "B-out/s/box")
		b.ReportMetric((p1-p0)/per, "packets-out/s/box")
		b.ReportMetric(0, "ns/op")
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
