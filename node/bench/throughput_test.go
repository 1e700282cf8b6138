//go:build bench

package bench

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// workload is one kind of hit.
type workload struct {
	name     string
	count    int
	size     int64
	rangeLen int64
	byCount  bool // small bodies: requests count, not bytes
}

func workloads() []workload {
	return []workload{
		{name: "1 KiB, 1000 objects", count: 1000, size: kiB, byCount: true},
		{name: "64 KiB, 64 objects", count: 64, size: 64 * kiB},
		{name: "1 MiB, 64 objects", count: 64, size: miB},
		{name: "256 MiB, whole", count: 1, size: 256 * miB},
		{name: "256 MiB, random 1 MiB ranges", count: 1, size: 256 * miB, rangeLen: miB},
	}
}

// sample is one peer's measure in one round.
type sample struct {
	rate float64 // requests or GB per second
	eff  float64 // requests or GB per CPU second of the server
}

// benchThroughput measures hits, all peers in turn in every round, so that
// a slow moment of the machine hits all of them.
func (b *bench) benchThroughput(t *testing.T, out *table) {
	if runtime.NumCPU() < 2 {
		b.report.note(out, "Not measured: it takes a processor for the server and one for the client.")
		return
	}
	stages := make([]*stage, len(b.peers))
	for i, p := range b.peers {
		stages[i] = b.stage(t, p, stageOptions{direct: true, cpu: 1})
	}
	for _, w := range workloads() {
		paths := make([][]string, len(stages))
		for i, s := range stages {
			paths[i] = b.prepare(t, s, w)
		}
		samples := make([][]sample, len(stages))
		broken := make([]int64, len(stages))
		for range b.scale.rounds {
			for i, s := range stages {
				one, bad, err := b.round(s, w, paths[i])
				if err != nil {
					t.Errorf("%s, %s: %v", s.peer.name, w.name, err)
				}
				samples[i], broken[i] = append(samples[i], one), broken[i]+bad
			}
		}
		for i, s := range stages {
			b.throughputRow(out, w, s.peer, samples[i], samples[0], broken[i])
			b.verify(t, s, paths[i])
		}
	}
}

// prepare puts the workload's objects into the cache, comparing every byte, twice.
func (b *bench) prepare(t *testing.T, s *stage, w workload) []string {
	paths := make([]string, w.count)
	for i := range paths {
		paths[i] = s.origin.add(fmt.Sprintf("%d-%d-%d", w.size, w.rangeLen, i), w.size, "max-age=86400").path
	}
	b.verify(t, s, paths)
	b.verify(t, s, paths)
	return paths
}

// verify fetches every path with eight devices and compares every byte.
func (b *bench) verify(t *testing.T, s *stage, paths []string) {
	class(8, 0, func(i int) result {
		c := newClient()
		defer c.CloseIdleConnections()
		for j := i; j < len(paths); j += 8 {
			s.origin.mu.RLock()
			obj := s.origin.objects[paths[j]]
			s.origin.mu.RUnlock()
			ctx, cancel := patience(t.Context(), time.Second)
			if r := get(ctx, c, s.base, obj, 0, -1, 0); !r.ok {
				t.Errorf("%s: %s: status %d, %d bytes: %v", s.peer.name, obj.path, r.status, r.n, r.err)
			}
			cancel()
		}
		return result{}
	})
}

func (b *bench) round(s *stage, w workload, paths []string) (sample, int64, error) {
	var cpu float64
	done, err := load(loadWork{Addr: s.set.listen, Conns: clients, Warm: 150 * time.Millisecond, Time: b.scale.round,
		Paths: paths, RangeOf: w.size, RangeLen: w.rangeLen}, 1, func() { cpu = s.cpuSeconds() })
	used := s.cpuSeconds() - cpu
	amount := float64(done.Bytes) / 1e9
	if w.byCount {
		amount = float64(done.Requests)
	}
	if err != nil || done.Time == 0 || used == 0 {
		return sample{}, done.Broken, err
	}
	return sample{rate: amount / done.Time.Seconds(), eff: amount / used}, done.Broken, nil
}

// throughputRow prints a peer's median and the box's ratios to it, round by round.
func (b *bench) throughputRow(out *table, w workload, p peer, own, ours []sample, broken int64) {
	rate := spread(own, func(s sample) float64 { return s.rate })[1]
	eff := spread(own, func(s sample) float64 { return s.eff })[1]
	cells := []string{w.name, p.name}
	if w.byCount {
		cells = append(cells, fmt.Sprintf("%.0f /s", rate), fmt.Sprintf("%.1f µs/request", safeInverse(eff)*1e6))
	} else {
		cells = append(cells, fmt.Sprintf("%.2f GB/s", rate), fmt.Sprintf("%.3f s/GB", safeInverse(eff)))
	}
	if !b.peers[0].ours || p.ours {
		cells = append(cells, "–", "–")
	} else {
		cells = append(cells, b.ratios(own, ours, func(s sample) float64 { return s.eff }), b.ratios(own, ours, func(s sample) float64 { return s.rate }))
	}
	out.row(append(cells, fmt.Sprint(broken))...)
}

func (b *bench) ratios(own, ours []sample, f func(sample) float64) string {
	var rs []sample
	for i := range own {
		if d := f(own[i]); d > 0 {
			rs = append(rs, sample{rate: f(ours[i]) / d})
		}
	}
	s := spread(rs, func(s sample) float64 { return s.rate })
	var parts []string
	for _, x := range s {
		parts = append(parts, fmt.Sprintf("%.2f", x))
	}
	return strings.Join(parts, " / ")
}

// spread is minimum, median and maximum.
func spread(s []sample, f func(sample) float64) [3]float64 {
	if len(s) == 0 {
		return [3]float64{}
	}
	v := make([]float64, len(s))
	for i := range s {
		v[i] = f(s[i])
	}
	slices.Sort(v)
	return [3]float64{v[0], v[len(v)/2], v[len(v)-1]}
}

func safeInverse(x float64) float64 {
	if x == 0 {
		return 0
	}
	return 1 / x
}
