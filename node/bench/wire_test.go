//go:build bench

package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"preau/replication/wire/wiretest"
)

// What the way between nodes must reach, on a line of 20 Mbit/s and 40 ms.
const (
	wireLine    = 20_000_000
	wireDelay   = 20 * time.Millisecond // one way
	wireQueue   = 128                   // packets
	wireBlock   = 1 << 20
	wireCallers = 16
	wantBlocked = 600 * time.Millisecond
	wantResumed = 2 * time.Second
	wantTwice   = 8 << 20
	wireCutLine = 100_000_000
	wireCutAway = 30 * time.Second
)

// TestWireEnd is one end of a path, in a process of its own; see wiretest.Child.
func TestWireEnd(t *testing.T) {
	if !wiretest.Child() {
		t.Skip("this is the benchmark itself")
	}
}

var wireEnd = []string{"-test.run", "^TestWireEnd$"} // a value, never changed

// wireScenarios are the sections about how region and box reach one another over
// a line that is lossy, cut, or closed for UDP.
func (b *bench) wireScenarios() []scenario {
	head := []string{"", "measured", "target", ""}
	return []scenario{
		{
			key: "wire-goodput", title: "Blocks over a line of 20 Mbit/s, 40 ms, with random loss",
			notes: []string{"Blocks of 1 MiB from a server to a client, 16 asked for at once; two processes, a network namespace each, and the line between them in user space. " +
				"Each direction sends 20 Mbit/s of IP packets; loss is towards the client, and takes its time on the line. " +
				"The rate is that of the bodies of blocks that came whole, from the first dial to the last byte; a line filled with TCP segments of 1448 bytes in packets of 1500 carries 19.3 Mbit/s of payload. " +
				fmt.Sprintf("The first row is %d MiB and the program's own choice; the others are 10 MiB, or 24 over more than two, over connections that were fixed.", b.scale.wireBlocks)},
			head: []string{"", "no loss", "1 %", "3 %", ""}, alone: true, all: b.benchWireGoodput,
		},
		{
			key: "wire-blocked", title: "The first byte where UDP is blocked",
			notes: []string{"The same line without loss. A fresh client each; the time is from the request to the whole of an answer of one byte, with all dialling."},
			head:  head, alone: true, all: benchWireBlocked,
		},
		{
			key: "wire-cut", title: "A line that is away for 30 s",
			notes: []string{fmt.Sprintf("%d blocks of 1 MiB over 100 Mbit/s and 40 ms; the line is cut after 15 s, and everything on it is lost. "+
				"Twice counts what the server handed over beyond what was asked for.", b.scale.wireCut)},
			head: head, alone: true, all: b.benchWireCut,
		},
		{
			key: "wire-cpu", title: "What a gigabyte costs",
			notes: []string{"Loopback, 256 blocks of 1 MiB, CPU seconds for 10⁹ bytes."},
			head:  []string{"", "client", "server", "Gbit/s"}, alone: true, all: benchWireCPU,
		},
	}
}

// wireStage is a server behind a line, until the test is over.
func wireStage(t *testing.T, up, down wiretest.Line, server wiretest.Job) (*wiretest.Path, *wiretest.Stage) {
	t.Helper()
	p, err := wiretest.Open(up, down)
	if err != nil {
		t.Skipf("no path can be made: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, wireServer(t, p, server)
}

func wireServer(t *testing.T, p *wiretest.Path, server wiretest.Job) *wiretest.Stage {
	t.Helper()
	// A test's own context ends before its cleanups.
	s, err := wiretest.NewStage(context.WithoutCancel(t.Context()), p, server, wireEnd...)
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

func mbits(r wiretest.Result) float64 {
	return float64(r.Bytes) * 8 / r.Ended.Sub(r.Began).Seconds() / 1e6
}

func (b *bench) benchWireGoodput(t *testing.T, out *table) {
	kinds := []struct {
		name       string
		tcp, quic  int
		congestion string
	}{
		{"chosen by the program", 0, 0, "bbr"},
		{"TCP with BBR, 1", 1, 0, "bbr"},
		{"TCP with BBR, 2", 2, 0, "bbr"},
		{"TCP with cubic, 1", 1, 0, "cubic"},
		{"TCP with cubic, 6", 6, 0, "cubic"},
		{"QUIC, 1", 0, 1, "bbr"},
		{"QUIC, 4", 0, 4, "bbr"},
		{"QUIC, 8", 0, 8, "bbr"},
		{"chosen, server without BBR", 0, 0, "cubic"},
	}
	if b.scale.name == quickScale.name {
		kinds = kinds[:1]
	}
	losses := []float64{0, 0.01, 0.03}
	wants := []float64{0.95, 0.85, 0.75} // of the line
	cells := make([][]string, len(kinds))
	good := true
	for l, loss := range losses {
		up := wiretest.Line{Rate: wireLine, Delay: wireDelay, Queue: wireQueue}
		down := up
		down.Loss = loss
		for i, k := range kinds {
			t.Run(fmt.Sprintf("%s, loss %v", k.name, loss), func(t *testing.T) {
				_, s := wireStage(t, up, down, wiretest.Job{Congestion: k.congestion})
				count := 10
				if k.tcp+k.quic > 2 {
					count = 24
				}
				if k.tcp+k.quic == 0 {
					count = b.scale.wireBlocks
				}
				r, err := s.Client(t.Context(), wiretest.Job{Count: count, Size: wireBlock, Callers: wireCallers, TCP: k.tcp, QUIC: k.quic})
				if err != nil {
					t.Fatal(err)
				}
				rate := mbits(r)
				text := fmt.Sprintf("%.1f Mbit/s", rate)
				if i == 0 {
					payload := float64(wireLine) / 1e6 * 1448 / 1500
					text += fmt.Sprintf(", %.0f %% of the line's payload (target %.0f %%)", 100*rate/payload, 100*wants[l])
					good = good && rate >= wants[l]*payload
					text += "; " + r.Modes[len(r.Modes)-1]
				}
				cells[i] = append(cells[i], text)
			})
		}
	}
	for i, k := range kinds {
		verdict := ""
		if i == 0 {
			verdict = metOrMissed(good)
		}
		if len(cells[i]) == len(losses) {
			out.row(append(append([]string{k.name}, cells[i]...), verdict)...)
		}
	}
}

func benchWireBlocked(t *testing.T, out *table) {
	line := wiretest.Line{Rate: wireLine, Delay: wireDelay, Queue: wireQueue}
	p, s := wireStage(t, line, line, wiretest.Job{Congestion: "bbr"})
	v := verdicts{t, out}
	const rounds = 10
	var open, blocked, later []time.Duration
	for range rounds {
		for _, block := range []bool{false, true} {
			p.BlockUDP(block)
			r, err := s.Client(t.Context(), wiretest.Job{First: 2})
			if err != nil {
				t.Fatal(err)
			}
			if block {
				blocked, later = append(blocked, r.First[0]), append(later, r.First[1])
			} else {
				open = append(open, r.First[0])
			}
		}
	}
	v.fact("nothing blocked, worst of 10", ms(slices.Max(open)))
	v.row("UDP blocked, worst of 10", ms(slices.Max(blocked)), ms(wantBlocked), slices.Max(blocked) <= wantBlocked)
	v.fact("UDP blocked, the same client's next connection, worst of 10", ms(slices.Max(later)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func (b *bench) benchWireCut(t *testing.T, out *table) {
	line := wiretest.Line{Rate: wireCutLine, Delay: wireDelay, Queue: 4 * wireQueue}
	p, s := wireStage(t, line, line, wiretest.Job{Congestion: "bbr"})
	v := verdicts{t, out}
	c, err := wiretest.Cut(t.Context(), s, p, wiretest.Job{Count: b.scale.wireCut, Size: wireBlock, Callers: wireCallers}, 15*time.Second, wireCutAway)
	if err != nil {
		t.Fatal(err)
	}
	v.row("first byte after the line's return", ms(c.Resumed), ms(wantResumed), c.Resumed <= wantResumed)
	v.row("handed over twice", fmt.Sprintf("%.1f MiB", float64(c.Twice)/(1<<20)), "8 MiB", c.Twice <= wantTwice)
	v.fact("answers that broke off", fmt.Sprintf("%d, %.1f MiB of them had come", c.Failed, float64(c.Vain)/(1<<20)))
	v.fact("all of it", fmt.Sprintf("%.0f s", c.Took.Seconds()))
}

func benchWireCPU(t *testing.T, out *table) {
	for _, k := range []struct {
		name      string
		tcp, quic int
	}{{"TCP, 1", 1, 0}, {"TCP, 2", 2, 0}, {"QUIC, 1", 0, 1}, {"QUIC, 6", 0, 6}, {"chosen by the program", 0, 0}} {
		s := wireServer(t, nil, wiretest.Job{Congestion: "bbr"})
		_, before, err := s.Served()
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Client(t.Context(), wiretest.Job{Count: 256, Size: wireBlock, Callers: wireCallers, TCP: k.tcp, QUIC: k.quic})
		if err != nil {
			t.Fatal(err)
		}
		_, after, err := s.Served()
		if err != nil {
			t.Fatal(err)
		}
		per := func(d time.Duration) string { return fmt.Sprintf("%.1f s/GB", d.Seconds()/(float64(r.Bytes)/1e9)) }
		out.row(k.name, per(r.CPU), per(after-before), fmt.Sprintf("%.2f", mbits(r)/1e3))
	}
}
