package follow

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv"
)

const school = identity.School("0690001A")

// fakeCopy keeps records beside what the follower keeps, on the disk, and tells
// of changes as a feed.Copy does.
type fakeCopy struct {
	store store
	mu    sync.Mutex
	seq   feed.Seq
	fns   []func([]catalogue.Record, feed.Seq)
	upto  feed.Seq // of what was forgotten
}

type fakeEntry struct {
	Seq    feed.Seq
	Record catalogue.Record
}

func fakeName(kind catalogue.Kind, id string) []byte {
	return append([]byte("fake/r/"), append([]byte{byte(kind)}, id...)...)
}

func fakeSeq(s feed.Seq) []byte { return binary.BigEndian.AppendUint64([]byte("fake/s/"), uint64(s)) }

func (c *fakeCopy) entry(name []byte) (fakeEntry, error) {
	var e fakeEntry
	b, err := c.store.Get(name)
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	return e, err
}

// apply is one batch of the feed.
func (c *fakeCopy) apply(t *testing.T, records ...catalogue.Record) {
	t.Helper()
	var step []feed.Change
	for _, r := range records {
		name := fakeName(r.Kind, r.ID)
		if old, err := c.entry(name); err == nil {
			step = append(step, feed.Change{Key: fakeSeq(old.Seq), Delete: true})
		}
		c.seq++
		b, err := json.Marshal(fakeEntry{c.seq, r})
		if err != nil {
			t.Fatal(err)
		}
		step = append(step, feed.Change{Key: name, Value: b}, feed.Change{Key: fakeSeq(c.seq), Value: name})
	}
	if err := c.store.write(step); err != nil {
		t.Fatal(err)
	}
	for _, fn := range c.fns {
		fn(records, c.seq)
	}
}

func (c *fakeCopy) Get(kind catalogue.Kind, id string) (catalogue.Record, error) {
	e, err := c.entry(fakeName(kind, id))
	if err == nil && e.Record.Deleted {
		return e.Record, kv.ErrNotFound
	}
	return e.Record, err
}

func (c *fakeCopy) List(kind catalogue.Kind, fn func(catalogue.Record) bool) error {
	return c.store.Scan(fakeName(kind, ""), nil, func(_, value []byte) bool {
		var e fakeEntry
		return json.Unmarshal(value, &e) != nil || e.Record.Deleted || fn(e.Record)
	})
}

func (c *fakeCopy) Changes(after feed.Seq, fn func(catalogue.Record, feed.Seq) bool) error {
	var names [][]byte
	err := c.store.Scan([]byte("fake/s/"), fakeSeq(after), func(_, name []byte) bool {
		names = append(names, slices.Clone(name))
		return true
	})
	for _, name := range names {
		e, err := c.entry(name)
		if err != nil {
			return err
		}
		if !fn(e.Record, e.Seq) {
			return nil
		}
	}
	return err
}

func (c *fakeCopy) OnChange(fn func([]catalogue.Record, feed.Seq)) { c.fns = append(c.fns, fn) }
func (c *fakeCopy) Doubt() time.Time                               { return time.Time{} }
func (c *fakeCopy) Whole() bool                                    { return true }

func (c *fakeCopy) Forget(upto feed.Seq) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upto = upto
	return nil
}

// record is a fact as the feed brings it.
func record(t *testing.T, f catalogue.Fact) catalogue.Record {
	t.Helper()
	op, err := catalogue.NewPut(f)
	if err != nil {
		t.Fatal(err)
	}
	return catalogue.Record{Kind: f.Kind(), ID: f.RecordID(), At: noon, Body: op.Put.Body}
}

func gone(kind catalogue.Kind, id string) catalogue.Record {
	return catalogue.Record{Kind: kind, ID: id, At: noon, Deleted: true}
}

// resourceOf makes up a resource of so many bytes.
func resourceOf(id, collection string, length int64) catalogue.Resource {
	r := catalogue.Resource{
		ID: id, Collection: collection, Title: "Le " + id, Filename: id + ".pdf", ContentType: "application/pdf",
		Length: length, Modified: noon.AddDate(0, 0, -1),
	}
	n := block.NumBlocks(length)
	for i := range n {
		r.Blocks = append(r.Blocks, block.Sum([]byte{byte(i), byte(len(id)), id[0]}))
	}
	r.SHA256 = block.Sum([]byte(id))
	if n == 1 {
		r.SHA256 = r.Blocks[0]
	}
	if n > catalogue.MaxInlineBlocks {
		r.Blocks, r.Manifest = nil, block.Sum([]byte("list of "+id))
	}
	return r
}

// fakeStock is a shelf that needs no disk and no line.
type fakeStock struct {
	mu      sync.Mutex
	log     []string
	whole   map[string]bool
	pins    map[string]bool
	fetch   func(ctx context.Context, id string, limit shelf.Limiter) error // nil: at once
	looked  int
	full    error // of pins
	expired time.Time
}

func newStock() *fakeStock {
	return &fakeStock{whole: map[string]bool{}, pins: map[string]bool{}}
}

func (s *fakeStock) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
}

// took returns what was done since it was asked last.
func (s *fakeStock) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.log
	s.log = nil
	return out
}

func (s *fakeStock) StateOf(it shelf.Item) (shelf.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked++
	return shelf.State{Complete: s.whole[it.ID]}, nil
}

func (s *fakeStock) Fetch(ctx context.Context, id string, limit shelf.Limiter) error {
	s.note("fetch " + id)
	if s.fetch != nil {
		if err := s.fetch(ctx, id, limit); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole[id] = true
	return nil
}

func (s *fakeStock) Want(id string, pinned bool) error {
	s.note(map[bool]string{true: "pin ", false: "unpin "}[pinned] + id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.pins, id); pinned {
		s.pins[id] = s.full == nil
		return s.full
	}
	return nil
}

func (s *fakeStock) Pinned() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.pins)
}

func (s *fakeStock) Unpin() error { return nil }

func (s *fakeStock) Expire(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = now
	return nil
}

// open makes a follower of a copy in dir, with neither a region nor a disk for
// bytes.
func open(t *testing.T, dir string) (*Follower, *fakeCopy) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := openStore(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeCopy{store: s}
	err = s.Scan([]byte("fake/s/"), nil, func(key, _ []byte) bool {
		c.seq = feed.Seq(binary.BigEndian.Uint64(key[len("fake/s/"):]))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &Follower{
		log: log, id: identity.Identity{Region: "region", Role: identity.Box, Name: "box-a", School: school},
		store: s, copy: c, poke: make(chan struct{}, 1), listing: map[block.Digest]chan struct{}{},
		notAfter: func() time.Time { return noon.AddDate(1, 0, 0) },
		block: func(context.Context, block.Digest) ([]byte, error) {
			return nil, errNoServers
		},
	}
	if f.met, err = newMetrics(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	if f.shelf, err = shelf.New(shelf.DefaultConfig(), published{f}, f.storage.Load, blockSource{}, log, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	f.stock = f.shelf
	if err := f.load(); err != nil {
		t.Fatal(err)
	}
	c.OnChange(func(changes []catalogue.Record, upto feed.Seq) { f.onChange(t.Context(), changes, upto) })
	return f, c
}

// opened is open for one test.
func opened(t *testing.T) (*Follower, *fakeCopy) {
	t.Helper()
	f, c := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, c
}
