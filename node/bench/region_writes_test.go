//go:build bench

package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/kv/boltkv"
	"preau/replication/wire"
)

// submitters is how many entries wait at a time.
const submitters = 512

// writing is what a process that writes is told.
type writing struct {
	Dir  string
	Log  string // consensus.StoreWAL or StoreBolt
	Keep bool   // the catalogue; else a machine that does nothing
	Time time.Duration
	// Profile is the file for a CPU profile of what is counted, if it is wanted.
	Profile string
}

// written is what came of it.
type written struct {
	Entries int64
	Time    time.Duration
	CPU     time.Duration // of the process: three servers, and who submits
	P50     time.Duration
	P99     time.Duration
}

func (w written) rate() float64 { return float64(w.Entries) / w.Time.Seconds() }

func (w written) String() string {
	return fmt.Sprintf("%.0f entries/s, %.0f µs of CPU each, decided in %s / %s s (p50 / p99)",
		w.rate(), float64(w.CPU.Microseconds())/float64(max(1, w.Entries)), secs(w.P50), secs(w.P99))
}

// benchRegionWrites measures how much a region can decide.
func (b *bench) benchRegionWrites(t *testing.T, out *table) {
	sc, v := b.scale.region, verdicts{t, out}
	kinds := []struct {
		name string
		work writing
	}{
		{"raft and raft-wal alone", writing{Log: consensus.StoreWAL}},
		{"with the catalogue", writing{Log: consensus.StoreWAL, Keep: true}},
		{"raft and bbolt's log alone", writing{Log: consensus.StoreBolt}},
	}
	got := make([][]written, len(kinds))
	var shares []float64
	for range sc.rounds {
		for i, k := range kinds {
			k.work.Time = sc.writing
			if *profFlag != "" {
				k.work.Profile = filepath.Join(*profFlag, fmt.Sprintf("writes-kind%d-profile.pb.gz", i+1))
			}
			w, err := b.write(t.Context(), k.work)
			if err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
			got[i] = append(got[i], w)
		}
		last := len(got[0]) - 1
		shares = append(shares, got[1][last].rate()/got[0][last].rate())
	}
	for i, k := range kinds {
		m := median(got[i])
		if !k.work.Keep {
			v.fact(k.name, m.String())
			continue
		}
		slices.Sort(shares)
		share := shares[len(shares)/2]
		v.row(k.name, fmt.Sprintf("%s; %.0f %% of raft and raft-wal alone", m, share*100), fmt.Sprintf("%d entries/s, or %.0f %%", wantEntries, wantOfRawLogs*100),
			m.rate() >= wantEntries || share >= wantOfRawLogs)
	}
	w, cpu, err := b.writeThroughPort(t)
	if err != nil {
		t.Fatal(err)
	}
	v.fact("through the leader's port, three processes", fmt.Sprintf("%s; of it %.0f µs on the servers", w, cpu*1e6/float64(max(1, w.Entries))))
}

func median(of []written) written {
	of = slices.SortedFunc(slices.Values(of), func(a, b written) int { return cmp.Compare(a.rate(), b.rate()) })
	return of[len(of)/2]
}

// write has a process of its own do w.
func (b *bench) write(ctx context.Context, w writing) (written, error) {
	b.serial++
	w.Dir = filepath.Join(b.dir, fmt.Sprintf("writes%03d", b.serial))
	if err := os.MkdirAll(w.Dir, 0o700); err != nil {
		return written{}, err
	}
	defer func() { _ = os.RemoveAll(w.Dir) }() // the whole run's folder goes too
	var done written
	p, err := startRegion("writes", filepath.Join(w.Dir, "log"), w)
	if err != nil {
		return done, err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return done, errors.Join(ctx.Err(), p.kill())
	case <-time.After(w.Time + time.Minute):
		return done, errors.Join(fmt.Errorf("it does not end: %s", p.tail()), p.kill())
	}
	text, err := os.ReadFile(filepath.Join(w.Dir, "done"))
	if err != nil {
		return done, fmt.Errorf("%w: %s", err, p.tail())
	}
	return done, json.Unmarshal(text, &done)
}

// writesMain runs three servers and writes for a time.
func writesMain(spec string) error {
	var w writing
	if err := json.Unmarshal([]byte(spec), &w); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	authority, err := enrol.NewAuthority(identity.NewRegion(), time.Now())
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var nodes []*consensus.Node
	var members []consensus.Server
	var ways []raftWay
	for i := range 3 {
		name := identity.Name(fmt.Sprintf("s%d", i+1))
		who, err := issue(authority, identity.Identity{Region: authority.Region(), Role: identity.Server, Name: name})
		if err != nil {
			return err
		}
		creds := who.credentials(authority)
		l, err := wire.Listen(ctx, "127.0.0.1:0", creds, wire.DefaultConfig(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			return err
		}
		dialer, err := wire.NewDialer(creds, wire.DefaultDialConfig())
		if err != nil {
			return err
		}
		members = append(members, consensus.Server{ID: consensus.ServerID(name), Address: l.Addr().String(), Voter: true})
		ways = append(ways, raftWay{Listener: l.Raft(), dialer: dialer})
		all.Go(func() {
			if err := l.Run(ctx, wire.Service{Handler: http.NotFoundHandler()}); err != nil {
				fmt.Fprintln(os.Stderr, "listener:", err)
			}
		})
	}
	// The leader leads until the end of the work: three servers on two cores
	// that write all they can may be slow to say that they are alive.
	for i, m := range members {
		cfg := consensus.DefaultConfig()
		cfg.ID, cfg.ClusterID, cfg.Address = m.ID, string(authority.Region()), m.Address
		cfg.Dir, cfg.Store = filepath.Join(w.Dir, string(m.ID), "raft"), w.Log
		cfg.Patience = 5
		machine, closes, err := w.machine(string(m.ID))
		if err != nil {
			return err
		}
		n, err := consensus.Open(cfg, machine, ways[i], slog.New(slog.NewTextHandler(os.Stderr, nil)), prometheus.NewRegistry())
		if err != nil {
			return errors.Join(err, closes())
		}
		nodes = append(nodes, n)
		if i == 0 {
			if err := n.Bootstrap(members); err != nil {
				return errors.Join(err, closes())
			}
		}
		all.Go(func() {
			if err := errors.Join(n.Run(ctx), closes()); err != nil {
				fmt.Fprintln(os.Stderr, "server:", err)
			}
		})
	}
	done, err := w.load(ctx, nodes)
	if err != nil {
		return err
	}
	text, err := json.Marshal(done)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.Dir, "done"), text, 0o600)
}

func (w writing) machine(name string) (consensus.Machine, func() error, error) {
	if !w.Keep {
		return &idler{}, func() error { return nil }, nil
	}
	store, err := boltkv.Open(filepath.Join(w.Dir, name, "catalogue.db"), boltkv.DefaultConfig())
	if err != nil {
		return nil, nil, err
	}
	state, err := catalogue.Open(store)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return keeping{state}, store.Close, nil
}

// load submits to whoever leads, warms up for a second, and counts.
func (w writing) load(ctx context.Context, nodes []*consensus.Node) (done written, err error) {
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var leader *consensus.Node
	first, err := catalogue.NewPut(catalogue.Collection{ID: "manuels", Title: "Manuels"})
	if err != nil {
		return done, err
	}
	data, err := catalogue.Encode(catalogue.NewCommand("operator/bench", time.Now().UTC().Truncate(time.Millisecond), first))
	if err != nil {
		return done, err
	}
	err = patiently(ready, func() error {
		for _, n := range nodes {
			if n.IsLeader() {
				_, _, err := n.Apply(ready, data)
				leader = n
				return err
			}
		}
		return consensus.ErrNoLeader
	})
	if err != nil {
		return done, err
	}
	profiled, err := w.profile()
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, profiled()) }()
	return drive(w.Time, func(serial int64) error {
		data, err := pin(serial)
		if err != nil {
			return err
		}
		value, _, err := leader.Apply(ctx, data)
		if r, ok := value.(catalogue.Result); err == nil && ok && r.Code != "" {
			return fmt.Errorf("refused: %s: %s", r.Code, r.Detail)
		}
		return err
	})
}

// profile keeps a profile of the CPU until the function that it returns is
// called.
func (w writing) profile() (func() error, error) {
	if w.Profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(w.Profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// pin is a small entry.
func pin(serial int64) ([]byte, error) {
	op, err := pinOp(serial)
	if err != nil {
		return nil, err
	}
	return catalogue.Encode(catalogue.NewCommand("operator/bench", time.Now().UTC().Truncate(time.Millisecond), op))
}

func pinOp(serial int64) (catalogue.Op, error) {
	return catalogue.NewPut(catalogue.Pin{ID: fmt.Sprintf("pin-%d", serial), Collection: "manuels"})
}

// drive has submitters call fn for a second, and then for as long as is
// counted.
func drive(long time.Duration, fn func(serial int64) error) (done written, err error) {
	var serial, counted atomic.Int64
	var failed atomic.Pointer[error]
	var counting, over atomic.Bool
	var mu sync.Mutex
	var times []time.Duration
	var group sync.WaitGroup
	for range submitters {
		group.Go(func() {
			var own []time.Duration
			for !over.Load() && failed.Load() == nil {
				began := time.Now()
				if err := fn(serial.Add(1)); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				if counting.Load() && !over.Load() {
					counted.Add(1)
					own = append(own, time.Since(began))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	time.Sleep(time.Second)
	counting.Store(true)
	cpu, began := cpuTime(), time.Now()
	time.Sleep(long)
	over.Store(true)
	done.Time, done.CPU, done.Entries = time.Since(began), cpuTime()-cpu, counted.Load()
	group.Wait()
	if e := failed.Load(); e != nil {
		return done, *e
	}
	done.P50, done.P99 = quantile(times, 0.5), quantile(times, 0.99)
	return done, nil
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writeThroughPort has the entries come to three servers in three processes as
// requests, and tells their CPU beside.
func (b *bench) writeThroughPort(t *testing.T) (written, float64, error) {
	s := b.regionStage(t, 3)
	// A connection takes 64 requests at a time, and a peer may have 32 of them.
	slots := make(chan push, submitters)
	for range 16 {
		p, err := s.push(t.Context())
		if err != nil {
			return written{}, 0, err
		}
		defer p.Close()
		for range submitters / 16 {
			slots <- p
		}
	}
	before := s.cpu()
	profiled := s.profile(t.Context(), "writes", b.scale.region.writing)
	defer profiled()
	done, err := drive(b.scale.region.writing, func(serial int64) error {
		p := <-slots
		defer func() { slots <- p }()
		op, err := pinOp(serial)
		if err == nil {
			_, err = p.do(t.Context(), op)
		}
		return err
	})
	servers := s.cpu() - before // with the second of warming up
	return done, servers * done.Time.Seconds() / (done.Time.Seconds() + 1), err
}
