package wire_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/kvtest"
	"preau/replication/wire"
)

// boxStore is a box's store in memory.
type boxStore struct{ *kvtest.Memory }

func (s boxStore) read(fn func(kv.View) error) error {
	v, err := s.View()
	if err != nil {
		return err
	}
	return errors.Join(fn(v), v.Close())
}

// Get implements feed.Store.
func (s boxStore) Get(key []byte) (value []byte, err error) {
	err = s.read(func(v kv.View) error { value, err = v.Get(key); return err })
	return value, err
}

// Scan implements feed.Store.
func (s boxStore) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	return s.read(func(v kv.View) error { return v.Scan(prefix, after, fn) })
}

// Write implements feed.Store.
func (s boxStore) Write(changes []feed.Change) error {
	return s.Update(func(tx kv.Tx) error {
		for _, c := range changes {
			var err error
			if c.Delete {
				err = tx.Delete(c.Key)
			} else {
				err = tx.Put(c.Key, c.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// publisher is a catalogue and the feed of it, behind a listener.
type publisher struct {
	of    *region
	state *catalogue.State
	feed  *feed.Server

	mu    sync.Mutex
	index uint64
	proto map[string]string // by path, of what came last
	at    *serving
}

func (p *publisher) apply(t *testing.T, facts ...catalogue.Fact) uint64 {
	t.Helper()
	var ops []catalogue.Op
	for _, f := range facts {
		op, err := catalogue.NewPut(f)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, op)
	}
	data, err := catalogue.Encode(catalogue.NewCommand("operator/anne", time.Now(), ops...))
	if err != nil {
		t.Fatal(err)
	}
	p.index++
	results, changed, err := p.state.Apply([]catalogue.Entry{{Index: p.index, Term: 1, Data: data}})
	if err != nil || results[0].Code != "" {
		t.Fatalf("%+v, %v", results, err)
	}
	if p.feed != nil {
		p.feed.Publish(p.index, changed)
	}
	return p.index
}

// begin serves the feed, at another address each time.
func (p *publisher) begin(t *testing.T) {
	t.Helper()
	handler := p.feed.Handler()
	cut := func(c *wire.Config) { c.Grace = 50 * time.Millisecond } // streams in the middle
	s := p.of.serve(t, options{cfg: cut, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.proto[r.URL.Path] = r.Proto
		p.mu.Unlock()
		handler.ServeHTTP(w, r)
	})})
	p.mu.Lock()
	p.at = s
	p.mu.Unlock()
}

// subscriber is what a box knows of its region: the one server there is.
type subscriber struct {
	*publisher
	client func() http.RoundTripper
}

// Servers implements feed.Region.
func (s subscriber) Servers() []feed.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []feed.Target{{Name: "s1", URL: "https://" + s.at.target.Address}}
}

// Client implements feed.Region.
func (s subscriber) Client(feed.Target) http.RoundTripper { return s.client() }

// Trust implements feed.Region.
func (s subscriber) Trust() (*x509.CertPool, time.Time) {
	pool := x509.NewCertPool()
	pool.AddCert(s.of.authority.Certificate())
	return pool, time.Now()
}

// Held implements feed.Region.
func (subscriber) Held() feed.Held { return feed.Held{} }

func lesson(id string) catalogue.Resource {
	return catalogue.Resource{
		ID: id, Collection: "maths", Title: id, Filename: id + ".pdf", ContentType: "application/pdf",
		Modified: time.Unix(1e9, 0).UTC(), Length: 5, SHA256: block.Digest{1}, Blocks: []block.Digest{{1}},
	}
}

// The feed is an answer that never ends, with requests beside it: whatever is
// true of it over HTTP/2 must be true over HTTP/3.
func TestTheFeedOverEitherWay(t *testing.T) {
	for way, proto := range map[string]string{overTCP: "HTTP/2.0", overQUIC: "HTTP/3.0"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			followOver(t, proto)
		})
	}
}

func followOver(t *testing.T, proto string) {
	t.Helper()
	ours := newRegion(t, time.Now())
	p := &publisher{of: ours, proto: map[string]string{}}
	var err error
	if p.state, err = catalogue.Open(kvtest.NewMemory()); err != nil {
		t.Fatal(err)
	}
	p.apply(t, catalogue.Region{ID: ours.id, Name: "Lyon", Epoch: 1, CA: ours.authority.PEM(), MarkKey: [32]byte{1}}, catalogue.Collection{ID: "maths", Title: "Maths"})
	for i := range 40 { // a snapshot of several parts
		var many []catalogue.Fact
		for j := range 50 {
			many = append(many, lesson(fmt.Sprintf("r-%d-%d", i, j)))
		}
		p.apply(t, many...)
	}
	cfg := feed.DefaultConfig()
	cfg.Region, cfg.Name = ours.id, "s1"
	source := feed.FromCatalogue(p.state, func() uint64 { return 0 })
	creds := ours.creds(t, ours.node(identity.Server, "s1"), time.Now())
	if p.feed, err = feed.New(cfg, source, creds.Certificate, wire.IdentityOf, quiet, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	stopFeed := running(t, p.feed.Run)
	p.begin(t)

	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil)
	copied, err := feed.OpenCopy(boxStore{kvtest.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{}, 1)
	copied.OnChange(func([]catalogue.Record, feed.Seq) {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	reached := func(what string, index uint64) {
		t.Helper()
		for {
			if at, until := copied.Cursor(); at.Index >= index && until == 0 {
				return
			}
			select {
			case <-heard:
			case <-time.After(time.Minute):
				at, until := copied.Cursor()
				t.Fatalf("%s: stands at %d of %d, until %d", what, at.Index, index, until)
			}
		}
	}
	reg := prometheus.NewRegistry()
	fc := feed.DefaultFollowerConfig()
	fc.Box, fc.Ack = ours.box("b1"), 10*time.Millisecond
	fc.Spread = time.Second // there is one server, and it goes
	current := transport(t, d, p.at.target)
	var mu sync.Mutex
	f, err := feed.NewFollower(fc, copied, subscriber{p, func() http.RoundTripper {
		mu.Lock()
		defer mu.Unlock()
		return current
	}}, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	snapshots := func(want int) {
		t.Helper()
		const text = "# HELP %[1]s %[2]s\n# TYPE %[1]s counter\n%[1]s %[3]d\n"
		const name, help = "preau_feed_box_snapshots_total", "Snapshots begun."
		if err := testutil.GatherAndCompare(reg, strings.NewReader(fmt.Sprintf(text, name, help, want)), name); err != nil {
			t.Error(err)
		}
	}

	stop := running(t, f.Run)
	reached("subscribe", p.index)
	if _, err := copied.Get(catalogue.KindResource, "r-39-49"); err != nil {
		t.Errorf("of the snapshot: %v", err)
	}
	snapshots(1)
	reached("a change", p.apply(t, lesson("live")))

	stop() // the box is away for a while
	p.apply(t, lesson("meanwhile"))
	stop = running(t, f.Run)
	reached("resume", p.index)

	// The server goes and comes back elsewhere, in the middle of a stream.
	old := p.at
	p.begin(t)
	next := transport(t, d, p.at.target)
	mu.Lock()
	current = next
	mu.Unlock()
	if err := old.stop(); err != nil {
		t.Error(err)
	}
	reached("resume elsewhere", p.apply(t, lesson("elsewhere")))
	snapshots(1)

	reached("purge", p.apply(t, catalogue.Purge{ID: "u-1", Scope: catalogue.ScopeResource, Target: "live"}))
	if _, err := copied.Get(catalogue.KindResource, "live"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("a purged resource: %v", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		who := p.feed.Presence()
		if len(who) == 1 && who[0].Connected && who[0].Acked == p.index {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not acknowledged: %+v", who)
		}
	}
	stop()
	stopFeed()
	for _, path := range []string{feed.Path, feed.AckPath} {
		if got := p.proto[path]; got != proto {
			t.Errorf("%s came over %q, want %s", path, got, proto)
		}
	}
}

// running runs something until the returned function is called, or the test ends.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
