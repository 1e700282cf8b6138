package consensus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/consensus"
)

func join(t *testing.T, c *cluster, s *server) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return c.leader().node.AddServer(ctx, s.self())
}

func TestARegionGrowsByPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 5, 1, func(cfg *consensus.Config) {
			cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 10, 5*time.Second, 5
		})
		defer c.halt()
		c.fill(40)
		pass(20 * time.Second)
		for i, want := range []struct{ voters, waiting int }{{1, 1}, {3, 0}, {3, 1}, {5, 0}} {
			if err := join(t, c, c.servers[i+1]); err != nil {
				t.Fatal(err)
			}
			pass(2 * time.Second)
			st := c.leader().node.Stats()
			if st.Voters != want.voters || len(st.Waiting) != want.waiting || st.EvenVoters {
				t.Fatalf("after %d joined: %d voters, waiting %v", i+1, st.Voters, st.Waiting)
			}
			if len(st.Peers) != i+1 || st.Peers[0].Last == 0 {
				t.Fatalf("peers %+v", st.Peers)
			}
			c.set("joined", string(rune('0'+i)))
			c.same()
		}
		// Five go on without two.
		for _, dead := range c.followers()[:2] {
			dead.kill()
		}
		c.set("still", "there")
	})
}

func TestMembershipSaysWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 4, 3, nil)
		defer c.halt()
		l, stranger := c.leader(), c.servers[3]
		f := c.followers()[0]
		ctx := t.Context()
		if err := f.node.AddServer(ctx, stranger.self()); !errors.Is(err, consensus.ErrNotLeader) {
			t.Errorf("add on a follower: %v", err)
		}
		if err := l.node.AddServer(ctx, f.self()); !errors.Is(err, consensus.ErrAlreadyMember) {
			t.Errorf("add a member: %v", err)
		}
		moved := f.self()
		moved.Address = "elsewhere:1"
		if err := l.node.AddServer(ctx, moved); !errors.Is(err, consensus.ErrAlreadyMember) {
			t.Errorf("add a member at another address: %v", err)
		}
		if err := l.node.AddServer(ctx, consensus.Server{ID: "new", Address: f.cfg.Address}); !errors.Is(err, consensus.ErrAlreadyMember) {
			t.Errorf("add another server at a member's address: %v", err)
		}
		if err := l.node.RemoveServer(ctx, "nobody"); !errors.Is(err, consensus.ErrUnknownServer) {
			t.Errorf("remove a stranger: %v", err)
		}
		if err := l.node.TransferLeadership(ctx, "nobody"); !errors.Is(err, consensus.ErrUnknownServer) {
			t.Errorf("transfer to a stranger: %v", err)
		}
		if err := l.node.Bootstrap([]consensus.Server{l.self()}); !errors.Is(err, consensus.ErrAlreadyBootstrapped) {
			t.Errorf("second bootstrap: %v", err)
		}
		if err := stranger.node.Bootstrap([]consensus.Server{stranger.self(), f.self()}); !errors.Is(err, consensus.ErrEvenVoters) {
			t.Errorf("bootstrap of two: %v", err)
		}
		stranger.halt()
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := l.node.AddServer(short, stranger.self()); !errors.Is(err, consensus.ErrNotCaughtUp) {
			t.Errorf("add a server that does not run: %v", err)
		}
		stranger.start()
		if err := join(t, c, stranger); err != nil {
			t.Errorf("add it again once it runs: %v", err)
		}
		if err := l.node.TransferLeadership(ctx, stranger.cfg.ID); !errors.Is(err, consensus.ErrNotCaughtUp) {
			t.Errorf("transfer to one that does not vote: %v", err)
		}
		if err := l.node.TransferLeadership(ctx, f.cfg.ID); err != nil {
			t.Errorf("transfer: %v", err)
		}
		pass(time.Second)
		if got := c.leader(); got != f {
			t.Errorf("%s leads, want %s", got.cfg.ID, f.cfg.ID)
		}
	})
}

func TestALostServerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.fill(10)
		dead := c.followers()[0]
		dead.kill()
		c.net.Heal()
		if err := c.leader().node.RemoveServer(t.Context(), dead.cfg.ID); err != nil {
			t.Fatal(err)
		}
		if st := c.leader().node.Stats(); st.Voters != 2 || !st.EvenVoters {
			t.Errorf("stats %+v", st)
		}
		fresh := c.add("s4", nil)
		fresh.start()
		if err := join(t, c, fresh); err != nil {
			t.Fatal(err)
		}
		if st := c.leader().node.Stats(); st.Voters != 3 {
			t.Errorf("%d voters after the replacement", st.Voters)
		}
		c.same()
		// The last one cannot go.
		for len(c.leader().node.Servers()) > 1 {
			if err := c.leader().node.RemoveServer(t.Context(), c.followers()[0].cfg.ID); err != nil {
				t.Fatal(err)
			}
			c.followersGone()
		}
		if err := c.leader().node.RemoveServer(t.Context(), c.leader().cfg.ID); !errors.Is(err, consensus.ErrLastVoter) {
			t.Errorf("remove the last one: %v", err)
		}
	})
}

// followersGone stops those that are no members any more.
func (c *cluster) followersGone() {
	l := c.leader()
	for _, s := range c.servers {
		member := false
		for _, m := range l.node.Servers() {
			member = member || m.ID == s.cfg.ID
		}
		if !member {
			s.halt()
		}
	}
}

func TestTwoBootstrapsNeverMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 1, 1, nil)
		defer c.halt()
		c.set("mine", "1")
		other := c.add("s2", nil)
		if err := other.open(); err != nil {
			t.Fatal(err)
		}
		if err := other.node.Bootstrap([]consensus.Server{other.self()}); err != nil {
			t.Fatal(err)
		}
		other.run()
		for !other.node.IsLeader() {
			pass(100 * time.Millisecond)
		}
		first := c.servers[0]
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := first.node.AddServer(ctx, other.self())
		if !errors.Is(err, consensus.ErrNotCaughtUp) || !errors.Is(err, consensus.ErrWrongCluster) {
			t.Errorf("add a server that began a region of its own: %v", err)
		}
		if v, _ := other.machine.Get("mine"); v != "" {
			t.Error("it was given what the other region has")
		}
		// With an empty folder it may.
		other.halt()
		other.disk.Wipe()
		other.machine = other.machine.Reopen()
		other.start()
		if err := join(t, c, other); err != nil {
			t.Error(err)
		}
		c.same()
		if err := other.node.Bootstrap([]consensus.Server{other.self()}); !errors.Is(err, consensus.ErrAlreadyBootstrapped) {
			t.Errorf("bootstrap of one that joined: %v", err)
		}
	})
}

func TestServersOfOtherRegionsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 1, 1, nil)
		defer c.halt()
		other := c.add("s2", func(cfg *consensus.Config) { cfg.ClusterID = "paris" })
		other.start()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := c.leader().node.AddServer(ctx, other.self()); !errors.Is(err, consensus.ErrWrongCluster) {
			t.Errorf("add: %v", err)
		}
	})
}

func TestTheSameBootstrapOnAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		c.fill(3)
		c.same()
		c.halt()
	})
}

func TestBootstrapWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 0, nil)
		defer c.halt()
		pass(10 * time.Second)
		if st := c.servers[0].node.Stats(); st.State != "new" {
			t.Errorf("state %q", st.State)
		}
		if err := c.servers[0].node.Bootstrap([]consensus.Server{c.servers[0].self()}); err != nil {
			t.Fatal(err)
		}
		for _, s := range c.servers[1:] {
			if err := join(t, c, s); err != nil {
				t.Fatal(err)
			}
		}
		c.fill(3)
		c.same()
	})
}
