//go:build bench

package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/wanline"
)

// scale is how large a run is.
type scale struct {
	name    string
	file    int64         // the class's file
	seek    int64         // where a device seeks to in it
	leave   int64         // where a device gives up
	deathAt time.Duration // into the fill
	outage  time.Duration
	longer  time.Duration // the long outage, for the box alone
	rounds  int           // of hit throughput
	round   time.Duration
	store   int64         // the large store's budget
	wait    time.Duration // how long a device waits for an answer while the line is down
	limit   time.Duration // no new measurement begins after it
	region  regionScale

	wireBlocks int // MiB that are sent as the program chooses
	wireCut    int // MiB of which the line is cut in the middle
	centre     centreScale
	delta      int64 // bytes of a published file of which a new version comes
	portal     portalScale
}

// clients is a class, rate and delay are its line.
const (
	clients  = 40
	lineRate = 20_000_000
	lineRTT  = 20 * time.Millisecond
)

var ( // values, never changed
	normalScale = scale{name: "normal", file: 50 * miB, seek: 40 * miB, leave: 10 * miB, deathAt: 8 * time.Second,
		outage: 5 * time.Second, longer: 25 * time.Second, rounds: 5, round: 800 * time.Millisecond, store: giB, limit: 80 * time.Minute, wait: 16 * time.Second, region: normalRegion,
		wireBlocks: 100, wireCut: 1024, centre: normalCentre, delta: 200_000_000,
		portal: portalScale{pupils: 35, visits: 4, file: 20_000_000, added: 1_000_000_000, minute: time.Minute}}
	quickScale = scale{name: "quick", file: 6 * miB, seek: 4 * miB, leave: miB, deathAt: 1200 * time.Millisecond,
		outage: 2 * time.Second, longer: 5 * time.Second, rounds: 2, round: 400 * time.Millisecond, store: 256 * miB, limit: 5 * time.Minute, wait: 3 * time.Second, region: quickRegion,
		wireBlocks: 10, wireCut: 256, centre: quickCentre, delta: 20_000_000,
		portal: portalScale{pupils: 35, visits: 4, file: 20_000_000, added: 100_000_000, minute: 10 * time.Second}}
)

// ideal is how long the line needs for n bytes.
func ideal(n int64) time.Duration {
	return time.Duration(float64(n*8) / lineRate * float64(time.Second))
}

// bench is one run over all peers.
type bench struct {
	t      *testing.T
	dir    string
	scale  scale
	peers  []peer // those that can run
	report *report
	serial int
}

// stage is one peer in front of one origin with a line between them.
type stage struct {
	*running
	b      *bench
	origin *origin
	line   *wanline.Line
}

// stageOptions bend a stage; the zero value is the class's line and 4 GiB of budget.
type stageOptions struct {
	rate   int64         // 0: the class's
	rtt    time.Duration // 0: the class's
	budget int64
	cpu    int // 0: any; n: processor n-1 alone
	direct bool
}

// stage puts p in place. Everything is taken down when the subtest ends.
func (b *bench) stage(t *testing.T, p peer, opt stageOptions) *stage {
	t.Helper()
	s := &stage{b: b, origin: newOrigin(t)}
	target := s.origin.addr
	if !opt.direct {
		line, err := wanline.New(wanline.Config{Listen: "127.0.0.1:0", Target: target,
			BitsPerSecond: cmp.Or(opt.rate, lineRate), Delay: cmp.Or(opt.rtt, lineRTT) / 2})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- line.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil && ctx.Err() == nil {
				t.Errorf("line: %v", err)
			}
		})
		s.line, target = line, line.Addr()
	}
	listen, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	b.serial++
	set := setup{dir: filepath.Join(b.dir, fmt.Sprintf("run%03d", b.serial)), listen: listen, origin: target,
		budget: cmp.Or(opt.budget, 4*giB)}
	s.running, err = p.start(t.Context(), set, opt.cpu-1)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		if t.Failed() {
			t.Logf("end of its log: %s", s.tail())
		}
		if err := os.RemoveAll(set.dir); err != nil {
			t.Errorf("%s leaves files behind: %v", p.name, err)
		}
	})
	return s
}

// wan is what crossed the line towards the school, in bytes.
func (s *stage) wan() int64 { return s.line.Received() }

// settle waits until nothing has crossed the line for quiet, at most limit.
func (s *stage) settle(quiet, limit time.Duration) {
	last, since, end := s.wan(), time.Now(), time.Now().Add(limit)
	for time.Now().Before(end) {
		time.Sleep(50 * time.Millisecond)
		if n := s.wan(); n != last {
			last, since = n, time.Now()
		} else if time.Since(since) >= quiet {
			return
		}
	}
}

// class lets n devices start within spread and returns what each saw.
func class(n int, spread time.Duration, f func(i int) result) []result {
	out := make([]result, n)
	done := make(chan struct{})
	for i := range n {
		go func() {
			time.Sleep(spread * time.Duration(i) / time.Duration(n))
			out[i] = f(i)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	return out
}

// quantile of durations, p in 0..1, by nearest rank.
func quantile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(p*float64(len(d))))]
}

// column picks one duration of each result that has it.
func column(rs []result, f func(result) time.Duration) []time.Duration {
	var out []time.Duration
	for _, r := range rs {
		if d := f(r); d > 0 {
			out = append(out, d)
		}
	}
	return out
}

func ttfb(r result) time.Duration  { return r.ttfb }
func total(r result) time.Duration { return r.total }

// secs prints a duration as seconds with three figures at most.
func secs(d time.Duration) string {
	switch s := d.Seconds(); {
	case d == 0:
		return "–"
	case s < 0.0995:
		return fmt.Sprintf("%.3f", s)
	case s < 9.95:
		return fmt.Sprintf("%.2f", s)
	default:
		return fmt.Sprintf("%.1f", s)
	}
}

func p50p99(d []time.Duration) string {
	return secs(quantile(d, 0.5)) + " / " + secs(quantile(d, 0.99))
}

// outcome counts how the bodies arrived.
type outcome struct{ whole, cut, wrong, refused int }

func tally(rs []result) outcome {
	var o outcome
	for _, r := range rs {
		switch {
		case r.ok:
			o.whole++
		case r.wrong:
			o.wrong++
		case r.status != 0 && r.status/100 != 2:
			o.refused++
		default:
			o.cut++
		}
	}
	return o
}

// whole says "40" or which of them were not.
func (o outcome) String() string {
	parts := []string{fmt.Sprintf("%d", o.whole)}
	for _, x := range []struct {
		n    int
		name string
	}{{o.cut, "cut short"}, {o.refused, "refused"}, {o.wrong, "**WRONG**"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.name))
		}
	}
	return strings.Join(parts, ", ")
}

func ratio(n, of int64) string { return fmt.Sprintf("%.3f", float64(n)/float64(of)) }

func mib(n int64) string { return fmt.Sprintf("%.0f", float64(n)/float64(miB)) }
