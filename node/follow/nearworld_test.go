package follow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/cache/storage"
	"preau/discovery/rendezvous"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/wire"
)

// wireless is a network of handlers in memory, with interim responses.
type wireless struct {
	mu    sync.Mutex
	boxes map[string]http.Handler
	down  map[string]bool          // refuses connections
	quiet map[string]bool          // takes requests and says nothing
	alter map[string]bool          // changes a byte of each body
	cut   map[string]bool          // dies in the middle of a body
	asked map[string][]http.Header // of GETs and HEADs, by method and box
}

func newWireless() *wireless {
	return &wireless{
		boxes: map[string]http.Handler{}, down: map[string]bool{}, quiet: map[string]bool{}, alter: map[string]bool{},
		cut: map[string]bool{}, asked: map[string][]http.Header{},
	}
}

func (n *wireless) set(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn()
}

func (n *wireless) count(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked[what])
}

// trip is the way from one box to another.
type trip struct {
	n        *wireless
	from, to string
}

func (t trip) RoundTrip(r *http.Request) (*http.Response, error) {
	t.n.mu.Lock()
	what := r.Method + " " + t.to
	t.n.asked[what] = append(t.n.asked[what], r.Header.Clone())
	h, down, quiet := t.n.boxes[t.to], t.n.down[t.to], t.n.quiet[t.to]
	alter, cut := t.n.alter[t.to], t.n.cut[t.to]
	t.n.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	if quiet {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	ctx, cancel := context.WithCancel(r.Context())
	in, out := io.Pipe()
	w := &answering1xx{trace: httptrace.ContextClientTrace(ctx), header: http.Header{}, begun: make(chan struct{}), out: out, alter: alter, cut: cut}
	server := wire.WithPeer(httptest.NewRequestWithContext(ctx, r.Method, r.URL.RequestURI(), nil), wire.Peer{
		Identity: identity.Identity{Region: "region", Role: identity.Box, Name: identity.Name(t.from), School: school},
	})
	server.Header = r.Header.Clone()
	go func() {
		defer cancel()
		h.ServeHTTP(w, server)
		w.WriteHeader(http.StatusOK)
		_ = out.Close()
	}()
	select {
	case <-w.begun:
	case <-r.Context().Done(): // not ctx: that ends with the handler too
		_ = in.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
	stop := context.AfterFunc(r.Context(), func() { _ = in.CloseWithError(context.Canceled) })
	return &http.Response{StatusCode: w.status, Header: w.sent, Body: body{in, stop}, ContentLength: -1, Request: r}, nil
}

type body struct {
	*io.PipeReader
	stop func() bool
}

func (b body) Close() error {
	b.stop()
	return b.PipeReader.Close()
}

// answering1xx is an http.ResponseWriter as a server has it.
type answering1xx struct {
	trace      *httptrace.ClientTrace
	header     http.Header
	status     int
	sent       http.Header
	begun      chan struct{}
	out        *io.PipeWriter
	alter, cut bool
}

func (w *answering1xx) Header() http.Header { return w.header }

func (w *answering1xx) WriteHeader(status int) {
	switch {
	case w.status != 0:
	case status < 200:
		if w.trace != nil && w.trace.Got1xxResponse != nil {
			_ = w.trace.Got1xxResponse(status, nil)
		}
	default:
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	}
}

func (w *answering1xx) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.alter && w.status == http.StatusOK {
		p = slices.Clone(p)
		p[len(p)/2] ^= 1
	}
	if w.cut && w.status == http.StatusOK {
		n, _ := w.out.Write(p[:len(p)/2])
		_ = w.out.CloseWithError(io.ErrUnexpectedEOF)
		return n, io.ErrUnexpectedEOF
	}
	return w.out.Write(p)
}

// neighbours is who is there, as one box sees it.
type neighbours struct {
	n      *wireless
	me     string
	mu     sync.Mutex
	names  []string // all boxes, this one too
	owner  string   // if not empty, it comes first whatever the key
	told   []string
	forget bool // leave out who is lost
}

func (b *neighbours) Order(key string) (others []NearBox, mine bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var nodes []rendezvous.Node
	for _, name := range b.names {
		nodes = append(nodes, rendezvous.Node{Name: name, Weight: 1})
	}
	order := rendezvous.Order(key, nodes)
	slices.SortStableFunc(order, func(x, y rendezvous.Node) int {
		switch b.owner {
		case x.Name:
			return -1
		case y.Name:
			return 1
		}
		return 0
	})
	for i, node := range order {
		if node.Name == b.me {
			mine = i == 0
			continue
		}
		others = append(others, NearBox{Name: node.Name, RoundTripper: trip{b.n, b.me, node.Name}})
	}
	return others, mine
}

func (b *neighbours) Report(name, _ string) { b.note("altered " + name) }

func (b *neighbours) Lost(name string) {
	b.note("lost " + name)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forget {
		b.names = slices.DeleteFunc(b.names, func(n string) bool { return n == name })
	}
}

func (b *neighbours) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, what)
}

func (b *neighbours) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(slices.Compact(slices.Clone(b.told)), ", ")
}

// overThere is the region beyond the line.
type overThere struct {
	mu     sync.Mutex
	blocks map[block.Digest][]byte
	given  map[block.Digest]int
	takes  time.Duration
	away   bool
}

func (o *overThere) get(ctx context.Context, _ string, d block.Digest) ([]byte, error) {
	o.mu.Lock()
	takes, away := o.takes, o.away
	o.mu.Unlock()
	if away {
		return nil, errNoServers
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.blocks[d]
	if !ok {
		return nil, block.ErrNotFound
	}
	o.given[d]++
	return p, nil
}

// crossed is how often a block came over the line, at least and at most.
func (o *overThere) crossed() (least, most int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	least = 1 << 30
	for d := range o.blocks {
		least, most = min(least, o.given[d]), max(most, o.given[d])
	}
	return least, most
}

func (o *overThere) set(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn()
}

// hall is a school with several boxes.
type hall struct {
	t     *testing.T
	n     *wireless
	line  *overThere
	boxes []*hallBox
}

type hallBox struct {
	*Follower
	copy *fakeCopy
	near *neighbours
	name string
	reg  *prometheus.Registry
}

// newHall is to be called in a bubble.
func newHall(t *testing.T, names ...string) *hall {
	t.Helper()
	h := &hall{t: t, n: newWireless(), line: &overThere{blocks: map[block.Digest][]byte{}, given: map[block.Digest]int{}}}
	log := slog.New(slog.DiscardHandler)
	for _, name := range names {
		f, c := opened(t)
		b := &hallBox{Follower: f, copy: c, name: name, reg: prometheus.NewRegistry()}
		b.near = &neighbours{n: h.n, me: name, names: slices.Clone(names), forget: true}
		f.id.Name = identity.Name(name)
		f.supply = newSupply(h.line.get, log, f.met)
		f.SetNear(b.near)
		f.block = f.supply.list
		var err error
		if f.shelf, err = shelf.New(shelf.DefaultConfig(), published{f}, f.storage.Load, blockSource{f.supply}, log, b.reg); err != nil {
			t.Fatal(err)
		}
		f.stock = f.shelf
		st, err := storage.Open(storage.DefaultConfig(t.TempDir(), 64<<20), log, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- st.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		if err := f.Opened(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		h.n.boxes[name] = f.NearBlocks()
		h.boxes = append(h.boxes, b)
	}
	return h
}

// publish tells all boxes of a resource, in blocks of block.Size, or as a list
// says if cut.
func (h *hall) publish(id string, data []byte, cut bool) {
	h.t.Helper()
	var r catalogue.Resource
	if cut {
		s := &shop{blocks: map[block.Digest][]byte{}, of: map[string]bool{}}
		r = s.publish(h.t, id, data)
		h.line.set(func() {
			maps.Copy(h.line.blocks, s.blocks)
		})
	} else {
		r = resourceOf(id, "geo", int64(len(data)))
		r.SHA256, r.Blocks = block.Sum(data), nil
		for p := range slices.Chunk(data, block.Size) {
			r.Blocks = append(r.Blocks, block.Sum(p))
			h.line.set(func() { h.line.blocks[block.Sum(p)] = p })
		}
	}
	for _, b := range h.boxes {
		b.copy.apply(h.t, record(h.t, r))
	}
}

func (h *hall) box(name string) *hallBox {
	for _, b := range h.boxes {
		if b.name == name {
			return b
		}
	}
	h.t.Fatalf("no box %s", name)
	return nil
}

// owned makes a box the owner of everything, as all see it.
func (h *hall) owned(by string) {
	for _, b := range h.boxes {
		b.near.mu.Lock()
		b.near.owner = by
		b.near.mu.Unlock()
	}
}

// device is what a response is for, and compares it with what it should be.
type device struct {
	header http.Header
	status int
	want   []byte
	got    int
	wrong  bool
}

func (d *device) Header() http.Header { return d.header }

func (d *device) WriteHeader(status int) { d.status = status }

func (d *device) Write(p []byte) (int, error) {
	if d.status == http.StatusOK {
		d.wrong = d.wrong || d.got+len(p) > len(d.want) || !bytes.Equal(p, d.want[d.got:d.got+len(p)])
		d.got += len(p)
	}
	return len(p), nil
}

// read has a device get a resource.
func (b *hallBox) read(ctx context.Context, id string, want []byte) *device {
	d := &device{header: http.Header{}, want: want}
	it, err := published{b.Follower}.Item(id)
	if err != nil {
		return d
	}
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // it is the value itself
			panic(v)
		}
	}()
	b.shelf.ServeHTTP(d, httptest.NewRequestWithContext(ctx, http.MethodGet, it.Path(), nil))
	return d
}

func (b *hallBox) digests(t *testing.T, id string) []block.Digest {
	t.Helper()
	r, err := b.resource(id)
	if err != nil {
		t.Fatal(err)
	}
	return r.Blocks
}

// from is how many blocks came to a box's shelf from there.
func (b *hallBox) from(t *testing.T, origin shelf.Origin) int {
	t.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "preau_shelf_fetched_blocks_total" && m.GetLabel()[0].GetValue() == string(origin) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("nothing is counted from %s", origin)
	return 0
}
