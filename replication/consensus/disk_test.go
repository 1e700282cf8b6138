package consensus_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/consensus"
)

// tcp is a consensus.Transport on loopback.
type tcp struct{ net.Listener }

func (tcp) DialServer(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

func listen(tb testing.TB) tcp {
	tb.Helper()
	var c net.ListenConfig
	l, err := c.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return tcp{l}
}

// tally counts what was applied, in memory or, with a path, in a file that is
// synced for each batch.
type tally struct {
	mu          sync.Mutex
	file        *os.File
	index, term uint64
	count       uint64
}

func openTally(tb testing.TB, path string) *tally {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	m := &tally{file: f}
	var b [24]byte
	if _, err := f.ReadAt(b[:], 0); err == nil {
		m.index, m.term, m.count = binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	} else if !errors.Is(err, io.EOF) {
		tb.Fatal(err)
	}
	return m
}

func (m *tally) keep() error {
	if m.file == nil {
		return nil
	}
	var b []byte
	for _, v := range []uint64{m.index, m.term, m.count} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	_, err := m.file.WriteAt(b, 0)
	return errors.Join(err, m.file.Sync())
}

func (m *tally) Apply(batch []consensus.Entry) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]any, len(batch))
	for i, e := range batch {
		m.index, m.term = e.Index, e.Term
		m.count++
		out[i] = m.count
	}
	return out, m.keep()
}

func (m *tally) Applied() (index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index, m.term
}

func (m *tally) Count() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

type tallied uint64

func (v tallied) Close() error { return nil }
func (v tallied) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(v)))
	return int64(n), err
}

func (m *tally) Snapshot() (consensus.Snapshot, error) { return tallied(m.Count()), nil }

func (m *tally) Restore(r io.Reader, index, term uint64) error {
	b, err := io.ReadAll(r)
	if err != nil || len(b) != 8 {
		return fmt.Errorf("%d bytes: %w", len(b), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.term, m.count = index, term, binary.BigEndian.Uint64(b)
	return m.keep()
}

func diskConfig(dir, store, address string) consensus.Config {
	cfg := consensus.DefaultConfig()
	cfg.ID, cfg.ClusterID, cfg.Address = "s1", "lyon", address
	cfg.Dir, cfg.Store = filepath.Join(dir, "raft"), store
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLease = 200*time.Millisecond, 200*time.Millisecond, 100*time.Millisecond
	cfg.CommitTimeout = 20 * time.Millisecond
	return cfg
}

// single runs a region of one on a real disk until the test ends, or stop.
func single(tb testing.TB, dir, store string, change func(*consensus.Config)) (*consensus.Node, *tally, func()) {
	tb.Helper()
	l := listen(tb)
	cfg := diskConfig(dir, store, l.Addr().String())
	if change != nil {
		change(&cfg)
	}
	m := openTally(tb, filepath.Join(dir, "tally"))
	n, err := consensus.Open(cfg, m, l, quiet(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	self := []consensus.Server{{ID: cfg.ID, Address: cfg.Address, Voter: true}}
	if err := n.Bootstrap(self); err != nil && !errors.Is(err, consensus.ErrAlreadyBootstrapped) {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	tb.Cleanup(stop)
	return n, m, stop
}

// agreed applies one entry, waiting for a leader.
func agreed(tb testing.TB, n *consensus.Node, data []byte) any {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range 3000 {
		var res any
		if res, _, err = apply(n, data); err == nil {
			return res
		}
		<-tick.C
	}
	tb.Fatal(err)
	return nil
}

func TestRealDiskKeepsWhatWasAgreed(t *testing.T) {
	for _, store := range []string{consensus.StoreWAL, consensus.StoreBolt} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			for round := range 3 {
				n, m, stop := single(t, dir, store, func(cfg *consensus.Config) {
					cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 20, 50*time.Millisecond, 10
				})
				for i := range 25 {
					want := uint64(round*25 + i + 1)
					if got := agreed(t, n, []byte("x")); got != want {
						t.Fatalf("round %d: result %v, want %d", round, got, want)
					}
				}
				stop()
				if got := m.Count(); got != uint64(round+1)*25 {
					t.Errorf("round %d: applied %d", round, got)
				}
			}
		})
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	tests := map[string]struct {
		store, glob string
		harm        func([]byte) []byte
		advice      string
		// other is set for what is no damage.
		other bool
	}{
		"wal entry":     {consensus.StoreWAL, "raft/log/*/*.wal", flipAt("needle"), "join it again", false},
		"bolt entry":    {consensus.StoreBolt, "raft/log.db", flipAt("needle"), "join it again", false},
		"wal tail gone": {consensus.StoreWAL, "raft/log/*/*.wal", func(b []byte) []byte { return b[:300] }, "join it again", false},
		"wal meta":      {consensus.StoreWAL, "raft/log/*/wal-meta.db", func([]byte) []byte { return []byte("rubbish") }, "join it again", false},
		"vote":          {consensus.StoreWAL, "raft/vote.db", func([]byte) []byte { return make([]byte, 4096) }, "join it again", false},
		"snapshot":      {consensus.StoreWAL, "raft/snapshots/*/state.bin", func(b []byte) []byte { b[len(b)-10] ^= 1; return b }, "join it again", false},
		"snapshot cut":  {consensus.StoreWAL, "raft/snapshots/*/state.bin", func(b []byte) []byte { return b[:len(b)/2] }, "join it again", false},
		"snapshot meta": {consensus.StoreWAL, "raft/snapshots/*/meta.json", func([]byte) []byte { return []byte("{") }, "join it again", false},
		"note":          {consensus.StoreWAL, "raft/server.json", func([]byte) []byte { return []byte("{") }, "join it again", false},
		"note of later": {consensus.StoreWAL, "raft/server.json", func([]byte) []byte { return []byte(`{"format":2}`) }, "the program that wrote it", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "wal entry" && name != "snapshot" {
				t.Skip("two will do")
			}
			dir := t.TempDir()
			n, _, stop := single(t, dir, tt.store, func(cfg *consensus.Config) {
				if strings.HasPrefix(name, "snapshot") {
					cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 5, 20*time.Millisecond, 1
				}
			})
			for range 10 {
				agreed(t, n, []byte("hay needle hay"))
			}
			if strings.HasPrefix(name, "snapshot") {
				deadline := time.NewTimer(time.Minute)
				defer deadline.Stop()
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for n.Stats().Snapshot == 0 {
					select {
					case <-tick.C:
					case <-deadline.C:
						t.Fatal("no snapshot")
					}
				}
			}
			stop()
			files, err := filepath.Glob(filepath.Join(dir, tt.glob))
			if err != nil || len(files) == 0 {
				t.Fatalf("files %v, %v", files, err)
			}
			for _, path := range files {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, tt.harm(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := listen(t)
			defer l.Close()
			_, err = consensus.Open(diskConfig(dir, tt.store, "x"), openTally(t, filepath.Join(dir, "tally")), l, quiet(), prometheus.NewRegistry())
			if err == nil || !strings.Contains(err.Error(), tt.advice) {
				t.Errorf("open: %v, want it to say %q", err, tt.advice)
			}
			if got := errors.Is(err, consensus.ErrDamaged); got == tt.other {
				t.Errorf("open: %v: is it damage? %v", err, got)
			}
		})
	}
}

// flipAt flips a bit wherever the needle is: bolt leaves old pages about.
func flipAt(needle string) func([]byte) []byte {
	return func(b []byte) []byte {
		for i := range len(b) - len(needle) {
			if string(b[i:i+len(needle)]) == needle {
				b[i] ^= 1
			}
		}
		return b
	}
}

// TestProcess is the process that TestKill9 kills.
func TestProcess(t *testing.T) {
	dir := os.Getenv("PREAU_TEST_DIR")
	if dir == "" {
		t.Skip("only run by TestKill9KeepsWhatWasAcknowledged")
	}
	n, m, _ := single(t, dir, os.Getenv("PREAU_TEST_STORE"), func(cfg *consensus.Config) {
		cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 50, 20*time.Millisecond, 20
	})
	agreed(t, n, []byte("x"))
	fmt.Printf("start %d\n", m.Count())
	for {
		fmt.Printf("ack %d\n", agreed(t, n, []byte("x")))
	}
}

func TestKill9KeepsWhatWasAcknowledged(t *testing.T) {
	rounds := 15
	if testing.Short() {
		rounds = 1
	}
	for _, store := range []string{consensus.StoreWAL, consensus.StoreBolt} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			acked := uint64(0)
			for round := range rounds {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcess$")
				cmd.Env = append(os.Environ(), "PREAU_TEST_DIR="+dir, "PREAU_TEST_STORE="+store)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				before := acked
				for n := 0; n < 40+round*13; {
					var word string
					var v uint64
					if _, err := fmt.Fscanf(out, "%s %d\n", &word, &v); err != nil {
						t.Fatalf("round %d, after %d: %v", round, acked, err)
					}
					switch {
					case word == "start" && v <= before:
						t.Fatalf("round %d: started with %d, %d were acknowledged", round, v, before)
					case word == "ack" && v <= acked:
						t.Fatalf("round %d: %d acknowledged twice", round, v)
					case word == "ack":
						acked = v
						n++
					}
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err == nil {
					t.Fatal("it ended by itself")
				}
			}
		})
	}
}

// BenchmarkApply compares the stores: three servers in one process, on TCP and
// real files, with many callers.
func BenchmarkApply(b *testing.B) {
	for _, store := range []string{consensus.StoreWAL, consensus.StoreBolt} {
		for _, callers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("%s/%d", store, callers), func(b *testing.B) { benchmark(b, store, callers) })
		}
	}
}

func benchmark(b *testing.B, store string, callers int) {
	b.Helper()
	var nodes []*consensus.Node
	var servers []consensus.Server
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer all.Wait()
	defer cancel()
	var listeners []tcp
	for i := range 3 {
		l := listen(b)
		listeners = append(listeners, l)
		servers = append(servers, consensus.Server{ID: consensus.ServerID(fmt.Sprint("s", i)), Address: l.Addr().String(), Voter: true})
	}
	for i, l := range listeners {
		cfg := diskConfig(b.TempDir(), store, servers[i].Address)
		cfg.ID = servers[i].ID
		cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLease = 2*time.Second, 2*time.Second, time.Second
		n, err := consensus.Open(cfg, &tally{}, l, quiet(), prometheus.NewRegistry())
		if err != nil {
			b.Fatal(err)
		}
		if err := n.Bootstrap(servers); err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, n)
		all.Go(func() {
			if err := n.Run(ctx); err != nil {
				b.Error(err)
			}
		})
	}
	var leader *consensus.Node
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for leader == nil {
		<-tick.C
		for _, n := range nodes {
			if n.IsLeader() {
				leader = n
			}
		}
	}
	data := make([]byte, 512)
	if _, _, err := apply(leader, data); err != nil {
		b.Fatal(err)
	}
	work := make(chan struct{})
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range work {
				if _, _, err := leader.Apply(ctx, data); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	group.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "entries/s")
	b.StopTimer()
}
