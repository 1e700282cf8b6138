//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"preau/node/control"
	"preau/node/follow"
	"preau/replication/catalogue"
	"preau/replication/enrol"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/wire"
)

// benchRegionMillion measures what a large catalogue costs a server that
// starts, one that tells it to a new box, and the box.
func (b *bench) benchRegionMillion(t *testing.T, out *table) {
	sc, v := b.scale.region, verdicts{t, out}
	s := b.regionStage(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	p, err := s.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.library(ctx); err != nil {
		t.Fatal(err)
	}
	profiled := s.profile(ctx, "fill", 20*time.Second)
	defer profiled()
	cpu, began := s.cpu(), time.Now()
	last, err := p.publish(ctx, 0, sc.entries, 700, 4)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	m := s.servers[0]
	v.fact("made in entries of 700 records each", fmt.Sprintf("%s s, %.0f µs of CPU for a record; %s MiB on disk, server's memory %s MiB",
		secs(time.Since(began)), (s.cpu()-cpu)*1e6/float64(sc.entries), mib(diskUse(m.cfg.Data)), mib(m.memory().rss)))

	who, err := issue(s.authority, identity.Identity{Region: s.id, Role: identity.Box, Name: "reader", School: "0690001A"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.admit(ctx, who, "0690001A"); err != nil {
		t.Fatal(err)
	}
	for _, how := range []struct {
		name string
		end  func() error
	}{{"SIGTERM", func() error { return m.stop() }}, {"SIGKILL", func() error { return m.kill() }}} {
		if err := how.end(); err != nil {
			t.Fatal(err)
		}
		listens, feeds, decides, err := s.restart(ctx, who)
		if err != nil {
			t.Fatalf("after %s: %v", how.name, err)
		}
		v.row("restart after "+how.name+": port open / feed answers / takes decisions", fmt.Sprintf("%s / %s / %s s", secs(listens), secs(feeds), secs(decides)),
			fmt.Sprintf("%s s", secs(wantRestart)), max(feeds, decides) <= wantRestart)
	}
	for _, name := range []string{"first snapshot to a new box", "the same to the next one"} {
		profiled := s.profile(ctx, "snapshot", 3*time.Second)
		took, err := s.snapshot(ctx, who, sc.entries)
		if err != nil {
			t.Fatal(err)
		}
		profiled()
		rate := float64(took.bytes) / took.cpu
		v.row(name, fmt.Sprintf("%.0f MB in %s s, %.2f s of the server's CPU: %.0f MB/s of CPU", float64(took.bytes)/1e6, secs(took.wall), took.cpu, rate/1e6),
			fmt.Sprintf("%d MB/s", wantSnapshot/1_000_000), rate >= wantSnapshot)
	}
	for _, role := range []string{"copy", "follow"} {
		b.boxTakes(ctx, t, s, role, last, v)
	}
}

// admit tells the region of a box that has its certificate already.
func (s *regionStage) admit(ctx context.Context, who bearer, school identity.School) error {
	key, err := who.key()
	if err != nil {
		return err
	}
	op, err := catalogue.NewPut(catalogue.Box{Name: string(who.Name), School: school, SPKI: key, Enrolled: time.Now().UTC()})
	if err != nil {
		return err
	}
	p, err := s.push(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = p.do(ctx, op)
	return err
}

// dial is a box's way to the first server.
func (s *regionStage) dial(who bearer) (*wire.Transport, string, error) {
	way, err := wire.NewDialer(who.credentials(s.authority), wire.DefaultDialConfig())
	if err != nil {
		return nil, "", err
	}
	m := s.servers[0]
	return way.Transport(wire.Target{Name: identity.Name(m.name), Address: m.cfg.Listen}), "https://" + m.cfg.Listen, nil
}

var errEnough = errors.New("that is enough")

// restart starts the first server again and tells how long until its port is
// open, a new box has the first batch, and an entry is decided.
func (s *regionStage) restart(ctx context.Context, who bearer) (listens, feeds, decides time.Duration, err error) {
	began := time.Now()
	m := s.servers[0]
	if err := m.start(ctx); err != nil {
		return 0, 0, 0, err
	}
	listens = time.Since(began)
	err = patiently(ctx, func() error {
		rt, base, err := s.dial(who)
		if err != nil {
			return err
		}
		defer rt.Close()
		err = feed.Follow(ctx, rt, base, feed.Request{Version: "bench"}, func(feed.Hello) error { return nil }, func(b *feed.Batch) error {
			if b.Count == 0 {
				return nil
			}
			return errEnough
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	feeds = time.Since(began)
	if err != nil {
		return 0, 0, 0, err
	}
	p := push{s.way.Transport(wire.Target{Name: identity.Name(m.name), Address: m.cfg.Listen})}
	defer p.Close()
	err = patiently(ctx, func() error { return p.collection(ctx) })
	return listens, feeds, time.Since(began), err
}

// taken is what a snapshot was.
type taken struct {
	bytes int64
	wall  time.Duration
	cpu   float64
}

// snapshot takes all there is and keeps nothing.
func (s *regionStage) snapshot(ctx context.Context, who bearer, entries int) (taken, error) {
	rt, base, err := s.dial(who)
	if err != nil {
		return taken{}, err
	}
	defer rt.Close()
	var out taken
	cpu, began := s.cpu(), time.Now()
	var until uint64
	records := 0
	err = feed.Follow(ctx, rt, base, feed.Request{Version: "bench"}, func(h feed.Hello) error {
		until = h.Until
		return nil
	}, func(b *feed.Batch) error {
		list, err := b.Records()
		if err != nil {
			return err
		}
		records += len(list)
		for _, r := range list {
			out.bytes += int64(len(r.ID) + len(r.Body))
		}
		if !b.More && b.Upto >= until {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return out, fmt.Errorf("snapshot: %w", err)
	}
	out.wall, out.cpu = time.Since(began), s.cpu()-cpu
	if records < entries {
		return out, fmt.Errorf("the snapshot has %d records of %d", records, entries)
	}
	return out, nil
}

// boxTakes has a box in a process of its own take the catalogue and keep it.
func (b *bench) boxTakes(ctx context.Context, t *testing.T, s *regionStage, role string, upto uint64, v verdicts) {
	token, err := s.operator.Token(ctx, control.TokenRequest{Role: "box", School: "0690002B"})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := enrol.ParseToken(token.Token)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(s.dir, role)
	ask := enrol.Ask{Role: identity.Box, Name: identity.Name("keeper-" + role)}
	if _, err := enrol.Enrol(ctx, parsed, follow.IdentityDir(data), ask, wire.DefaultDialConfig()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p, err := startRegion(role, data+".log", keeper{Data: data, Upto: upto, Profiles: *profFlag})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	var peak memory
	var cpu float64
	what := map[string]string{
		"copy":   "a box's copy of it: largest anonymous memory while it is taken",
		"follow": "the same in all that a box does with its region",
	}[role]
	limit := time.After(6 * time.Minute)
	for {
		select {
		case <-p.exited:
			if !p.cmd.ProcessState.Success() {
				t.Errorf("%s: %v: %s", role, p.cmd.ProcessState, p.tail())
				return
			}
			v.row(what, fmt.Sprintf("%.0f MB (RSS %.0f MB), in %s s, %.1f s of its CPU", float64(peak.anon)/1e6, float64(peak.rss)/1e6, secs(time.Since(began)), cpu),
				fmt.Sprintf("%d MB", wantBox/1_000_000), peak.anon < wantBox)
			return
		case <-limit:
			v.row(what, fmt.Sprintf("not done in 6 minutes, %.0f MB by then", float64(peak.anon)/1e6), fmt.Sprintf("%d MB", wantBox/1_000_000), false)
			return
		case <-time.After(100 * time.Millisecond):
			now := p.memory()
			peak.rss, peak.anon = max(peak.rss, now.rss), max(peak.anon, now.anon)
			cpu = max(cpu, p.cpuSeconds())
		}
	}
}
