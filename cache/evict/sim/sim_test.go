package sim_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"preau/cache/evict"
	"preau/cache/evict/sim"
)

var (
	traceFile = flag.String("requests", "", "file of requests to replay, - for standard input (default: a synthetic one)")
	synthetic = flag.Int("synthetic", 40_000, "requests of the synthetic trace")
	traceUnit = flag.Int64("unit", 1, "bytes to a unit of the trace's sizes")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trace returns the one asked for on the command line. A synthetic one has at
// most short requests if the tests are to be short.
func trace(tb testing.TB, short int) sim.Trace {
	tb.Helper()
	if *traceFile == "" {
		n := *synthetic
		if testing.Short() {
			n = min(n, short)
		}
		return sim.Synthetic(1, n)
	}
	var in io.Reader = os.Stdin
	if *traceFile != "-" {
		f, err := os.Open(*traceFile)
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		in = f
	}
	t, err := sim.Read(in, *traceUnit)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// TestSimulate prints the table for a trace:
//
//	go test -run TestSimulate -v ./cache/evict/sim -requests FILE -unit 1000
func TestSimulate(t *testing.T) {
	tr := trace(t, 15_000)
	results, err := sim.Run(tr, sim.Sizes(), sim.Policies())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests for %d objects, footprint %.1f MB\n%s",
		len(tr.Requests), len(tr.Sizes), float64(tr.Footprint)/1e6, sim.Table(results))

	by := make(map[string]sim.Result)
	key := func(policy string, fraction float64) string { return fmt.Sprint(policy, fraction) }
	for _, r := range results {
		by[key(r.Policy, r.Fraction)] = r
	}
	for _, r := range results {
		limit := by[key("bound", r.Fraction)]
		if r.Hits > limit.Hits || r.HitBytes > limit.HitBytes {
			t.Errorf("%s at %v: %d hits, %d bytes exceed the bound of %d, %d",
				r.Policy, r.Fraction, r.Hits, r.HitBytes, limit.Hits, limit.HitBytes)
		}
	}
	if *traceFile != "" {
		return // what follows is claimed of the synthetic trace
	}
	const slack = 0.004 // for segments, which the others do without
	largest := slices.Max(tr.Sizes)
	for _, f := range sim.Sizes() {
		capacity := f * float64(tr.Footprint)
		if evict.DefaultConfig(int64(capacity)).ProbationShare*capacity < float64(largest) {
			continue // what does not fit in Probation goes past it: no disk should be so small
		}
		ours := by[key(sim.Preau, f)]
		for _, other := range []string{"FIFO", "LRU", "SIEVE", "S3-FIFO", "W-TinyLFU"} {
			r := by[key(other, f)]
			if ours.ByteHitRatio() < r.ByteHitRatio()-slack {
				t.Errorf("at %v: byte hit ratio %.3f, %s has %.3f", f, ours.ByteHitRatio(), other, r.ByteHitRatio())
			}
			if ours.HitRatio() < r.HitRatio() {
				t.Errorf("at %v: hit ratio %.3f, %s has %.3f", f, ours.HitRatio(), other, r.HitRatio())
			}
		}
		if a := ours.Amplification(); a > 1.3 {
			t.Errorf("at %v: %.2f bytes written for each byte fetched, want at most 1.3", f, a)
		}
	}
}

func BenchmarkSimulate(b *testing.B) {
	tr := trace(b, *synthetic)
	for _, p := range sim.Policies() {
		b.Run(p.Name, func(b *testing.B) {
			for b.Loop() {
				results, err := sim.Run(tr, []float64{0.1}, []sim.Policy{p})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(results[0].HitRatio(), "hits/request")
				b.ReportMetric(results[0].ByteHitRatio(), "hitbytes/byte")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(tr.Requests)), "ns/request")
		})
	}
}
