package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if step := os.Getenv(stepEnv); step != "" {
			relabelChild(dir, step)
		}
		if keep := os.Getenv(pressEnv); keep != "" {
			pressChild(dir, keep)
		}
		childMain(dir)
		return
	}
	if spec := os.Getenv(closingEnv); spec != "" {
		if err := closingMain(spec); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

func testConfig(dir string) Config {
	cfg := DefaultConfig()
	cfg.Dir = dir
	cfg.BudgetBytes = 128 * mib
	cfg.ScrubBytesPerSecond = 0
	return cfg
}

func mustOpen(tb testing.TB, cfg Config, k *shelf) *Store {
	tb.Helper()
	return mustOpenSpace(tb, cfg, k, diskSpace)
}

func mustOpenSpace(tb testing.TB, cfg Config, k *shelf, space func(string) (int64, int64, error)) *Store {
	tb.Helper()
	s, err := open(cfg, k, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), space)
	if err != nil {
		tb.Fatal(err)
	}
	k.mu.Lock()
	k.store = s
	k.mu.Unlock()
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

// run starts Run and returns what stops it.
func run(tb testing.TB, s *Store) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run: %v", err)
		}
	})
	tb.Cleanup(stop)
	return stop
}

func mustPut(tb testing.TB, s *Store, r block.Ring, p []byte) (block.Digest, block.Segment) {
	tb.Helper()
	d := block.Sum(p)
	seg, err := s.Put(tb.Context(), r, d, p)
	if err != nil {
		tb.Fatal(err)
	}
	return d, seg
}

func TestConformance(t *testing.T) {
	t.Run("with Run", func(t *testing.T) {
		if testing.Short() {
			t.Skip("there are others that use Run")
		}
		blocktest.Run(t, func(t *testing.T) block.Store {
			t.Helper()
			s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
			run(t, s)
			return s
		})
	})
	t.Run("without Run", func(t *testing.T) {
		if testing.Short() {
			t.Skip("much the same as sealed")
		}
		blocktest.Run(t, func(t *testing.T) block.Store {
			t.Helper()
			return mustOpen(t, testConfig(t.TempDir()), &shelf{})
		})
	})
	t.Run("sealed", func(t *testing.T) {
		blocktest.Run(t, func(t *testing.T) block.Store {
			t.Helper()
			return sealing{mustOpen(t, testConfig(t.TempDir()), &shelf{})}
		})
	})
}

// sealing seals after every few writes, so that the suite meets sealed
// segments.
type sealing struct{ *Store }

func (s sealing) Open(d block.Digest) (block.Block, error) {
	s.sealNow()
	return s.Store.Open(d)
}

// sealNow seals every segment that is being written.
func (s *Store) sealNow() {
	for _, r := range s.rings {
		r.mu.Lock()
		r.fillUp()
		r.mu.Unlock()
	}
	s.sealFull()
}

func TestConfig(t *testing.T) {
	good := testConfig("x")
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	tests := map[string]func(*Config){
		"no dir":           func(c *Config) { c.Dir = "" },
		"no rings":         func(c *Config) { c.Rings = nil },
		"ring with slash":  func(c *Config) { c.Rings[0].Name = "a/b" },
		"two alike":        func(c *Config) { c.Rings[0].Name = c.Rings[1].Name },
		"tiny budget":      func(c *Config) { c.BudgetBytes = mib },
		"negative reserve": func(c *Config) { c.ReserveBytes = -1 },
		"odd segment":      func(c *Config) { c.SegmentBytes = 3*mib + 1 },
		"negative scrub":   func(c *Config) { c.ScrubBytesPerSecond = -1 },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := testConfig("x")
			spoil(&c)
			if err := c.Validate(); err == nil {
				t.Error("no error")
			}
		})
	}
}

// TestLayout fails if Badger lays out its value log otherwise than vlog.go
// takes it to: then blocks could be neither found nor recovered.
func TestLayout(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	want := make(map[block.Digest][]byte)
	for i, n := range []int{0, 1, 23, 24, 127, 128, 16383, 16384, block.Size} {
		p := blocktest.Bytes(uint64(i), n)
		d, _ := mustPut(t, s, 0, p)
		want[d] = p
	}
	g := s.rings[0].active
	n := 0
	_, err := scan(g.vlog, make([]byte, scanBuffer), vlogHeader, g.w.size, func(e entry) error {
		d, ok := digestOf(e.key)
		if !ok {
			return nil
		}
		n++
		if e.start+int64(headerLen(e.len)+blockKeyLen+versionLen) != e.value {
			t.Errorf("value of %d bytes: headerLen is wrong", e.len)
		}
		whole := make([]byte, e.end()-e.start)
		if _, err := g.vlog.ReadAt(whole, e.start); err != nil {
			t.Error(err)
		}
		if !checkEntry(whole) {
			t.Errorf("value of %d bytes: checksum is wrong", e.len)
		}
		if got := whole[e.value-e.start:][:e.len]; string(got) != string(want[d]) {
			t.Errorf("value of %d bytes: other bytes", e.len)
		}
		return nil
	})
	if err != nil || n != len(want) {
		t.Errorf("found %d of %d blocks, %v", n, len(want), err)
	}
}

func TestReopen(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := mustOpen(t, cfg, &shelf{})
	var want [][]byte
	for i := range 40 {
		want = append(want, blocktest.Bytes(uint64(i), 1000+i*9001))
		mustPut(t, s, block.Ring(i%3), want[i])
	}
	dropped := block.Sum(want[7])
	s.Drop(dropped)
	segs := s.Segments()
	newest := segs[len(segs)-1]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), 0, block.Sum([]byte("x")), []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}

	s = mustOpen(t, cfg, &shelf{})
	for i, p := range want {
		if i == 7 {
			if _, ok := s.Has(dropped); ok {
				t.Error("a dropped block is back")
			}
			continue
		}
		blocktest.Check(t, s, block.Sum(p), p)
	}
	s.Drop(block.Sum(want[8])) // of a sealed segment
	if _, seg := mustPut(t, s, 0, []byte("new")); seg <= newest {
		t.Errorf("segment %d after %d", seg, newest)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg, &shelf{})
	if _, ok := s.Has(block.Sum(want[8])); ok {
		t.Error("a block dropped from a sealed segment is back")
	}
}

func TestOneProcessOnly(t *testing.T) {
	cfg := testConfig(t.TempDir())
	mustOpen(t, cfg, &shelf{})
	if _, err := New(cfg, &shelf{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Error("the same folder was opened twice")
	}
}

func TestDedupe(t *testing.T) {
	s := mustOpen(t, testConfig(t.TempDir()), &shelf{})
	p := blocktest.Bytes(1, 500_000)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { mustPut(t, s, 0, p) })
	}
	wg.Wait()
	if n := s.rings[0].active.w.n; n != 1 {
		t.Errorf("%d entries were written for one block", n)
	}
	s.sealNow()
	_, first := mustPut(t, s, 1, p)
	if first != s.Segments()[0] || len(s.Segments()) != 1 {
		t.Errorf("written again: segment %d of %v", first, s.Segments())
	}
}

func TestNumbersAreNotUsedTwice(t *testing.T) {
	cfg := testConfig(t.TempDir())
	k := &shelf{}
	seen := make(map[block.Segment]bool)
	for i := range 5 {
		s := mustOpen(t, cfg, k)
		_, seg := mustPut(t, s, 0, []byte{byte(i)})
		if seen[seg] {
			t.Errorf("segment %d twice", seg)
		}
		seen[seg] = true
		s.sealNow()
		if _, err := s.retire(t.Context(), s.all()[0]); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if err := os.Remove(filepath.Join(cfg.Dir, nextName)); err != nil {
				t.Fatal(err)
			}
		}
		if i == 3 {
			if err := os.WriteFile(filepath.Join(cfg.Dir, nextName), []byte("rubbish!"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if i == 2 { // with no segment and no file the store is a new one
			seen = make(map[block.Segment]bool)
		}
	}
}

func TestRecords(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := mustOpen(t, cfg, &shelf{})
	want := []string{"a=1", "b=2", "a=3", "c="}
	check := func(s *Store) {
		t.Helper()
		var got []string
		err := s.Records(t.Context(), func(seg block.Segment, key, value []byte) error {
			if seg == 0 {
				t.Error("record of segment 0")
			}
			got = append(got, string(key)+"="+string(value))
			return nil
		})
		if err != nil || !equal(got, want) {
			t.Errorf("records = %q, %v; want %q", got, err, want)
		}
	}
	for _, r := range want {
		if _, err := s.PutRecord(t.Context(), 1, []byte(r[:1]), []byte(r[2:])); err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, 1, []byte("between "+r))
	}
	check(s)
	s.sealNow()
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg, &shelf{})
	check(s)
	if _, err := s.PutRecord(t.Context(), 1, make([]byte, maxRecordKey+1), nil); err == nil {
		t.Error("a key that is too long was taken")
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestRestartsLeaveFewSegments(t *testing.T) {
	cfg := testConfig(t.TempDir())
	var want [][]byte
	for i := range 12 {
		k := &shelf{}
		s := mustOpen(t, cfg, k)
		stop := run(t, s)
		p := blocktest.Bytes(uint64(i), 3000)
		want = append(want, p)
		mustPut(t, s, 0, p)
		if _, err := s.PutRecord(t.Context(), 0, []byte{byte(i)}, []byte("r")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); len(s.Segments()) > mergeFrom+2 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond) //nolint:forbidigo // Run works on a real disk, so no bubble
		}
		stop()
		if n := len(s.Segments()); n > mergeFrom+2 {
			t.Fatalf("%d segments after %d restarts", n, i)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, cfg, &shelf{})
	for _, p := range want {
		blocktest.Check(t, s, block.Sum(p), p)
	}
	n := 0
	if err := s.Records(t.Context(), func(block.Segment, []byte, []byte) error { n++; return nil }); err != nil || n != len(want) {
		t.Errorf("%d records of %d, %v", n, len(want), err)
	}
}

func openRW(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR, 0) }
