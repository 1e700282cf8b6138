package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/replication/consensus"
	"preau/replication/consensus/consensustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pass lets time pass, which in a bubble takes none.
func pass(d time.Duration) { <-time.After(d) }

func quiet() *slog.Logger {
	if os.Getenv("PREAU_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))
}

// server is one server of a cluster, with what it keeps when it dies.
type server struct {
	t       testing.TB
	cfg     consensus.Config
	net     *consensustest.Network
	disk    *consensustest.Disk
	machine *consensustest.Machine

	node *consensus.Node
	stop context.CancelFunc
	done chan error
}

func (s *server) self() consensus.Server {
	return consensus.Server{ID: s.cfg.ID, Address: s.cfg.Address, Voter: true}
}

func (s *server) open() error {
	n, err := consensus.Open(s.cfg, s.machine, s.net.Endpoint(s.cfg.Address), quiet(), prometheus.NewRegistry())
	s.node = n
	return err
}

func (s *server) run() {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	done := make(chan error, 1)
	n := s.node
	go func() { done <- n.Run(ctx) }()
	s.done = done
}

func (s *server) start() {
	s.t.Helper()
	if err := s.open(); err != nil {
		s.t.Fatal(err)
	}
	s.run()
}

// halt is a clean stop.
func (s *server) halt() {
	s.t.Helper()
	if s.node == nil {
		return
	}
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Errorf("run of %s: %v", s.cfg.ID, err)
	}
	s.node = nil
}

// kill is the end of a process without warning.
func (s *server) kill() {
	s.t.Helper()
	s.disk.Crash()
	s.machine = s.machine.Reopen()
	s.net.Isolate(s.cfg.Address)
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Errorf("run of %s: %v", s.cfg.ID, err)
	}
	s.node = nil
}

type cluster struct {
	t       testing.TB
	net     *consensustest.Network
	servers []*server
}

// begin makes n servers, of which the first voters begin a region.
func begin(t *testing.T, n, voters int, change func(*consensus.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, net: consensustest.NewNetwork(1)}
	var first []consensus.Server
	for i := range n {
		s := c.add(fmt.Sprintf("s%d", i+1), change)
		if i < voters {
			first = append(first, s.self())
		}
	}
	for i, s := range c.servers {
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		if i < voters {
			if err := s.node.Bootstrap(first); err != nil {
				t.Fatal(err)
			}
		}
		s.run()
	}
	return c
}

func (c *cluster) add(name string, change func(*consensus.Config)) *server {
	cfg := consensus.DefaultConfig()
	cfg.ID = consensus.ServerID(name)
	cfg.ClusterID = "lyon"
	cfg.Address = name + ":1"
	s := &server{t: c.t, net: c.net, disk: consensustest.NewDisk(), machine: consensustest.NewMachine()}
	cfg.Disk = s.disk
	if change != nil {
		change(&cfg)
	}
	s.cfg = cfg
	c.servers = append(c.servers, s)
	return s
}

func (c *cluster) halt() {
	c.t.Helper()
	for _, s := range c.servers {
		s.halt()
	}
}

// leader waits for the one whose leading a majority confirms.
func (c *cluster) leader() *server {
	c.t.Helper()
	for range 600 {
		for _, s := range c.servers {
			if s.node == nil || !s.node.IsLeader() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := s.node.ReadIndex(ctx)
			cancel()
			if err == nil {
				return s
			}
		}
		pass(100 * time.Millisecond)
	}
	c.t.Fatal("no leader in a minute")
	return nil
}

func (c *cluster) followers() []*server {
	c.t.Helper()
	l := c.leader()
	var out []*server
	for _, s := range c.servers {
		if s != l && s.node != nil {
			out = append(out, s)
		}
	}
	return out
}

// set writes through whoever leads, again and again, under one id.
func (c *cluster) set(key, value string) uint64 {
	c.t.Helper()
	cmd := consensustest.Command{ID: key + "=" + value, Key: key, Value: value}.Encode()
	for range 100 {
		_, index, err := apply(c.leader().node, cmd)
		if err == nil {
			return index
		}
		pass(100 * time.Millisecond)
	}
	c.t.Fatalf("%s=%s was never agreed on", key, value)
	return 0
}

func (c *cluster) fill(n int) {
	c.t.Helper()
	for i := range n {
		c.set(fmt.Sprintf("k%d", i), "v")
	}
}

func apply(n *consensus.Node, data []byte) (any, uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return n.Apply(ctx, data)
}

// same waits until all members that run have what the leader has.
func (c *cluster) same() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var l *server
	var index uint64
	for err := error(consensus.ErrNoLeader); err != nil; {
		l = c.leader()
		if index, err = l.node.ReadIndex(ctx); ctx.Err() != nil {
			c.t.Fatal(err)
		}
	}
	members := l.node.Servers()
	for _, s := range c.servers {
		member := slices.ContainsFunc(members, func(m consensus.Server) bool { return m.ID == s.cfg.ID })
		if s.node == nil || !member {
			continue
		}
		if err := s.node.WaitApplied(ctx, index); err != nil {
			c.t.Fatalf("%s: %v", s.cfg.ID, err)
		}
		if a, b := s.machine.Len(), l.machine.Len(); a != b {
			c.t.Fatalf("%s has %d keys, the leader %d", s.cfg.ID, a, b)
		}
	}
}

func TestOneLeaderAndAllApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.fill(10)
		c.same()
		for _, s := range c.servers {
			if v, _ := s.machine.Get("k4"); v != "v" {
				t.Errorf("%s: k4 = %q", s.cfg.ID, v)
			}
			if st := s.node.Stats(); st.Voters != 3 || st.EvenVoters || len(st.Waiting) != 0 || st.Leader.ID != c.leader().cfg.ID || st.Term == 0 {
				t.Errorf("%s: stats %+v", s.cfg.ID, st)
			}
		}
	})
}

func TestFollowerSaysWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		l := c.leader()
		pass(time.Second)
		for _, f := range c.followers() {
			_, _, err := apply(f.node, []byte("x"))
			var who *consensus.NotLeaderError
			if !errors.Is(err, consensus.ErrNotLeader) || !errors.As(err, &who) || who.Leader.ID != l.cfg.ID || who.Leader.Address != l.cfg.Address {
				t.Errorf("apply on %s: %v", f.cfg.ID, err)
			}
			if _, err := f.node.ReadIndex(t.Context()); !errors.Is(err, consensus.ErrNotLeader) || errors.Is(err, consensus.ErrNoLeader) {
				t.Errorf("read on %s: %v", f.cfg.ID, err)
			}
		}
	})
}

func TestRefusalOfACommandIsItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 1, 1, nil)
		defer c.halt()
		l := c.leader()
		other := "other"
		res, _, err := apply(l.node, consensustest.Command{ID: "1", Key: "k", Value: "v", Old: &other}.Encode())
		if refusal, ok := res.(error); err != nil || !ok || !errors.Is(refusal, consensustest.ErrMismatch) {
			t.Errorf("result %v, err %v", res, err)
		}
		for name, data := range map[string][]byte{"empty": nil, "huge": make([]byte, 1<<20)} {
			if _, _, err := apply(l.node, data); !errors.Is(err, consensus.ErrTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestTheOthersGoOnWithoutTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		for round := range 5 {
			c.set(fmt.Sprint(round), "before")
			dead := c.leader()
			dead.kill()
			c.set(fmt.Sprint(round), "after")
			c.net.Heal()
			dead.start()
			c.same()
		}
	})
}

func TestACutOffLeaderAnswersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.set("k", "old")
		old := c.leader()
		c.net.Isolate(old.cfg.Address)
		pass(10 * time.Millisecond)
		done, err := old.node.ApplyAsync(t.Context(), consensustest.Command{ID: "lost", Key: "k", Value: "lost"}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.node.ReadIndex(t.Context()); err == nil {
			t.Error("a leader alone said what has been agreed on")
		}
		if o := <-done; !errors.Is(o.Err, consensus.ErrLostLeadership) {
			t.Errorf("outcome %+v, want ErrLostLeadership", o)
		}
		c.set("k", "new")
		c.net.Heal()
		c.same()
		if v, _ := old.machine.Get("k"); v != "new" {
			t.Errorf("k = %q", v)
		}
	})
}

func TestCleanStopHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.fill(3)
		l := c.leader()
		before := time.Now()
		l.halt()
		for {
			if next := c.led(); next != nil {
				break
			}
			pass(time.Millisecond)
		}
		if d := time.Since(before); d > 500*time.Millisecond {
			t.Errorf("nobody led for %s: leadership was not handed over", d)
		}
		c.fill(5)
	})
}

// led is who says that it leads, without asking the others.
func (c *cluster) led() *server {
	for _, s := range c.servers {
		if s.node != nil && s.node.IsLeader() {
			return s
		}
	}
	return nil
}

func TestRestartReplaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, func(cfg *consensus.Config) {
			cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 10, 5*time.Second, 20
		})
		defer c.halt()
		c.fill(60)
		pass(time.Minute)
		c.fill(62)
		c.same()
		for _, s := range c.servers {
			if s.node.Stats().Snapshot == 0 {
				t.Errorf("%s took no snapshot", s.cfg.ID)
			}
			s.halt()
		}
		for _, s := range c.servers {
			s.machine = s.machine.Reopen()
			s.start()
		}
		c.set("one", "more")
		c.same()
		for _, s := range c.servers {
			if n := s.machine.Entries(); n != 1 {
				t.Errorf("%s applied %d entries after the start, want 1", s.cfg.ID, n)
			}
		}
	})
}

func TestWhoWasAwayTooLongGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, func(cfg *consensus.Config) {
			cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 10, 5*time.Second, 5
		})
		defer c.halt()
		c.fill(5)
		away := c.followers()[0]
		away.kill()
		c.net.Heal()
		for i := range 3 {
			c.fill(25 * (i + 1))
			pass(10 * time.Second)
		}
		away.start()
		c.same()
		if n := away.machine.Entries(); n > 50 {
			t.Errorf("%d entries were applied one by one", n)
		}
		// And once more, killed right after it came.
		away.kill()
		c.net.Heal()
		away.start()
		c.set("a", "b")
		c.same()
	})
}

func TestNothingRunsBeforeRunAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: consensustest.NewNetwork(1)}
		s := c.add("s1", nil)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.node.Apply(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("apply before run: %v", err)
		}
		if err := s.node.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.node.Run(t.Context()); !errors.Is(err, consensus.ErrStopped) {
			t.Errorf("run after close: %v", err)
		}
		s.start() // the folder was given back
		n := s.node
		s.halt()
		if _, _, err := apply(n, []byte("x")); !errors.Is(err, consensus.ErrStopped) {
			t.Errorf("apply after run: %v", err)
		}
		if _, err := n.ReadIndex(t.Context()); !errors.Is(err, consensus.ErrStopped) {
			t.Errorf("read after run: %v", err)
		}
	})
}

func TestManyCallersTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.net.SetDelay(5*time.Millisecond, 10*time.Millisecond)
		l := c.leader()
		start := time.Now()
		var outs []<-chan consensus.Outcome
		for i := range 1000 {
			done, err := l.node.ApplyAsync(t.Context(), consensustest.Command{ID: fmt.Sprint(i), Key: "k", Value: fmt.Sprint(i)}.Encode())
			if err != nil {
				t.Fatal(err)
			}
			outs = append(outs, done)
		}
		last := uint64(0)
		for i, done := range outs {
			o := <-done
			if o.Err != nil || o.Result != fmt.Sprint(i) || o.Index <= last {
				t.Fatalf("entry %d: %+v after index %d", i, o, last)
			}
			last = o.Index
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("1000 entries took %s: they went one by one", d)
		}
	})
}
