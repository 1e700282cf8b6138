package simtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

// calm ends everything bad; clocks stay wrong.
func (w *world) calm() {
	w.trace("calm")
	for _, s := range w.servers {
		s.start()
	}
	for _, b := range w.boxes {
		b.start()
	}
	w.heal()
}

// settle waits until the boxes have what they may see, with nobody asking for
// anything.
func (w *world) settle() {
	w.endClients()
	w.calm()
	began := time.Now()
	var wrong string
	var before uint64
	for time.Since(began) < settledWithin {
		// What a client has given up may still be on its way.
		index, _ := w.leader().state.Applied()
		moved := index != before
		before = index
		if wrong = w.unsettled(); wrong == "" && moved {
			wrong = fmt.Sprintf("something was decided at %d", index)
		}
		if wrong == "" {
			took := time.Since(began)
			w.trace("settled in %s", took)
			w.mu.Lock()
			w.counts["seconds to settle, at most"] = max(w.counts["seconds to settle, at most"], int(took/time.Second))
			w.mu.Unlock()
			return
		}
		time.Sleep(time.Second)
	}
	w.fail("after %s without trouble: %s", settledWithin, wrong)
	for _, s := range w.servers {
		w.trace("%s: %+v", s.name, s.run.Load().node.Stats())
	}
}

// unsettled says what is not as it should be, nothing if all is.
func (w *world) unsettled() string {
	lead := w.leader()
	view, err := lead.state.View()
	if err != nil {
		return err.Error()
	}
	defer view.Close()
	index, _ := view.Applied()
	for _, s := range w.servers {
		r := s.run.Load()
		if got, _ := r.state.Applied(); got != index {
			return fmt.Sprintf("%s has applied %d and %s %d", lead.s.name, index, s.name, got)
		}
	}
	revoked, err := revokedIn(w, view)
	if err != nil {
		return err.Error()
	}
	wants := map[identity.School]map[key]string{}
	for _, school := range w.schools {
		if wants[school], err = visible(view, school); err != nil {
			return err.Error()
		}
	}
	for _, b := range w.boxes {
		if revoked[b.id.Name] {
			if b.connected() != "" {
				return fmt.Sprintf("%s is revoked and follows a server", b.id.Name)
			}
			continue
		}
		if wrong := w.differs(b, wants[b.id.School], view.Floor()); wrong != "" {
			return fmt.Sprintf("%s: %s", b.id.Name, wrong)
		}
	}
	return ""
}

// visible is all that a school may see.
func visible(v *catalogue.View, school identity.School) (map[key]string, error) {
	out := map[key]string{}
	for k := catalogue.Kind(1); k < catalogue.KindAuthority; k++ {
		err := v.List(k, "", func(r catalogue.Record) bool {
			if r.SeenBy(school) == catalogue.Visible {
				out[key{r.Kind, r.ID}] = fmt.Sprintf("%d %d %x", r.Index, r.At.UnixMilli(), r.Body)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// differs compares a box's copy with what it should be.
func (w *world) differs(b *box, want map[key]string, floor uint64) string {
	if b.connected() == "" || !b.run.copy.Whole() {
		return "does not follow, or is in the middle of a snapshot"
	}
	got, err := b.holds()
	if err != nil {
		return err.Error()
	}
	for k, v := range want {
		if got[k] != v {
			return fmt.Sprintf("has %q for %s, and should have %q", got[k], k, v)
		}
		delete(got, k)
	}
	for k, v := range got {
		// The region forgets purges without telling: boxes drop them when they
		// connect the next time.
		var index uint64
		if _, err := fmt.Sscan(v, &index); err == nil && k.kind == catalogue.KindPurge && index <= floor {
			continue
		}
		return fmt.Sprintf("has %q for %s, which is not there", v, k)
	}
	return ""
}

// promptly checks how long a purge takes to boxes that are connected.
func (w *world) promptly() {
	w.settle()
	before := map[*box]string{}
	for _, b := range w.boxes {
		b.use(w.rng)
		before[b] = b.connected()
	}
	op := w.purge(w.rng)
	w.ask(op)
	time.Sleep(purgedWithin)
	n := 0
	for _, b := range w.boxes {
		if before[b] == "" || b.connected() != before[b] {
			continue // it changed servers meanwhile
		}
		n++
		if _, err := b.run.copy.Get(catalogue.KindPurge, op.Put.ID); err != nil {
			w.fail("%s has not heard of purge %s after %s", b.id.Name, op.Put.ID, purgedWithin)
		}
		b.without(purged{id: op.Put.ID, versions: w.origin.purge(op.Put.ID)}, "it is long enough since")
	}
	w.count("boxes purged in time", n)
	w.presence()
	w.startClients()
}

// end checks what came of everything.
func (w *world) end() {
	w.settle()
	w.sameStates()
	w.sameCatalogue()
	w.onceInOrder()
	for _, b := range w.boxes {
		b.use(w.rng)
	}
	w.presence()
	for _, b := range w.boxes {
		b.halt()
	}
	for _, s := range w.servers {
		s.halt()
	}
}

// sameStates compares the servers byte by byte.
func (w *world) sameStates() {
	var first []byte
	for i, s := range w.servers {
		snap, err := s.run.Load().state.Snapshot()
		if err != nil {
			w.t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = snap.WriteTo(&b)
		if err := errors.Join(err, snap.Close()); err != nil {
			w.t.Fatal(err)
		}
		if i == 0 {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			w.fail("the states of %s and %s differ (%d and %d bytes)", w.servers[0].name, s.name, len(first), b.Len())
		}
	}
}

// sameCatalogue compares the catalogue with what was seen to be decided.
func (w *world) sameCatalogue() {
	view, err := w.servers[0].run.Load().state.View()
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	for k, d := range w.oracle.latest {
		got, err := view.Get(k.kind, k.id)
		switch {
		case d.Deleted && !errors.Is(err, catalogue.ErrNotFound):
			w.fail("%s was deleted at %d, and is there: %+v %v", k, d.Index, got, err)
		case k.kind == catalogue.KindPurge && d.Index <= view.Floor():
		case !d.Deleted && (err != nil || got.Index != d.Index || !bytes.Equal(got.Body, d.Body)):
			w.fail("%s was decided at %d, and is at %d: %v", k, d.Index, got.Index, err)
		}
	}
}

// onceInOrder checks that what was acknowledged was carried out once, after all
// that had been acknowledged before it was asked for.
func (w *world) onceInOrder() {
	w.mu.Lock()
	calls := slices.DeleteFunc(slices.Clone(w.calls), func(c call) bool { return !c.acked || c.lost })
	w.counts["acknowledged commands"] += len(calls)
	w.mu.Unlock()
	w.oracle.mu.Lock()
	for _, c := range calls {
		if at := w.oracle.first[c.id]; at != c.result.Index {
			w.fail("command %x was acknowledged as of %d, and was carried out at %d", c.id, c.result.Index, at)
		}
	}
	w.oracle.mu.Unlock()
	byEnd := slices.Clone(calls)
	slices.SortFunc(byEnd, func(a, b call) int { return int(a.ended - b.ended) })
	slices.SortFunc(calls, func(a, b call) int { return int(a.began - b.began) })
	var latest uint64
	for _, c := range calls {
		for len(byEnd) > 0 && byEnd[0].ended < c.began {
			latest = max(latest, byEnd[0].result.Index)
			byEnd = byEnd[1:]
		}
		if c.result.Index <= latest {
			w.fail("command %x was asked for after the one at %d had been acknowledged, and is at %d", c.id, latest, c.result.Index)
		}
	}
}
