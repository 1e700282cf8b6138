package badgermeta

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"preau/cache/object"
)

// childEnv tells a process that a benchmark has started what to do.
const childEnv = "PREAU_BADGERMETA_RECORDS"

// boxHeap is the soft bound that a box sets on its memory.
const boxHeap = 112 << 20

// BenchmarkMemory writes many records as a box's copy of its region's
// catalogue is written, in a process of its own, and tells the most memory
// that process had for itself (RssAnon: tables that are mapped don't count)
// and the CPU time that it took.
func BenchmarkMemory(b *testing.B) {
	for _, order := range []string{"sorted", "shuffled"} {
		for _, n := range []int{50_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", order, n), func(b *testing.B) {
				for b.Loop() {
					use := fillInChild(b, order, n)
					b.ReportMetric(use.peakMB, "peak-MB")
					b.ReportMetric(use.restMB, "rest-MB")
					b.ReportMetric(use.cpu.Seconds(), "cpu-s/op")
					b.ReportMetric(use.diskMB, "disk-MB")
				}
			})
		}
	}
}

// usage is what a child says of itself.
type usage struct {
	peakMB, restMB, diskMB float64
	cpu                    time.Duration
}

func fillInChild(tb testing.TB, order string, n int) (u usage) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), os.Args[0], "-test.run=^TestFillChild$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", childEnv, order, n, tb.TempDir()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, told, ok := strings.Cut(line, "used "); ok {
			if n, err := fmt.Sscanf(told, "%f %f %f %d", &u.peakMB, &u.restMB, &u.diskMB, &u.cpu); err != nil || n != 4 {
				tb.Fatalf("%q: %v", told, err)
			}
			return u
		}
	}
	tb.Fatalf("nothing told:\n%s", out)
	return u
}

// TestFillChild is the process that fillInChild starts.
func TestFillChild(t *testing.T) {
	spec := os.Getenv(childEnv)
	if spec == "" {
		t.Skip("run by others")
	}
	var order, dir string
	var n int
	if _, err := fmt.Sscanf(spec, "%s %d %s", &order, &n, &dir); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(boxHeap)
	}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	peak := 0.0
	all.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			peak = max(peak, rssAnon(t))
			<-tick.C
		}
	})
	s := mustOpen(t, dir)
	all.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const step = 500
	for from := 0; from < n; from += step {
		batch := make([]object.Change, 0, step)
		for i := from; i < min(from+step, n); i++ {
			batch = append(batch, object.Change{Key: recordKey(order, i), Value: record(i)})
		}
		if err := s.Write(batch); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(3 * time.Second) // what is compacted because of it
	rest := rssAnon(t)
	stop()
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("used %.1f %.1f %.1f %d\n", peak, rest, float64(DiskUsage(dir))/1e6, use.Utime.Nano()+use.Stime.Nano())
}

// recordKey is the key of record i; shuffled keys come in no order.
func recordKey(order string, i int) []byte {
	if order == "shuffled" {
		return binary.BigEndian.AppendUint64([]byte("e/"), uint64(i)*0x9e3779b97f4a7c15)
	}
	return binary.BigEndian.AppendUint64([]byte("e/"), uint64(i))
}

// record is 300 bytes as digests in text make them: they hardly shrink.
func record(i int) []byte { return hex.AppendEncode(nil, noise(150, i)) }

// rssAnon is this process's own memory, in MB.
func rssAnon(t *testing.T) float64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Error(err)
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Error(err)
			}
			return float64(kb) * 1024 / 1e6
		}
	}
	return 0
}
