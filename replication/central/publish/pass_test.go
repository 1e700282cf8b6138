package publish_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/replication/central/publish"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

// shortSighted lists less than there is.
type shortSighted struct {
	store.Store
	mu     sync.Mutex
	hidden func(bucket, key string) bool
	fail   bool // the second page of a listing
	gone   bool // the bucket, as far as Head is concerned
	reads  map[string]int
}

func (s *shortSighted) set(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func (s *shortSighted) List(ctx context.Context, bucket, prefix, after string, limit int) (store.Page, error) {
	page, err := s.Store.List(ctx, bucket, prefix, after, min(limit, 50))
	s.mu.Lock()
	defer s.mu.Unlock()
	if bucket != maps {
		return page, err
	}
	if s.gone || s.fail && after != "" {
		return store.Page{}, fmt.Errorf("%w: asked for it", store.ErrNotFound)
	}
	if s.hidden != nil {
		var seen []store.Info
		for _, o := range page.Objects {
			if !s.hidden(bucket, o.Key) {
				seen = append(seen, o)
			}
		}
		page.Objects = seen
	}
	return page, err
}

func (s *shortSighted) Ready(ctx context.Context, bucket string) error {
	s.mu.Lock()
	gone := s.gone && bucket == maps
	s.mu.Unlock()
	if gone {
		return store.ErrNotFound
	}
	return s.Store.Ready(ctx, bucket)
}

func (s *shortSighted) Head(ctx context.Context, bucket, key string) (store.Info, error) {
	s.mu.Lock()
	gone := s.gone && bucket == maps
	s.mu.Unlock()
	if gone {
		return store.Info{}, store.ErrNotFound
	}
	return s.Store.Head(ctx, bucket, key)
}

func (s *shortSighted) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	s.mu.Lock()
	if s.reads == nil {
		s.reads = map[string]int{}
	}
	if bucket == maps {
		s.reads[key]++
	}
	s.mu.Unlock()
	return s.Store.Get(ctx, bucket, key, off, length, etag)
}

func TestAListingThatLacksObjectsDeletesNothing(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		st := &shortSighted{Store: w.st}
		for i := range 150 {
			w.put(fmt.Sprintf("page-%03d", i), fmt.Sprint("page ", i))
		}
		reg := prometheus.NewRegistry()
		g := w.startWith(st, small(), slog.New(slog.DiscardHandler), reg)
		defer g.stop()
		settle(30 * time.Second)
		f := w.follower()
		f.read(g, 100)
		if len(f.log) != 150 {
			t.Fatalf("%d changes, want 150", len(f.log))
		}
		st.set(func() { st.hidden = func(string, string) bool { return true } }) // an empty listing
		settle(40 * time.Minute)
		st.set(func() { st.hidden = func(_, key string) bool { return strings.HasSuffix(key, "7") } })
		settle(20 * time.Minute)
		st.set(func() { st.hidden, st.fail = nil, true })
		settle(20 * time.Minute)
		st.set(func() { st.fail, st.gone = false, true })
		hintTo(t, g, "page-003")
		settle(20 * time.Minute)
		f.read(g, 100)
		if len(f.log) != 150 {
			t.Errorf("%d changes, want none more", len(f.log)-150)
		}
		w.agrees(g, f.now)
		st.set(func() { st.gone = false })

		// What is really gone goes, after a second look.
		for i := range 140 {
			w.remove(fmt.Sprintf("page-%03d", i))
		}
		settle(12 * time.Minute)
		f.read(g, 100)
		w.agrees(g, f.now)
		if n := gathered(t, reg, "preau_central_publish_passes_total", "doubtful"); n < 2 {
			t.Errorf("%v passes were doubted, want one of the empty listing and one of the great deletion", n)
		}
	})
}

// gathered is the value of a metric with a label's value.
func gathered(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func TestAnObjectIsReadOnce(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		st := &shortSighted{Store: w.st}
		for i := range 40 {
			w.put(fmt.Sprint("page-", i), fmt.Sprint("page ", i))
		}
		reg := prometheus.NewRegistry()
		g := w.startWith(st, small(), slog.New(slog.DiscardHandler), reg)
		settle(2 * time.Hour)
		g.stop()
		hashed := gathered(t, reg, "preau_central_publish_hashed_bytes_total", "")
		// The same content with other metadata is not read again.
		w.put("page-7", "page 7", "title", "Seven")
		reg = prometheus.NewRegistry()
		g = w.startWith(st, small(), slog.New(slog.DiscardHandler), reg)
		settle(2 * time.Hour)
		f := w.follower()
		f.read(g, 1000)
		w.agrees(w.start(w.st, small()), f.now)
		g.stop()
		if n := gathered(t, reg, "preau_central_publish_hashed_bytes_total", ""); hashed != 40*6+30 || n != 0 {
			t.Errorf("%v bytes were hashed, and %v more for new metadata", hashed, n)
		}
		if len(f.log) != 41 || f.now["page-7"].Meta.Title != "Seven" {
			t.Errorf("%d changes, %+v", len(f.log), f.now["page-7"])
		}
	})
}

// changing is an object that is overwritten whenever somebody has read it.
type changing struct {
	store.Store
	mu   sync.Mutex
	left int
}

func (c *changing) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, store.Info, error) {
	rc, info, err := c.Store.Get(ctx, bucket, key, off, length, etag)
	c.mu.Lock()
	defer c.mu.Unlock()
	if bucket == maps && err == nil && c.left > 0 {
		c.left--
		text := fmt.Sprint("version ", c.left)
		_, err = c.Put(ctx, bucket, key, strings.NewReader(text), int64(len(text)), store.Options{}, store.Condition{})
	}
	return rc, info, err
}

func TestAnObjectThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("a", "version 3")
		g := w.start(&changing{Store: w.st, left: 3}, small())
		defer g.stop()
		settle(5 * time.Minute)
		f := w.follower()
		f.read(g, 10)
		w.agrees(g, f.now)
		if len(f.log) != 1 {
			t.Errorf("%d changes, want that of the last version only", len(f.log))
		}
	})
}

func TestAnAudienceThatCannotBeUnderstoodIsNobody(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("good", "1", "audience", "0690001a, 0690002B")
		w.put("bad", "2", "audience", "everybody")
		w.put("narrowed", "3")
		w.put("odd", "4", "language", "français", "title", "Odd", "expires", "soon")
		var said bytes.Buffer
		reg := prometheus.NewRegistry()
		g := w.startWith(w.st, small(), slog.New(slog.NewTextHandler(&said, nil)), reg)
		settle(20 * time.Second)
		f := w.follower()
		f.read(g, 10)
		w.agrees(g, f.now, "bad")
		if got := f.now["good"].Meta.Audience; len(got) != 2 || got[0] != "0690001A" {
			t.Errorf("audience is %v", got)
		}
		if m := f.now["odd"].Meta; m.Language != "" || m.Title != "Odd" {
			t.Errorf("odd metadata is %+v", m)
		}
		w.put("narrowed", "3", "audience", "0690001A 0690002B")
		settle(30 * time.Minute)
		f.read(g, 10)
		w.agrees(g, f.now, "bad", "narrowed")
		changes := len(f.log)
		settle(time.Hour) // it is looked at once, not again and again
		w.put("bad", "2", "audience", "0690003C")
		settle(12 * time.Minute)
		f.read(g, 10)
		w.agrees(g, f.now, "narrowed")
		if len(f.log) != changes+1 {
			t.Errorf("%d changes, want %d", len(f.log), changes+1)
		}
		if n := gathered(t, reg, "preau_central_publish_held_objects", maps); n != 1 {
			t.Errorf("%v objects are held, want 1", n)
		}
		held, err := g.HeldBack(t.Context())
		if err != nil || len(held) != 1 || held[0].Key != "narrowed" || held[0].Bytes != 1 || !strings.Contains(held[0].Reason, "audience") {
			t.Errorf("what is held back is said to be %+v, %v", held, err)
		}
		for field, want := range map[string]float64{"language": 1, "expires": 1, "title": 0} {
			if n := gathered(t, reg, "preau_central_publish_metadata_faults_total", field); n != want {
				t.Errorf("%v faults of %s, want %v", n, field, want)
			}
		}
		g.stop()
		if s := said.String(); !strings.Contains(s, "held back") || !strings.Contains(s, "key=bad") || !strings.Contains(s, "audience") {
			t.Error("the log does not say why an object is held back")
		}
	})
}

func TestOneGatewayMakesThePasses(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
		passes := func(i int) float64 { return gathered(t, regs[i], "preau_central_publish_passes_total", "ok") }
		c := small()
		first := storetest.NewFaulty(w.st, 1)
		g := w.startWith(first, c, slog.New(slog.DiscardHandler), regs[0])
		settle(3 * time.Second)
		g2 := w.startWith(w.st, c, slog.New(slog.DiscardHandler), regs[1])
		defer g2.stop()
		settle(time.Hour)
		if passes(0) < 5 || passes(1) != 0 {
			t.Fatalf("%v and %v passes", passes(0), passes(1))
		}
		// Cut off from the store: the other one takes over within a minute or so.
		remove := first.Add(storetest.Fault{})
		settle(70 * time.Second)
		if gathered(t, regs[0], "preau_central_publish_leader", "") != 0 || gathered(t, regs[1], "preau_central_publish_leader", "") != 1 {
			t.Error("the lease has not changed hands")
		}
		had := passes(0)
		remove()
		settle(time.Hour)
		if passes(0) != had || passes(1) < 5 {
			t.Errorf("%v and %v passes", passes(0), passes(1))
		}
		// One that stops gives the lease up.
		g2.stop()
		settle(12 * time.Second)
		if gathered(t, regs[0], "preau_central_publish_leader", "") != 1 {
			t.Error("the lease was not given up")
		}
		g.stop()
	})
}

// A gateway that was killed has given nothing up, and is the holder still.
func TestAGatewayThatWasKilledGoesOnAtOnce(t *testing.T) {
	for after, want := range map[string]float64{"a": 1, "b": 0} {
		bubble(t, func(w *world) {
			t := w.t
			c := small()
			c.Gateway = "a"
			line := storetest.NewFaulty(w.st, 1)
			killed := w.start(line, c)
			settle(25 * time.Second) // it renews its lease meanwhile
			line.Add(storetest.Fault{})
			killed.stop()
			reg := prometheus.NewRegistry()
			c.Gateway = after
			g := w.startWith(w.st, c, slog.New(slog.DiscardHandler), reg)
			settle(3 * time.Second)
			if n := gathered(t, reg, "preau_central_publish_leader", ""); n != want {
				t.Errorf("after gateway a was killed %s leads: %v, want %v", after, n, want)
			}
			settle(70 * time.Second)
			if n := gathered(t, reg, "preau_central_publish_leader", ""); n != 1 {
				t.Errorf("a minute later %s leads: %v", after, n)
			}
			g.stop()
		})
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		reg := prometheus.NewRegistry()
		w.put("a", "1", "audience", "x", "language", "??")
		g := w.startWith(w.st, small(), slog.New(slog.DiscardHandler), reg)
		hintTo(t, g, "a")
		settle(20 * time.Second)
		g.stop()
		problems, err := testutil.GatherAndLint(reg)
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
		all, err := reg.Gather()
		if err != nil || len(all) < 12 {
			t.Errorf("%d metrics, %v", len(all), err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	tests := map[string]func(*publish.Config){
		"no buckets":      func(c *publish.Config) { c.Buckets = nil },
		"its own bucket":  func(c *publish.Config) { c.Buckets = []string{c.System} },
		"a bucket twice":  func(c *publish.Config) { c.Buckets = []string{maps, maps} },
		"a bad name":      func(c *publish.Config) { c.Buckets = []string{"A/b"} },
		"a bad system":    func(c *publish.Config) { c.System = "" },
		"no time":         func(c *publish.Config) { c.Every = 0 },
		"no looks":        func(c *publish.Config) { c.Look = 0 },
		"one worker":      func(c *publish.Config) { c.Workers = 1 },
		"pages of one":    func(c *publish.Config) { c.PageRows = 1 },
		"no rows at all":  func(c *publish.Config) { c.FoldRows = 0 },
		"negative memory": func(c *publish.Config) { c.TailBytes = -1 },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := small()
			spoil(&c)
			if _, err := publish.New(c, storetest.NewMemory(), testKey(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
				t.Error("it is taken")
			}
		})
	}
	if _, err := publish.New(small(), storetest.NewMemory(), nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Error("no key is taken")
	}
}
