package catalogue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

var (
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	keyA = [32]byte{1, 2, 3}
	keyB = [32]byte{4, 5, 6}
	hash = [32]byte{7, 8, 9}
)

const (
	lyon   = identity.School("0690001A")
	brest  = identity.School("0290002B")
	nantes = identity.School("0440003C")
)

// world is a state and the log that made it.
type world struct {
	t     testing.TB
	store *kvtest.Memory
	s     *catalogue.State
	now   time.Time
	ids   uint64
	log   []catalogue.Entry
	last  []catalogue.Record
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	store := kvtest.NewMemory()
	return &world{t: tb, store: store, s: open(tb, store), now: noon}
}

func open(tb testing.TB, store kv.Store) *catalogue.State {
	tb.Helper()
	s, err := catalogue.Open(store)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (w *world) command(ops ...catalogue.Op) catalogue.Command {
	w.ids++
	var id catalogue.CommandID
	binary.BigEndian.PutUint64(id[8:], w.ids)
	return catalogue.Command{ID: id, At: w.now, By: "operator/anne", Ops: ops}
}

// do applies one command and returns what came of it.
func (w *world) do(ops ...catalogue.Op) catalogue.Result {
	w.t.Helper()
	return w.send(w.command(ops...))
}

func (w *world) send(c catalogue.Command) catalogue.Result {
	w.t.Helper()
	p, err := catalogue.Encode(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.entry(p)
}

func (w *world) entry(p []byte) catalogue.Result {
	w.t.Helper()
	e := catalogue.Entry{Index: uint64(len(w.log)) + 1, Term: 1, Data: p}
	w.log = append(w.log, e)
	results, records, err := w.s.Apply([]catalogue.Entry{e})
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = records
	return results[0]
}

// must is do for what can't fail.
func (w *world) must(ops ...catalogue.Op) catalogue.Result {
	w.t.Helper()
	r := w.do(ops...)
	if r.Code != "" {
		w.t.Fatalf("refused: %s: %s", r.Code, r.Detail)
	}
	return r
}

// refused is do for what must fail with a code, and change nothing.
func (w *world) refused(code catalogue.Code, ops ...catalogue.Op) catalogue.Result {
	w.t.Helper()
	before := w.changes(0)
	r := w.do(ops...)
	if r.Code != code {
		w.t.Errorf("code = %q (%s), want %q", r.Code, r.Detail, code)
	}
	if r.Detail == "" {
		w.t.Error("a refusal says nothing")
	}
	if diff := cmp.Diff(before, w.changes(0)); diff != "" {
		w.t.Errorf("a refused command changed something (-before +after):\n%s", diff)
	}
	return r
}

func (w *world) view() *catalogue.View {
	w.t.Helper()
	v, err := w.s.View()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := v.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return v
}

func (w *world) changes(after uint64) []catalogue.Record {
	w.t.Helper()
	return changes(w.t, w.s, after)
}

func changes(tb testing.TB, s *catalogue.State, after uint64) []catalogue.Record {
	tb.Helper()
	v, err := s.View()
	if err != nil {
		tb.Fatal(err)
	}
	defer v.Close()
	var list []catalogue.Record
	if err := v.Changes(after, 1<<63, func(r catalogue.Record) bool { list = append(list, r); return true }); err != nil {
		tb.Fatal(err)
	}
	return list
}

// record is the record in the change index, dead or alive.
func (w *world) record(k catalogue.Kind, id string) (catalogue.Record, bool) {
	w.t.Helper()
	for _, r := range w.changes(0) {
		if r.Kind == k && r.ID == id {
			return r, true
		}
	}
	return catalogue.Record{}, false
}

func (w *world) sight(k catalogue.Kind, id string, s identity.School) catalogue.Sight {
	w.t.Helper()
	r, _ := w.record(k, id)
	return r.SeenBy(s)
}

func (w *world) alive(k catalogue.Kind, id string) bool {
	w.t.Helper()
	_, err := w.view().Get(k, id)
	if err != nil && !errors.Is(err, catalogue.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func fetch[T catalogue.Fact](w *world, id string) T {
	w.t.Helper()
	f, _, err := catalogue.Fetch[T](w.view(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func snapshot(tb testing.TB, s *catalogue.State) []byte {
	tb.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	defer snap.Close()
	var p bytes.Buffer
	if _, err := snap.WriteTo(&p); err != nil {
		tb.Fatal(err)
	}
	return p.Bytes()
}

// put is the operation that puts f, checked or not, in its one form.
func put(tb testing.TB, f catalogue.Fact) catalogue.Op {
	tb.Helper()
	body, err := catalogue.EncodeAny(catalogue.Normal(f))
	if err != nil {
		tb.Fatal(err)
	}
	return catalogue.Op{Put: &catalogue.Put{Kind: f.Kind(), ID: f.RecordID(), Body: body}}
}

func collection(id string, schools ...identity.School) catalogue.Collection {
	return catalogue.Collection{ID: id, Title: "Collection " + id, Audience: schools}
}

func resource(id, in string, schools ...identity.School) catalogue.Resource {
	d := block.Sum([]byte(id))
	return catalogue.Resource{
		ID: id, Collection: in, Title: "Resource " + id, Filename: id + ".pdf", ContentType: "application/pdf",
		Length: 1000, SHA256: d, Blocks: []block.Digest{d}, Modified: noon, Audience: schools,
	}
}

func token(id string, school identity.School) catalogue.Token {
	return catalogue.Token{ID: id, SecretHash: hash, Role: identity.Box, School: school, NotAfter: noon.Add(time.Hour)}
}

func redeem(token, name string, key [32]byte) catalogue.Op {
	return catalogue.Op{Redeem: &catalogue.Redeem{Token: token, SecretHash: hash, Name: name, SPKI: key}}
}

// enrol makes a box of a school.
func (w *world) enrol(name string, school identity.School, key [32]byte) {
	w.t.Helper()
	id := "t-" + name
	tok := token(id, school)
	tok.NotAfter = w.now.Add(time.Hour)
	w.must(put(w.t, tok))
	w.must(redeem(id, name, key))
}
