package simtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/identity"
)

type key struct {
	kind catalogue.Kind
	id   string
}

func (k key) String() string { return fmt.Sprintf("%s %q", k.kind, k.id) }

// version is one state of a record.
type version struct {
	key
	index uint64
}

type decided struct {
	catalogue.Record
	at   time.Time // when the first server had it
	lost bool      // with the servers that were the only ones to have it
}

// done is what came of an entry of the log.
type done struct {
	id     catalogue.CommandID
	result catalogue.Result
}

type purged struct {
	id       string
	index    uint64
	versions map[object]int // what is older than this must be gone
}

type revocation struct {
	index uint64
	at    time.Time
}

// oracle sees what every server does and compares it with the others.
type oracle struct {
	w *world

	mu      sync.Mutex
	entries map[uint64]done
	first   map[catalogue.CommandID]uint64 // where a command was carried out
	records map[version][]*decided
	latest  map[key]*decided
	purges  []purged
	revoked map[identity.Name]revocation
	sums    map[uint64]uint64 // of whole states
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, entries: map[uint64]done{}, first: map[catalogue.CommandID]uint64{}, records: map[version][]*decided{},
		latest: map[key]*decided{}, revoked: map[identity.Name]revocation{}, sums: map[uint64]uint64{},
	}
}

// note takes in what one server applied.
func (o *oracle) note(server string, batch []consensus.Entry, results []catalogue.Result, changed []catalogue.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, e := range batch {
		if len(e.Data) == 0 {
			continue
		}
		cmd, err := catalogue.Decode(e.Data)
		if err != nil {
			o.w.fail("%s: entry %d is no command: %v", server, e.Index, err)
			continue
		}
		r := results[i]
		repeat := r.Repeat
		r.Repeat = false
		if old, ok := o.entries[e.Index]; ok {
			if old.id != cmd.ID || old.result != r {
				o.w.fail("%s: entry %d came to %+v of %x, and elsewhere to %+v of %x", server, e.Index, r, cmd.ID, old.result, old.id)
			}
			continue
		}
		o.entries[e.Index] = done{cmd.ID, r}
		at, again := o.first[cmd.ID]
		switch {
		case again && (!repeat || r.Index != at):
			o.w.fail("%s: command %x was carried out at %d and again at %d (%+v)", server, cmd.ID, at, e.Index, r)
		case !again && (repeat || r.Index != e.Index):
			o.w.fail("%s: command %x at %d counts as done before: %+v", server, cmd.ID, e.Index, r)
		case !again:
			o.first[cmd.ID] = e.Index
		}
	}
	for _, r := range changed {
		o.record(server, r)
	}
}

func (o *oracle) record(server string, r catalogue.Record) {
	v := version{key{r.Kind, r.ID}, r.Index}
	for _, d := range o.records[v] {
		if d.lost {
			continue
		}
		if d.Deleted != r.Deleted || !bytes.Equal(d.Body, r.Body) || !slices.Equal(d.Audience, r.Audience) || !d.At.Equal(r.At) {
			o.w.fail("%s: %s at %d differs from what another server made of it", server, v.key, v.index)
		}
		return
	}
	d := &decided{Record: r, at: time.Now()}
	o.records[v] = append(o.records[v], d)
	if old := o.latest[v.key]; old == nil || old.Index < r.Index {
		o.latest[v.key] = d
	}
	switch {
	case r.Kind == catalogue.KindPurge && !r.Deleted:
		o.purges = append(o.purges, purged{r.ID, r.Index, o.w.origin.purge(r.ID)})
	case r.Kind == catalogue.KindRevocation:
		f, ok := o.w.revokes(r)
		if old, is := o.revoked[f]; !ok || is && old.index > r.Index {
			return
		}
		if r.Deleted {
			delete(o.revoked, f)
		} else {
			o.revoked[f] = revocation{r.Index, d.at}
		}
	}
}

// state compares the whole of a server's state with what others had at the same
// entry.
func (o *oracle) state(server string, index uint64, state *catalogue.State) {
	sum, err := sumOf(state)
	if err != nil {
		return // the server was killed meanwhile
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if old, ok := o.sums[index]; ok && old != sum {
		o.w.fail("%s: the state at %d differs from another server's", server, index)
	}
	o.sums[index] = sum
}

func sumOf(state *catalogue.State) (uint64, error) {
	s, err := state.Snapshot()
	if err != nil {
		return 0, fmt.Errorf("take snapshot: %w", err)
	}
	h := fnv.New64a()
	_, err = s.WriteTo(h)
	return h.Sum64(), errors.Join(err, s.Close())
}

// told checks what a box was told of a record.
func (o *oracle) told(b *box, r catalogue.Record) {
	if r.Deleted {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Kind.Private() {
		o.w.fail("%s was told of a %s", b.id.Name, r.Kind)
	}
	known, visible := false, false
	var at time.Time
	for _, d := range o.records[version{key{r.Kind, r.ID}, r.Index}] {
		if !d.Deleted && bytes.Equal(d.Body, r.Body) && d.At.Equal(r.At) {
			known, visible, at = true, d.SeenBy(b.id.School) == catalogue.Visible, d.at
		}
	}
	switch {
	case !known:
		o.w.fail("%s was told of %s %q at %d, which nobody decided", b.id.Name, r.Kind, r.ID, r.Index)
	case !visible:
		o.w.fail("%s of %s was told of %s %q at %d, which is not for its school", b.id.Name, b.id.School, r.Kind, r.ID, r.Index)
	}
	if out, ok := o.revoked[b.id.Name]; ok && at.Sub(out.at) > revokedWithin {
		o.w.fail("%s was revoked at %d and told of %s %q, decided %s later", b.id.Name, out.index, r.Kind, r.ID, at.Sub(out.at))
	}
}

// acked checks a box that a server takes to have everything up to index.
func (o *oracle) acked(b *box, server string, index uint64) {
	o.mu.Lock()
	purges := o.purges
	o.mu.Unlock()
	for _, p := range purges {
		if p.index <= index {
			b.without(p, server+" holds that it has acknowledged it")
		}
	}
}

// forget drops what was decided after an entry and is lost.
func (o *oracle) forget(after uint64, revoked map[identity.Name]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, e := range o.entries {
		if i > after {
			delete(o.entries, i)
			if o.first[e.id] == i {
				delete(o.first, e.id)
			}
		}
	}
	for i := range o.sums {
		if i > after {
			delete(o.sums, i)
		}
	}
	clear(o.latest)
	for v, ds := range o.records {
		for _, d := range ds {
			if d.lost = d.lost || v.index > after; d.lost {
				continue
			}
			if old := o.latest[v.key]; old == nil || old.Index < v.index {
				o.latest[v.key] = d
			}
		}
	}
	o.purges = slices.DeleteFunc(slices.Clone(o.purges), func(p purged) bool { return p.index > after })
	clear(o.revoked)
	for name := range revoked {
		o.revoked[name] = revocation{after, time.Now()}
	}
}
