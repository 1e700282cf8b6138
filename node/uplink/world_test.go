package uplink_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/block"
	"preau/node/uplink"
	"preau/replication/catalogue"
	"preau/replication/central"
	"preau/replication/central/deposit"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/kv/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const here = identity.Region("0123456789abcdef")

var quiet = slog.New(slog.DiscardHandler)

// region is a server with a catalogue of its own, that always leads.
type region struct {
	t     *testing.T
	state *catalogue.State

	mu     sync.Mutex
	index  uint64
	blocks map[block.Digest][]byte
	owner  string
	ask    func(block.Digest) ([]byte, error)
}

func newRegion(t *testing.T) *region {
	t.Helper()
	state, err := catalogue.Open(kvtest.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	return &region{t: t, state: state, blocks: make(map[block.Digest][]byte)}
}

func (r *region) ID() identity.Region { return here }
func (r *region) Leads() bool         { return true }

func (r *region) Submit(_ context.Context, ops ...catalogue.Op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := catalogue.Encode(catalogue.NewCommand("server/alpha", time.Now(), ops...))
	if err != nil {
		return err
	}
	r.index++
	results, _, err := r.state.Apply([]catalogue.Entry{{Index: r.index, Term: 1, Data: data}})
	if err != nil {
		return err
	}
	if results[0].Code != "" {
		return fmt.Errorf("%w: %s", uplink.ErrRefused, results[0].Detail)
	}
	return nil
}

func get[T catalogue.Fact](r *region, k catalogue.Kind, id string) (T, bool, error) {
	var zero T
	v, err := r.state.View()
	if err != nil {
		return zero, false, err
	}
	defer v.Close()
	rec, err := v.Get(k, id)
	if errors.Is(err, catalogue.ErrNotFound) || err == nil && rec.Deleted {
		return zero, false, nil
	}
	if err != nil {
		return zero, false, err
	}
	f, err := catalogue.Body[T](rec)
	return f, err == nil, err
}

func list[T catalogue.Fact](r *region, k catalogue.Kind) []T {
	v, err := r.state.View()
	if err != nil {
		r.t.Error(err)
		return nil
	}
	defer v.Close()
	var out []T
	if err := v.List(k, "", func(rec catalogue.Record) bool {
		if !rec.Deleted {
			f, err := catalogue.Body[T](rec)
			if err != nil {
				r.t.Error(err)
			}
			out = append(out, f)
		}
		return true
	}); err != nil {
		r.t.Error(err)
	}
	return out
}

func (r *region) Resource(id string) (catalogue.Resource, bool, error) {
	return get[catalogue.Resource](r, catalogue.KindResource, id)
}

func (r *region) Collection(id string) (bool, error) {
	_, ok, err := get[catalogue.Collection](r, catalogue.KindCollection, id)
	return ok, err
}

func (r *region) Source(bucket string) (catalogue.Source, bool, error) {
	return get[catalogue.Source](r, catalogue.KindSource, bucket)
}

func (r *region) Resources(_ context.Context, bucket string, fn func(string) bool) error {
	for _, res := range list[catalogue.Resource](r, catalogue.KindResource) {
		if res.Bucket == bucket && !fn(res.ID) {
			break
		}
	}
	return nil
}

func (r *region) Deposits(_ context.Context, fn func(catalogue.Deposit) bool) error {
	for _, d := range list[catalogue.Deposit](r, catalogue.KindDeposit) {
		if !d.Kept && !fn(d) {
			break
		}
	}
	return nil
}

func (r *region) Read(_ context.Context, d block.Digest) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.blocks[d]; ok {
		return p, nil
	}
	return nil, block.ErrNotFound
}

func (r *region) Keep(_ context.Context, d block.Digest, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks[d] = bytes.Clone(p)
	return nil
}

// commands is how many there have been.
func (r *region) commands() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index
}

func (r *region) Owner(block.Digest) string { return r.owner }

func (r *region) Ask(_ context.Context, _ string, d block.Digest, _ string) ([]byte, error) {
	return r.ask(d)
}

// gateway publishes one bucket, "lecons", and takes deposits in a real depository
// over a store in memory.
type gateway struct {
	t      *testing.T
	key    ed25519.PrivateKey
	store  store.Store
	deps   *deposit.Depository
	bodies atomic.Int64 // times that a body was asked for

	mu      sync.Mutex
	epoch   string
	changes []central.Change
	files   map[block.Digest][]byte // by their list
	lists   map[block.Digest][]byte
	news    chan struct{}
	hurdle  func(central.Deposit) error
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{
		t: t, key: key, store: storetest.NewMemory(), epoch: "one", news: make(chan struct{}),
		files: make(map[block.Digest][]byte), lists: make(map[block.Digest][]byte),
	}
	for _, b := range []string{"deposits", "system"} {
		if err := g.store.MakeBucket(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	g.deps, err = deposit.New(deposit.Config{Bucket: "deposits", System: "system"}, g.store, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gateway) handler() http.Handler {
	g.t.Helper()
	who := func(*http.Request) (identity.Identity, bool) {
		return identity.Identity{Region: here, Role: identity.Server, Name: "alpha"}, true
	}
	s, err := central.NewServer(central.About{}, g, hurdles{g}, who, quiet)
	if err != nil {
		g.t.Fatal(err)
	}
	mux := http.NewServeMux()
	s.Register(mux)
	return mux
}

func (g *gateway) url() string {
	g.t.Helper()
	web := httptest.NewServer(g.handler())
	g.t.Cleanup(web.Close)
	return web.URL
}

// hurdles is a depository that fails when the test says so.
type hurdles struct{ g *gateway }

// over is what the test says to a deposit.
func (h hurdles) over(d central.Deposit) error {
	h.g.mu.Lock()
	hurdle := h.g.hurdle
	h.g.mu.Unlock()
	if hurdle == nil {
		return nil
	}
	return hurdle(d)
}

func (h hurdles) Begin(ctx context.Context, d central.Deposit) (central.DepositState, error) {
	if err := h.over(d); err != nil {
		return central.DepositState{}, err
	}
	return h.g.deps.Begin(ctx, d)
}

func (h hurdles) Deliver(ctx context.Context, d central.Deposit, body io.Reader) (central.DepositState, error) {
	if err := h.over(d); err != nil {
		return central.DepositState{}, err
	}
	return h.g.deps.Deliver(ctx, d, body)
}

func (h hurdles) PutPart(ctx context.Context, r identity.Region, id string, n int, body io.Reader, size int64, d block.Digest) error {
	return h.g.deps.PutPart(ctx, r, id, n, body, size, d)
}

func (h hurdles) Complete(ctx context.Context, r identity.Region, id string) (central.DepositState, error) {
	return h.g.deps.Complete(ctx, r, id)
}

func (g *gateway) Buckets() []string { return []string{"lecons"} }
func (g *gateway) Key() []byte       { return g.key.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // the standard library's promise

func (g *gateway) Changes(ctx context.Context, bucket string, c central.Cursor, limit int, wait time.Duration) (central.Changes, error) {
	if bucket != "lecons" {
		return central.Changes{}, central.ErrNoBucket
	}
	timeout := time.After(wait)
	for {
		g.mu.Lock()
		from := c.Seq
		if c.Epoch != g.epoch {
			from = 0
		}
		out := central.Changes{Epoch: g.epoch, Head: uint64(len(g.changes))}
		if from < out.Head {
			out.Changes = slices.Clone(g.changes[from:min(out.Head, from+uint64(limit))])
		}
		news := g.news
		g.mu.Unlock()
		if len(out.Changes) > 0 || c.Epoch != "" && c.Epoch != out.Epoch { // who knows nothing yet waits as well
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-timeout:
			return out, nil
		case <-news:
		}
	}
}

func (g *gateway) List(_ context.Context, _ string, d block.Digest) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p, ok := g.lists[d]; ok {
		return p, nil
	}
	return nil, block.ErrNotFound
}

func (g *gateway) Body(_ context.Context, _ string, d block.Digest, off, length int64) (io.ReadCloser, error) {
	g.bodies.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.files[d]
	if !ok {
		return nil, central.ErrGone
	}
	return io.NopCloser(bytes.NewReader(p[off : off+length])), nil
}

// anew begins another history.
func (g *gateway) anew(epoch string, changes []central.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch, g.changes = epoch, changes
	close(g.news)
	g.news = make(chan struct{})
}

func (g *gateway) tell(c central.Change, err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.Seq = uint64(len(g.changes) + 1)
	g.changes = append(g.changes, c)
	close(g.news)
	g.news = make(chan struct{})
}

func (g *gateway) publish(key string, body []byte, m central.Meta) central.Object {
	g.t.Helper()
	cut, err := hold.SplitContent(g.t.Context(), bytes.NewReader(body), int64(len(body)), func(context.Context, block.Digest, []byte) error { return nil })
	if err != nil {
		g.t.Fatal(err)
	}
	o := central.Object{
		Bucket: "lecons", Key: key, ETag: "e-" + key, Length: cut.Length, SHA256: cut.SHA256,
		Modified: central.Milli(time.UnixMilli(1e12)), Meta: m,
	}
	if cut.Length > 0 {
		raw, err := hold.EncodeList(cut.Entries)
		if err != nil {
			g.t.Fatal(err)
		}
		o.List = block.Sum(raw)
		g.mu.Lock()
		g.lists[o.List], g.files[o.List] = raw, body
		g.mu.Unlock()
	}
	g.tell(central.Sign(g.key, o))
	return o
}

func (g *gateway) remove(key string) {
	g.t.Helper()
	g.tell(central.SignDeleted(g.key, "lecons", key))
}

// begin runs an uplink until the test ends.
func begin(t *testing.T, r *region, g *gateway) *uplink.Uplink {
	t.Helper()
	rt := &toward{to: g.url(), t: &http.Transport{}}
	t.Cleanup(func() { rt.t.CloseIdleConnections() })
	u, _ := beginOver(t, r, rt)
	return u
}

// beginOver is begin by another way.
func beginOver(t *testing.T, r *region, rt http.RoundTripper) (*uplink.Uplink, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	u, err := uplink.New(uplink.Config{}, r, rt, rt, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	return u, reg
}

// inside hands requests to a handler, without a network. gate, if not nil, holds
// them back until it is closed.
type inside struct {
	h    http.Handler
	gate *chan struct{}
}

func (i inside) RoundTrip(r *http.Request) (*http.Response, error) {
	if i.gate != nil {
		select {
		case <-*i.gate:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	w := httptest.NewRecorder()
	i.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// toward sends every request to one place.
type toward struct {
	to string
	t  *http.Transport
}

func (c *toward) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", c.to[len("http://"):]
	return c.t.RoundTrip(r)
}

// until waits for something that must come.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it never came: %s", what)
		}
	}
}
