package consensus_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/consensus"
	"preau/replication/consensus/consensustest"
)

func small(cfg *consensus.Config) {
	cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 10, 5*time.Second, 5
}

// stopped is a region of one with some entries and snapshots, stopped.
func stopped(t *testing.T, change func(*consensus.Config)) *server {
	t.Helper()
	c := begin(t, 1, 1, change)
	for range 3 {
		c.fill(30)
		pass(10 * time.Second)
		c.fill(33)
		c.set("round", time.Now().String())
	}
	s := c.servers[0]
	s.halt()
	s.machine = s.machine.Reopen()
	return s
}

func TestStateThatCannotBeTrustedIsRefused(t *testing.T) {
	tests := map[string]struct {
		change func(*consensus.Config)
		harm   func(t *testing.T, s *server)
		want   error
		advice string
	}{
		"log lost its end": {
			harm: func(_ *testing.T, s *server) { s.disk.DropTail(1) },
			want: consensus.ErrDamaged, advice: "join it again",
		},
		"log lost its end, and the machine is new": {
			harm: func(_ *testing.T, s *server) {
				s.disk.DropTail(1)
				s.machine = consensustest.NewMachine()
			},
			want: consensus.ErrDamaged, advice: "join it again",
		},
		"log lost, machine kept": {
			harm: func(_ *testing.T, s *server) { s.disk.Wipe() },
			want: consensus.ErrLogBehind, advice: "join it again",
		},
		"entry in the log": {
			harm: func(_ *testing.T, s *server) { s.disk.FlipLog(12) },
			want: consensus.ErrDamaged, advice: "join it again",
		},
		"entry in the log after the snapshot": {
			change: small,
			harm: func(_ *testing.T, s *server) {
				index, _ := s.machine.Applied()
				s.disk.FlipLog(index)
			},
			want: consensus.ErrDamaged, advice: "join it again",
		},
		"all snapshots": {
			change: small,
			harm: func(t *testing.T, s *server) {
				t.Helper()
				if s.disk.FlipSnapshots(2) != 2 {
					t.Fatal("no two snapshots")
				}
			},
			want: consensus.ErrDamaged, advice: "join it again",
		},
		"other region": {
			harm: func(_ *testing.T, s *server) { s.cfg.ClusterID = "paris" },
			want: consensus.ErrWrongCluster, advice: "cluster_id",
		},
		"other server": {
			harm: func(_ *testing.T, s *server) { s.cfg.ID = "s9" },
			want: consensus.ErrWrongServer, advice: "id",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stopped(t, tt.change)
				tt.harm(t, s)
				err := s.open()
				if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.advice) {
					t.Errorf("open: %v, want %v with %q", err, tt.want, tt.advice)
				}
				if err == nil {
					s.run()
					s.halt()
				}
			})
		})
	}
}

func TestDamageThatCostsNothingIsMended(t *testing.T) {
	tests := map[string]func(t *testing.T, s *server){
		"newest snapshot, with an older one and the log": func(_ *testing.T, s *server) { s.disk.FlipSnapshots(1) },
		"machine without what the snapshot has":          func(_ *testing.T, s *server) { s.machine = consensustest.NewMachine() },
		"machine from in between": func(t *testing.T, s *server) {
			t.Helper()
			m := consensustest.NewMachine()
			if _, err := m.Apply([]consensus.Entry{{Index: 3, Term: 2, Data: consensustest.Command{ID: "k0=v", Key: "k0", Value: "v"}.Encode()}}); err != nil {
				t.Fatal(err)
			}
			s.machine = m
		},
		"entry before the snapshot": func(t *testing.T, s *server) {
			t.Helper()
			s.disk.FlipLog(s.first(t))
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stopped(t, func(cfg *consensus.Config) {
					cfg.SnapshotThreshold, cfg.SnapshotInterval, cfg.TrailingLogs = 10, 5*time.Second, 100
				})
				want := s.machine.Len()
				harm(t, s)
				s.start()
				defer s.halt()
				c := &cluster{t: t, net: s.net, servers: []*server{s}}
				c.set("goes", "on")
				if got := s.machine.Len(); got != want+1 {
					t.Errorf("%d keys, want %d", got, want+1)
				}
			})
		})
	}
}

func (s *server) first(t *testing.T) uint64 {
	t.Helper()
	stores, err := s.disk.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stores.Logs.FirstIndex()
	if err := errors.Join(err, stores.Close()); err != nil {
		t.Fatal(err)
	}
	return first
}

func TestOneNodePerFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 1, 1, nil)
		defer c.halt()
		s := c.servers[0]
		_, err := consensus.Open(s.cfg, consensustest.NewMachine(), c.net.Endpoint("x:1"), quiet(), prometheus.NewRegistry())
		if !errors.Is(err, consensus.ErrLocked) {
			t.Errorf("second node: %v, want ErrLocked", err)
		}
	})
}

var errFull = errors.New("no space left on device")

func TestFullDiskOnTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.fill(3)
		l := c.leader()
		l.disk.Fail(errFull)
		_, _, err := apply(l.node, consensustest.Command{ID: "x", Key: "x", Value: "x"}.Encode())
		if !errors.Is(err, consensus.ErrStorage) || !errors.Is(err, errFull) {
			t.Errorf("apply: %v, want ErrStorage", err)
		}
		if st := l.node.Stats(); !strings.Contains(st.Trouble, "no space") {
			t.Errorf("trouble: %q", st.Trouble)
		}
		c.set("x", "y") // somebody else leads
		if next := c.leader(); next == l {
			t.Error("a server that cannot write leads")
		}
		l.disk.Fail(nil)
		c.set("room", "again")
		c.same()
		if st := l.node.Stats(); st.Trouble != "" {
			t.Errorf("trouble: %q", st.Trouble)
		}
	})
}

func TestFullDiskOnTheOnlyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 1, 1, nil)
		defer c.halt()
		c.fill(3)
		s := c.leader()
		s.disk.Fail(errFull)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := s.node.Apply(ctx, consensustest.Command{ID: "x", Key: "x", Value: "x"}.Encode()); err == nil {
				t.Error("an entry was kept on a full disk")
			}
			cancel()
			pass(time.Second)
		}
		s.disk.Fail(nil)
		c.set("x", "x")
	})
}

func TestStopWithAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		c.fill(3)
		for _, s := range c.servers {
			s.disk.Fail(errFull)
			s.machine.Fail(errFull)
		}
		pass(time.Minute)
		c.halt()
	})
}

// Raft writes its term before anything else. Where it can't, the node waits for
// room, and no longer than it is told to.
func TestAStartOnAFullDiskCanBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stopped(t, nil)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		s.disk.Fail(errFull)
		s.run()
		pass(time.Minute)
		if s.node.Stats().Term != 0 {
			t.Error("raft began: this test tests nothing")
		}
		s.halt()
		s.disk.Fail(nil)
		s.machine = s.machine.Reopen()
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		s.run()
		pass(10 * time.Second)
		if !s.node.IsLeader() {
			t.Error("with room on the disk it does not lead")
		}
		s.halt()
	})
}

func TestAMachineThatCannotWriteLetsAnotherLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, nil)
		defer c.halt()
		c.fill(3)
		l := c.leader()
		l.machine.Fail(errFull)
		done, err := l.node.ApplyAsync(t.Context(), consensustest.Command{ID: "x", Key: "x", Value: "x"}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if next := c.led(); next == nil || next == l {
			t.Error("leadership was not handed over")
		}
		c.set("y", "y")
		l.machine.Fail(nil)
		// It was agreed on; its outcome comes when the machine has taken it.
		if o := <-done; o.Err != nil || o.Result != "x" {
			t.Errorf("outcome %+v", o)
		}
		c.same()
	})
}

func TestLostQuorumIsRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := begin(t, 3, 3, small)
		defer c.halt()
		c.fill(30)
		pass(10 * time.Second)
		c.fill(33)
		c.same()
		survivor := c.followers()[0]
		dead := []*server{c.leader(), c.followers()[1]}
		for _, s := range dead {
			s.kill()
		}
		// What it has and did not apply is kept.
		survivor.machine.Fail(errFull)
		c.net.Heal()
		survivor.halt()
		before := survivor.machine.Len()
		survivor.machine = survivor.machine.Reopen()
		if _, err := consensus.Recover(survivor.cfg, survivor.machine, []consensus.Server{survivor.self(), dead[0].self()}, quiet()); !errors.Is(err, consensus.ErrEvenVoters) {
			t.Errorf("recovery with two: %v", err)
		}
		// A recovery that fails can be tried again.
		survivor.disk.Fail(errFull)
		if _, err := consensus.Recover(survivor.cfg, survivor.machine, []consensus.Server{survivor.self()}, quiet()); !errors.Is(err, errFull) {
			t.Errorf("recovery on a full disk: %v", err)
		}
		survivor.disk.Fail(nil)
		got, err := consensus.Recover(survivor.cfg, survivor.machine, []consensus.Server{survivor.self()}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if got.Index < got.Before || got.Term == 0 || len(got.Servers) != 1 {
			t.Errorf("recovered %+v", got)
		}
		if n := survivor.machine.Entries(); n > 3 {
			t.Errorf("%d entries were applied again", n)
		}
		survivor.start()
		alone := &cluster{t: t, net: c.net, servers: []*server{survivor}}
		alone.set("alone", "1")
		if n := survivor.machine.Len(); n != before+1 {
			t.Errorf("%d keys, want %d", n, before+1)
		}
		// One of the lost comes back with its old folder: it must not be let in.
		zombie := dead[0]
		zombie.start()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := survivor.node.AddServer(ctx, zombie.self()); !errors.Is(err, consensus.ErrWrongCluster) {
			t.Errorf("a server from before the recovery: %v", err)
		}
		zombie.halt()
		for _, s := range dead {
			s.disk.Wipe()
			s.machine = consensustest.NewMachine()
			s.start()
			if err := join(t, alone, s); err != nil {
				t.Fatal(err)
			}
		}
		c.set("together", "1")
		c.same()
		if st := c.leader().node.Stats(); st.Voters != 3 {
			t.Errorf("%d voters", st.Voters)
		}
	})
}

func TestNothingToRecoverIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: consensustest.NewNetwork(1)}
		s := c.add("s1", nil)
		_, err := consensus.Recover(s.cfg, s.machine, []consensus.Server{s.self()}, quiet())
		if err == nil || !strings.Contains(err.Error(), "bootstrap") {
			t.Errorf("recover of nothing: %v", err)
		}
	})
}

// halfReader is a machine that makes a change final without having read all.
type halfReader struct{ *consensustest.Machine }

func (h halfReader) Restore(r io.Reader, _, _ uint64) error {
	_, err := r.Read(make([]byte, 10))
	return err
}

func TestAMachineMustReadAllOfASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stopped(t, small)
		_, err := consensus.Open(s.cfg, halfReader{consensustest.NewMachine()}, s.net.Endpoint("s1:1"), quiet(), prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), "did not read all") {
			t.Errorf("open: %v", err)
		}
	})
}
