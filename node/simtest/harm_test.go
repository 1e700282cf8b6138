package simtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

func (w *world) someServer() *server { return w.servers[w.rng.IntN(len(w.servers))] }
func (w *world) someBox() *box       { return w.boxes[w.rng.IntN(len(w.boxes))] }

// revive starts again those whose time has come.
func (w *world) revive() {
	for _, s := range w.servers {
		if s.run.Load() == nil && s.due <= w.round {
			s.start()
		}
	}
	for _, b := range w.boxes {
		if b.run == nil && b.due <= w.round {
			b.start()
		}
	}
}

// harm does one bad thing.
func (w *world) harm() {
	s := w.someServer()
	switch w.rng.IntN(16) {
	case 0, 1:
		s.due = w.round + 1 + w.rng.IntN(3)
		if w.rng.IntN(2) == 0 {
			if l := w.leads(); l != nil {
				s = l
			}
		}
		if s.die(); w.rng.IntN(3) == 0 {
			s.start()
		}
	case 2:
		s.due = w.round + 1 + w.rng.IntN(3)
		s.halt()
	case 3, 4:
		for range 1 + w.rng.IntN(6) {
			b := w.someBox()
			b.due = w.round + w.rng.IntN(8)
			w.trace("kill %s until %d", b.id.Name, b.due)
			b.die()
		}
		w.revive()
	case 5:
		b := w.someBox()
		b.due = w.round + w.rng.IntN(4)
		w.trace("halt %s until %d", b.id.Name, b.due)
		b.halt()
	case 6, 7:
		w.partServers(s)
	case 8:
		w.trace("part boxes from %s", s.name)
		for _, b := range w.boxes {
			if w.rng.IntN(2) == 0 {
				w.part(s.name, string(b.id.Name))
			}
		}
	case 9:
		high, loss := time.Duration(w.rng.IntN(300))*time.Millisecond, w.rng.Float64()/5
		w.trace("delay up to %s, loss %.2f", high, loss)
		w.net.SetDelay(0, high)
		w.net.SetLoss(loss)
	case 10:
		days := w.rng.IntN(3) - 1
		w.trace("clock of %s %+d days", s.name, days)
		s.offset.Store(int64(days) * int64(24*time.Hour))
	case 11:
		w.burst()
	case 12:
		w.prune()
	case 13:
		if r := s.run.Load(); r != nil {
			w.trace("let another lead than %s", s.name)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			_ = r.node.TransferLeadership(ctx, "") // it may be no leader
			cancel()
		}
	case 14:
		w.fillDisk(s)
	case 15:
		w.revoke()
	}
	if w.rng.IntN(3) == 0 {
		w.trace("heal")
		w.heal()
	}
}

func (w *world) leads() *server {
	for _, s := range w.servers {
		if r := s.run.Load(); r != nil && r.node.IsLeader() {
			return s
		}
	}
	return nil
}

func (w *world) partServers(s *server) {
	oneWay := w.rng.IntN(2) == 0
	w.trace("part %s, one way: %v", s.name, oneWay)
	for _, o := range w.servers {
		switch {
		case o == s:
		case oneWay && w.rng.IntN(2) == 0:
			w.cut(s.name, o.name)
		case oneWay:
			w.cut(o.name, s.name)
		default:
			w.part(s.name, o.name)
		}
	}
}

// fillDisk fills a server's disks, and some boxes', for a while.
func (w *world) fillDisk(s *server) {
	w.trace("disk of %s full", s.name)
	full := fmt.Errorf("%w in a simulation", kv.ErrFull)
	mem, disk := s.mem, s.disk
	if w.rng.IntN(2) == 0 {
		disk.Fail(full)
	}
	mem.Fail(full)
	var boxes []*kvtest.Memory
	for range 3 {
		b := w.someBox()
		b.mem.Fail(full)
		boxes = append(boxes, b.mem)
	}
	time.Sleep(time.Duration(w.rng.IntN(8)) * time.Second)
	mem.Fail(nil)
	disk.Fail(nil)
	for _, b := range boxes {
		b.Fail(nil)
	}
}

// burst publishes so much that a server that is away needs a snapshot.
func (w *world) burst() {
	w.trace("burst")
	s := w.someServer()
	s.due = w.round + 1
	s.die()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 60 {
		ops := []catalogue.Op{}
		for range 3 {
			ops = append(ops, put(w, w.resource(w.rng, fmt.Sprint("burst", w.rng.IntN(100)), fmt.Sprint("c", w.rng.IntN(4)))))
		}
		if _, ok := w.command(ctx, w.rng, ops...); !ok {
			return
		}
	}
}

// prune forgets what is older than some time, by the clock of some server.
func (w *world) prune() {
	keep := []time.Duration{10 * time.Second, time.Minute, time.Hour, 30 * time.Hour}[w.rng.IntN(4)]
	r := w.anyServer(w.rng)
	if r == nil {
		return
	}
	w.trace("prune before %s ago", keep)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	w.command(ctx, w.rng, catalogue.Op{Prune: &catalogue.Prune{Before: r.s.now().Add(-keep)}})
}

// revoke takes a box out of the region, or lets all in again.
func (w *world) revoke() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if w.rng.IntN(3) > 0 {
		b := w.someBox()
		w.trace("revoke %s", b.id.Name)
		w.command(ctx, w.rng, put(w, catalogue.Revocation{Role: identity.Box, Name: string(b.id.Name), Reason: w.id("why")}))
		return
	}
	w.trace("readmit everybody")
	var ops []catalogue.Op
	for _, b := range w.boxes {
		ops = append(ops, catalogue.Op{Delete: &catalogue.Delete{
			Kind: catalogue.KindRevocation, ID: catalogue.RevocationID(identity.Box, string(b.id.Name)), Missing: true,
		}})
	}
	w.command(ctx, w.rng, ops...)
}

// night stops everything for hours or days. Some boxes stay away for longer.
func (w *world) night() {
	long := time.Duration(1+w.rng.IntN(200)) * time.Hour
	w.trace("night of %s", long)
	w.count("hours passed", int(long/time.Hour))
	w.endClients()
	for _, b := range w.boxes {
		b.due = w.round
		if w.rng.IntN(6) == 0 {
			b.due += 1 + w.rng.IntN(12)
		}
		if w.rng.IntN(2) == 0 {
			b.halt()
		} else {
			b.die()
		}
	}
	for _, s := range w.servers {
		if s.due = w.round; w.rng.IntN(2) == 0 {
			s.halt()
		} else {
			s.die()
		}
	}
	time.Sleep(long)
	w.revive()
	w.startClients()
}

// recover loses all servers but one for good, and begins anew from what that one
// has.
func (w *world) recover() {
	survivor := w.someServer()
	w.trace("all is lost but %s", survivor.name)
	w.calm()
	w.leader()
	w.isolate(survivor.name) // what is decided now is lost, unless it leads
	time.Sleep(time.Duration(w.rng.IntN(6000)) * time.Millisecond)
	w.endClients()
	var lost []*server
	for _, s := range w.servers {
		if s.die(); s != survivor {
			s.disk.Wipe()
			s.mem = kvtest.NewMemory()
			lost = append(lost, s)
		}
	}
	state, err := catalogue.Open(survivor.mem)
	if err != nil {
		w.t.Fatal(err)
	}
	applied, _ := state.Applied()
	view, err := state.View()
	if err != nil {
		w.t.Fatal(err)
	}
	revoked, err := revokedIn(w, view)
	if err := errors.Join(err, view.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.forget(applied, revoked)
	m := &machine{w: w, name: survivor.name, state: state}
	kept, err := consensus.Recover(survivor.cfg, m, []consensus.Server{survivor.self()}, quiet)
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.seed, err)
	}
	w.trace("recovered up to %d, applied before %d", kept.Index, applied)
	w.heal()
	w.life++
	w.count("recoveries", 1)

	// As node/region does: briefly, to tell that an epoch begins.
	survivor.start()
	r := w.leader()
	view, err = r.state.View()
	if err != nil {
		w.t.Fatal(err)
	}
	region, _, err := view.Region()
	if err := errors.Join(err, view.Close()); err != nil {
		w.t.Fatal(err)
	}
	region.Epoch++
	ops := []catalogue.Op{put(w, region)}
	for _, s := range lost {
		ops = append(ops, catalogue.Op{Delete: &catalogue.Delete{Kind: catalogue.KindServer, ID: s.name, Missing: true}})
	}
	w.ask(ops...)
	// Under indices that boxes may have seen something else at.
	for range 3 {
		w.ask(w.purge(w.rng))
	}
	survivor.halt()
	survivor.start()
	w.leader()
	for _, s := range lost {
		s.start()
	}
	w.startClients()
	w.join(lost)
}

// forget gives up what only the lost servers had.
func (w *world) forget(after uint64, revoked map[identity.Name]bool) {
	w.oracle.forget(after, revoked)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.calls {
		if c := &w.calls[i]; c.acked && c.result.Index > after {
			c.lost = true
			w.counts["acknowledged commands lost with their servers"]++
		}
	}
}
