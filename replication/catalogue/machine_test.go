package catalogue_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv/kvtest"
)

func bodyOf(op catalogue.Put) catalogue.Fact {
	switch op.Kind {
	case catalogue.KindCollection:
		return unmarshal[catalogue.Collection](op.Body)
	case catalogue.KindResource:
		return unmarshal[catalogue.Resource](op.Body)
	case catalogue.KindSubscription:
		return unmarshal[catalogue.Subscription](op.Body)
	case catalogue.KindPin:
		return unmarshal[catalogue.Pin](op.Body)
	case catalogue.KindRevocation:
		return unmarshal[catalogue.Revocation](op.Body)
	case catalogue.KindToken:
		return unmarshal[catalogue.Token](op.Body)
	case catalogue.KindPurge:
		return unmarshal[catalogue.Purge](op.Body)
	}
	return nil
}

// unmarshal reads a body by the library alone; what it can't read becomes
// another one than the state's.
func unmarshal[T catalogue.Fact](p []byte) catalogue.Fact {
	var f T
	if err := cbor.Unmarshal(p, &f); err != nil {
		return nil
	}
	return f
}

// machine drives a state through commands, batches, crashes and snapshots, and
// a model beside it.
type machine struct {
	store   *kvtest.Memory
	s       *catalogue.State
	model   *model
	log     []catalogue.Entry
	codes   []catalogue.Code
	done    int // entries of log that s has applied
	now     time.Time
	numbers uint64
}

func drawSchools(t *rapid.T) []identity.School {
	list := rapid.SliceOfNDistinct(rapid.SampledFrom(threeSchools), 0, 2, rapid.ID).Draw(t, "schools")
	slices.Sort(list)
	if len(list) == 0 {
		return nil
	}
	return list
}

func (m *machine) drawFact(t *rapid.T) catalogue.Fact {
	pick := func(what string) string { return what + rapid.SampledFrom([]string{"1", "2"}).Draw(t, what) }
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0, 1:
		return catalogue.Collection{ID: pick("c"), Title: pick("title"), Audience: drawSchools(t)}
	case 2, 3:
		r := resource(pick("r"), pick("c"), drawSchools(t)...)
		r.Title = pick("title")
		return r
	case 4:
		return catalogue.Subscription{ID: pick("s"), Collection: pick("c"), School: rapid.SampledFrom(threeSchools).Draw(t, "school")}
	case 5:
		p := catalogue.Pin{ID: pick("p"), Schools: drawSchools(t)}
		if rapid.Bool().Draw(t, "of a resource") {
			p.Resource = pick("r")
		} else {
			p.Collection = pick("c")
		}
		return p
	case 6:
		p := catalogue.Purge{ID: pick("u"), Scope: catalogue.ScopeResource, Target: pick("r")}
		if rapid.Bool().Draw(t, "of a collection") {
			p.Scope, p.Target = catalogue.ScopeCollection, pick("c")
		}
		return p
	case 7:
		return catalogue.Revocation{Role: identity.Box, Name: pick("b")}
	}
	tok := token(pick("t"), rapid.SampledFrom(threeSchools).Draw(t, "school"))
	tok.NotAfter = m.now.Add(3 * time.Hour)
	return tok
}

func (m *machine) drawOp(t *rapid.T) catalogue.Op {
	pick := func(what string) string { return what + rapid.SampledFrom([]string{"1", "2"}).Draw(t, what) }
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0, 1:
		f := m.drawFact(t)
		return catalogue.Op{Delete: &catalogue.Delete{Kind: f.Kind(), ID: f.RecordID(), Missing: rapid.Bool().Draw(t, "missing")}}
	case 2:
		return redeem(pick("t"), pick("b"), [32]byte{byte(rapid.IntRange(1, 2).Draw(t, "key"))})
	case 3:
		m.numbers++
		return counts(pick("b"), rapid.Uint64Range(m.numbers-min(m.numbers, 1), m.numbers).Draw(t, "number"), catalogue.Tally{Key: "r/" + pick("r"), N: 3})
	}
	f := m.drawFact(t)
	body, err := catalogue.EncodeAny(f)
	if err != nil {
		t.Fatal(err)
	}
	p := &catalogue.Put{Kind: f.Kind(), ID: f.RecordID(), Body: body}
	if rapid.IntRange(0, 5).Draw(t, "condition") == 0 {
		n := rapid.Uint64Range(0, uint64(len(m.log))).Draw(t, "if")
		p.If = &n
	}
	return catalogue.Op{Put: p}
}

// Propose adds a command to the log.
func (m *machine) Propose(t *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(t, "operations")
	ops := make([]catalogue.Op, n)
	for i := range ops {
		ops[i] = m.drawOp(t)
	}
	m.propose(t, ops...)
}

// Prune adds the command to forget.
func (m *machine) Prune(t *rapid.T) {
	m.propose(t, prune(m.now.Add(-time.Duration(rapid.IntRange(0, 4).Draw(t, "hours"))*time.Hour)))
}

func (m *machine) propose(t *rapid.T, ops ...catalogue.Op) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "hours")) * time.Hour)
	index := uint64(len(m.log)) + 1
	var id catalogue.CommandID
	binary.BigEndian.PutUint64(id[:], index)
	c := catalogue.Command{ID: id, At: m.now, By: "operator/x", Ops: ops}
	p, err := catalogue.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	m.log = append(m.log, catalogue.Entry{Index: index, Term: 1, Data: p})
	next, code := m.model.apply(index, c)
	m.model, m.codes = next, append(m.codes, code)
}

// Apply carries out what is in the log, in batches of some size.
func (m *machine) Apply(t *rapid.T) {
	size := rapid.IntRange(1, 8).Draw(t, "batch")
	for m.done < len(m.log) {
		m.apply(t, m.done, min(m.done+size, len(m.log)))
	}
}

func (m *machine) apply(t *rapid.T, from, upto int) {
	results, records, err := m.s.Apply(m.log[from:upto])
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Code != m.codes[from+i] {
			t.Fatalf("entry %d: code %q (%s), want %q", from+i+1, r.Code, r.Detail, m.codes[from+i])
		}
		if r.Repeat != (from+i < m.done) {
			t.Fatalf("entry %d: repeat %v", from+i+1, r.Repeat)
		}
	}
	last := uint64(m.done)
	for _, r := range records {
		if r.Index < last || r.Index > uint64(upto) || r.Index <= uint64(m.done) {
			t.Fatalf("changed out of order: %d after %d", r.Index, last)
		}
		last = r.Index
	}
	m.done = max(m.done, upto)
}

// Crash loses all but what is durable and reads part of the log again.
func (m *machine) Crash(t *rapid.T) {
	m.store = m.store.Crash()
	s, err := catalogue.Open(m.store)
	if err != nil {
		t.Fatal(err)
	}
	if m.s = s; m.done > 0 {
		m.apply(t, rapid.IntRange(0, m.done-1).Draw(t, "again from"), m.done)
	}
}

// Move goes on in another store, from a snapshot.
func (m *machine) Move(t *rapid.T) {
	snap, err := m.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var p bytes.Buffer
	if _, err := snap.WriteTo(&p); err != nil {
		t.Fatal(err)
	}
	m.store = kvtest.NewMemory()
	if m.s, err = catalogue.Open(m.store); err != nil {
		t.Fatal(err)
	}
	if err := m.s.Restore(&p); err != nil {
		t.Fatal(err)
	}
}

// check compares state and model, once all is applied.
func (m *machine) check(t *rapid.T) {
	if m.done < len(m.log) {
		return
	}
	v, err := m.s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Floor() != m.model.floor {
		t.Fatalf("floor = %d, want %d", v.Floor(), m.model.floor)
	}
	found := 0
	var last uint64
	err = v.Changes(0, ^uint64(0), func(r catalogue.Record) bool {
		found++
		want := m.model.records[modelKey{r.Kind, r.ID}]
		switch {
		case want == nil:
			t.Fatalf("there should be no %s %s: %+v", r.Kind, r.ID, r)
		case r.Index != want.index || !r.At.Equal(want.at) || r.Deleted != (want.fact == nil) || r.Index < last:
			t.Fatalf("%s %s = %+v, want %+v", r.Kind, r.ID, r, want)
		}
		last = r.Index
		for _, s := range threeSchools {
			sight := catalogue.Hidden
			switch {
			case want.sees[s]:
				sight = catalogue.Visible
			case want.saw[s]:
				sight = catalogue.Gone
			}
			if got := r.SeenBy(s); got != sight {
				t.Fatalf("%s sees of %s %s: %d, want %d (%+v)", s, r.Kind, r.ID, got, sight, r)
			}
		}
		if body, err := catalogue.EncodeAny(want.fact); want.fact != nil && (err != nil || !bytes.Equal(body, r.Body)) {
			t.Fatalf("%s %s: body %x, want %x (%v)", r.Kind, r.ID, r.Body, body, err)
		}
		return true
	})
	if err != nil || found != len(m.model.records) {
		t.Fatalf("%d records, want %d, %v", found, len(m.model.records), err)
	}
	m.checkCounts(t, v)
}

func (m *machine) checkCounts(t *rapid.T, v *catalogue.View) {
	want := map[catalogue.Kind]uint64{}
	for k, r := range m.model.records {
		if r.fact != nil {
			want[k.kind]++
		}
	}
	for k := range m.model.sums {
		p, _, err := catalogue.Fetch[catalogue.Popularity](v, k)
		if err != nil || p.Sum > m.model.sums[k] {
			t.Fatalf("popularity of %s = %+v, want up to %d, %v", k, p, m.model.sums[k], err)
		}
		want[catalogue.KindPopularity]++
	}
	for box, n := range m.model.numbers {
		c, _, err := catalogue.Fetch[catalogue.Contact](v, box)
		if err != nil || c.Counted != n {
			t.Fatalf("contact of %s = %+v, want %d, %v", box, c, n, err)
		}
		want[catalogue.KindContact]++
	}
	got := v.Counts()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("counts = %v, want %v", got, want)
	}
	for kind := range got {
		n := uint64(0)
		if err := v.List(kind, "", func(catalogue.Record) bool { n++; return true }); err != nil || n != got[kind] {
			t.Fatalf("list of %s has %d, want %d, %v", kind, n, got[kind], err)
		}
	}
}

func TestTheStateIsLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := kvtest.NewMemory()
		s, err := catalogue.Open(store)
		if err != nil {
			t.Fatal(err)
		}
		m := &machine{store: store, s: s, model: newModel(), now: noon}
		t.Repeat(map[string]func(*rapid.T){
			"":         m.check,
			"propose":  m.Propose,
			"propose2": m.Propose,
			"propose3": m.Propose,
			"prune":    m.Prune,
			"apply":    m.Apply,
			"crash":    m.Crash,
			"move":     m.Move,
		})
		m.Apply(t)
		m.check(t)
		// One entry after the other, on a store of its own: the same bytes.
		other, err := catalogue.Open(kvtest.NewMemory())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.log {
			if _, _, err := other.Apply([]catalogue.Entry{e}); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(bytesOf(t, m.s), bytesOf(t, other)) {
			t.Fatal("the same log made two states")
		}
	})
}

func bytesOf(t *rapid.T, s *catalogue.State) []byte {
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var p bytes.Buffer
	if _, err := snap.WriteTo(&p); err != nil {
		t.Fatal(err)
	}
	return p.Bytes()
}
