package sim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"preau/cache/evict/sim"
)

// of makes a trace of one-byte objects named by letters.
func of(names string) sim.Trace {
	var b sim.Builder[rune]
	for _, name := range names {
		b.Add(name, 1)
	}
	return b.Trace()
}

func named(tb testing.TB, name string) sim.Policy {
	tb.Helper()
	all := sim.Policies()
	i := slices.IndexFunc(all, func(p sim.Policy) bool { return p.Name == name })
	if i < 0 {
		tb.Fatalf("no policy %q", name)
	}
	return all[i]
}

func TestReferencesOnTracesDoneByHand(t *testing.T) {
	tests := []struct {
		policy, trace string
		capacity      int64
		hits          int64
	}{
		{"FIFO", "abacab", 2, 1},      // a b A c|a: a was oldest -> a again, b again
		{"LRU", "abacab", 2, 2},       // a b A c(-b) A b
		{"LRU", "abcabcabc", 2, 0},    // a loop longer than the cache
		{"LRU", "abcabcabc", 3, 6},    //
		{"FIFO", "abcabcabc", 3, 6},   //
		{"SIEVE", "abacada", 2, 3},    // the hand spares a each time
		{"SIEVE", "abcabcabc", 2, 0},  // nothing was ever visited
		{"Belady", "abcabcabc", 2, 4}, // a and b stay, c is kept out
		{"Belady", "abacab", 2, 3},    // c is kept out
		{"bound", "abcabc", 3, 3},
		{"bound", "abcdef", 3, 0},
		{"S3-FIFO", "aaabcdeaaa", 3, 5}, // a is promoted; the once-seen pass it by
		{"LRU", "aaabcdeaaa", 3, 4},
	}
	for _, tt := range tests {
		o, err := named(t, tt.policy).Replay(of(tt.trace), tt.capacity)
		if err != nil {
			t.Fatal(err)
		}
		if o.Hits != tt.hits || o.HitBytes != tt.hits {
			t.Errorf("%s, %d of %s: %d hits, %d bytes, want %d", tt.policy, tt.capacity, tt.trace, o.Hits, o.HitBytes, tt.hits)
		}
	}
}

// With objects of one size nothing beats knowing the future, and the bound is
// above that.
func TestNothingBeatsBeladyAtOneSize(t *testing.T) {
	const size = 1 << 20
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var b sim.Builder[int]
		for range 400 {
			b.Add(int(60*math.Pow(rnd.Float64(), 2)), size)
		}
		tr := b.Trace()
		capacity := size * rapid.Int64Range(2, 50).Draw(t, "capacity")
		hits := make(map[string]int64)
		for _, p := range sim.Policies() {
			o, err := p.Replay(tr, capacity)
			if err != nil {
				t.Fatal(err)
			}
			hits[p.Name] = o.Hits
			if o.HitBytes < size*o.Hits || o.HitBytes > size*(o.Hits+1) { // the bound may have a part of one
				t.Fatalf("%s: %d hits but %d bytes", p.Name, o.Hits, o.HitBytes)
			}
		}
		for name, n := range hits {
			if name != "bound" && n > hits["Belady"] {
				t.Fatalf("%s has %d hits, Belady %d", name, n, hits["Belady"])
			}
		}
		if hits["Belady"] > hits["bound"] {
			t.Fatalf("Belady has %d hits, the bound is %d", hits["Belady"], hits["bound"])
		}
	})
}

func TestACacheForEverythingMissesOnlyFirstRequests(t *testing.T) {
	tr := sim.Synthetic(3, 5000)
	policies := slices.DeleteFunc(sim.Policies(), func(p sim.Policy) bool { return p.Name == sim.Preau })
	results, err := sim.Run(tr, []float64{1}, policies)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if want := int64(len(tr.Requests) - len(tr.Sizes)); r.Hits != want {
			t.Errorf("%s: %d hits, want %d", r.Policy, r.Hits, want)
		}
		if want := r.Bytes - tr.Footprint; math.Abs(float64(r.HitBytes-want)) > 1e-9*float64(want) {
			t.Errorf("%s: %d bytes hit, want %d", r.Policy, r.HitBytes, want)
		}
	}
}

func TestRead(t *testing.T) {
	var want sim.Builder[string]
	for _, r := range []struct {
		name string
		size int64
	}{{"a", 3000}, {"b", 1}, {"a", 3000}, {"a", 3000}} {
		want.Add(r.name, r.size)
	}
	got, err := sim.Read(strings.NewReader("# time object size\n1,a,3\n\n2 b 0 more\r\n3\ta\t3\n4, a, 9\n"), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Trace(), got); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestReadNamesTheLine(t *testing.T) {
	for in, want := range map[string]string{
		"1 a":                     "line 1: 2 columns",
		"1 a 2\n2 b x":            "line 2: size",
		"1 a -2":                  "line 1: size -2 is out of range",
		"1 a 9000000000000000000": "line 1: size 9000000000000000000 is out of range",
	} {
		if _, err := sim.Read(strings.NewReader(in), 1000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Read(%q): %v, want %q", in, err, want)
		}
	}
	if _, err := sim.Read(strings.NewReader("1 a 2"), 0); err == nil {
		t.Error("a unit of 0 was accepted")
	}
	if _, err := sim.Read(iotest.ErrReader(iotest.ErrTimeout), 1); err == nil {
		t.Error("a broken reader was accepted")
	}
}

func TestSyntheticIsTheSameForOneSeed(t *testing.T) {
	a, b, c := sim.Synthetic(7, 3000), sim.Synthetic(7, 3000), sim.Synthetic(8, 3000)
	if !cmp.Equal(a, b) {
		t.Error("one seed made two traces")
	}
	if cmp.Equal(a, c) {
		t.Error("two seeds made one trace")
	}
	var bytes int64
	for _, s := range a.Sizes {
		bytes += s
	}
	if bytes != a.Footprint || len(a.Requests) < 3000 || len(a.Requests) > 3600 {
		t.Errorf("%d requests, footprint %d of %d", len(a.Requests), a.Footprint, bytes)
	}
}

func TestTooSmallACacheIsAnError(t *testing.T) {
	if _, err := sim.Run(of("abc"), []float64{0.5}, sim.Policies()); err == nil {
		t.Error("our policy ran with a budget of one byte")
	}
}

func ExampleTable() {
	fmt.Print(sim.Table([]sim.Result{
		{Policy: "LRU", Fraction: 0.1, Capacity: 5e6, Requests: 4, Bytes: 400, Outcome: sim.Outcome{Hits: 1, HitBytes: 200}},
		{Policy: "ours", Fraction: 0.1, Capacity: 5e6, Requests: 4, Bytes: 400, Outcome: sim.Outcome{Hits: 2, HitBytes: 300, Carried: 50}},
		{Policy: "ours", Fraction: 0.5, Capacity: 25e9, Requests: 4, Bytes: 400, Outcome: sim.Outcome{Hits: 3, HitBytes: 300}},
	}))
	// Output:
	// requests/bytes  10 % = 5 MB        50 % = 25 GB
	// LRU             0.250/0.500        -
	// ours            0.500/0.750 x1.50  0.750/0.750
}
