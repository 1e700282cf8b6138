package simtest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/consensus/consensustest"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/kv/kvtest"
)

// server is a server of the region with what it keeps when it dies.
type server struct {
	w      *world
	name   string
	cfg    consensus.Config
	disk   *consensustest.Disk
	mem    *kvtest.Memory
	offset atomic.Int64 // by which its clock is wrong
	run    atomic.Pointer[running]
	due    int // round in which it starts again
}

func raftAt(server string) string { return server + ":1" }
func httpAt(server string) string { return server + ":2" }

func newServer(w *world, name string) *server {
	s := &server{w: w, name: name, disk: consensustest.NewDisk(), mem: kvtest.NewMemory()}
	s.cfg = consensus.DefaultConfig()
	s.cfg.ID, s.cfg.ClusterID, s.cfg.Address, s.cfg.Disk = consensus.ServerID(name), string(here), raftAt(name), s.disk
	// So that a server that was away during a burst needs a snapshot. Each time
	// that a full disk refuses entries raft goes back by one; with fewer trailing
	// logs it would go back beyond them, and never find its way out.
	s.cfg.SnapshotThreshold, s.cfg.SnapshotInterval, s.cfg.TrailingLogs = 12, 2*time.Second, 40
	return s
}

func (s *server) self() consensus.Server {
	return consensus.Server{ID: s.cfg.ID, Address: s.cfg.Address, Voter: true}
}

// now is what the server's clock says.
func (s *server) now() time.Time {
	return time.Now().Add(time.Duration(s.offset.Load())).UTC().Truncate(time.Millisecond)
}

// running is one life of a server.
type running struct {
	s     *server
	state *catalogue.State
	node  *consensus.Node
	feed  *feed.Server
	http  *http.Server
	peers *http.Transport

	stopFeed, stopNode context.CancelFunc
	feedEnd, nodeEnd   chan error
	httpEnd            chan error
	ctx                context.Context
	kill               context.CancelFunc

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	revoked map[identity.Name]bool
}

// machine is node/region's, with the oracle looking on.
type machine struct {
	w     *world
	name  string
	state *catalogue.State
	run   *running // nil while a region is recovered
}

// Apply implements consensus.Machine.
func (m *machine) Apply(batch []consensus.Entry) ([]any, error) {
	entries := make([]catalogue.Entry, len(batch))
	for i, e := range batch {
		entries[i] = catalogue.Entry{Index: e.Index, Term: e.Term, Data: e.Data}
	}
	results, changed, err := m.state.Apply(entries)
	if err != nil {
		return nil, fmt.Errorf("keep what the region decided: %w", err)
	}
	out := make([]any, len(results))
	for i, r := range results {
		out[i] = r
	}
	if len(batch) == 0 {
		return out, nil
	}
	m.w.oracle.note(m.name, batch, results, changed)
	last := batch[len(batch)-1].Index
	if last%8 == 0 {
		m.w.oracle.state(m.name, last, m.state)
	}
	if m.run != nil {
		m.run.changed(last, changed)
	}
	return out, nil
}

// Applied implements consensus.Machine.
func (m *machine) Applied() (index, term uint64) { return m.state.Applied() }

// Snapshot implements consensus.Machine.
func (m *machine) Snapshot() (consensus.Snapshot, error) { return m.state.Snapshot() }

// Restore implements consensus.Machine.
func (m *machine) Restore(r io.Reader, index, _ uint64) error {
	if err := m.state.Restore(r); err != nil {
		return fmt.Errorf("restore catalogue: %w", err)
	}
	m.w.count("log snapshots installed", 1)
	if m.run != nil {
		m.run.replaced(index)
	}
	return nil
}

func (r *running) changed(index uint64, records []catalogue.Record) {
	out := false
	r.mu.Lock()
	for _, rec := range records {
		if name, ok := r.s.w.revokes(rec); ok {
			r.revoked[name] = !rec.Deleted
			out = out || !rec.Deleted
		}
	}
	r.mu.Unlock()
	if out {
		r.dropRevoked()
	}
	r.feed.Publish(index, records)
}

func (r *running) replaced(index uint64) {
	if err := r.loadRevoked(); err != nil {
		r.s.w.fail("%s: %v", r.s.name, err)
	}
	r.feed.Replaced(index)
	r.dropRevoked()
}

func (r *running) loadRevoked() error {
	v, err := r.state.View()
	if err != nil {
		return err
	}
	revoked, err := revokedIn(r.s.w, v)
	r.mu.Lock()
	r.revoked = revoked
	r.mu.Unlock()
	return errors.Join(err, v.Close())
}

func revokedIn(w *world, v *catalogue.View) (map[identity.Name]bool, error) {
	out := map[identity.Name]bool{}
	err := v.List(catalogue.KindRevocation, "", func(rec catalogue.Record) bool {
		if name, ok := w.revokes(rec); ok {
			out[name] = true
		}
		return true
	})
	return out, err
}

// dropRevoked ends the connections of those who may not have one any more.
func (r *running) dropRevoked() {
	r.mu.Lock()
	var drop []net.Conn
	for c := range r.conns {
		if r.revoked[identity.Name(c.RemoteAddr().String())] {
			drop = append(drop, c)
		}
	}
	r.mu.Unlock()
	for _, c := range drop {
		_ = c.Close() // never fails
	}
}

// peer is whom a connection comes from, as its certificate would say.
func (r *running) peer(req *http.Request) (identity.Identity, bool) {
	b := r.s.w.box(req.RemoteAddr)
	if b == nil {
		return identity.Identity{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return b.id, !r.revoked[b.id.Name]
}

// start brings the server up with what lies on its disks.
func (s *server) start() {
	w := s.w
	if s.run.Load() != nil {
		return
	}
	w.trace("start %s", s.name)
	w.uncut(s.name)
	r := &running{s: s, conns: map[net.Conn]struct{}{}, revoked: map[identity.Name]bool{}}
	var err error
	if r.state, err = catalogue.Open(s.mem); err != nil {
		w.t.Fatalf("open catalogue of %s: %v", s.name, err)
	}
	if err := r.loadRevoked(); err != nil {
		w.t.Fatal(err)
	}
	fc := w.feedConfig
	fc.Region, fc.Name = here, identity.Name(s.name)
	cert := w.ca.certs[s.name]
	source := feed.FromCatalogue(r.state, func() uint64 { return 0 })
	if r.feed, err = feed.New(fc, source, func() (*tls.Certificate, error) { return cert, nil }, r.peer, quiet, prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err)
	}
	m := &machine{w: w, name: s.name, state: r.state, run: r}
	if r.node, err = consensus.Open(s.cfg, m, w.net.Endpoint(raftAt(s.name)), quiet, prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err)
	}
	if w.founding == s.name {
		if err := r.node.Bootstrap([]consensus.Server{s.self()}); err != nil {
			w.t.Fatal(err)
		}
	}
	front := w.net.Endpoint(httpAt(s.name))
	r.peers = transport(front)
	mux := http.NewServeMux()
	mux.Handle("/feed", r.feed.Handler())
	mux.Handle("/feed/", r.feed.Handler())
	mux.HandleFunc("POST /apply", r.serveApply)
	mux.HandleFunc("GET /index", r.serveIndex)
	r.http = &http.Server{
		Handler: mux, ConnState: r.connState, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	r.live(front)
	// Until raft has begun a node on a disk that takes nothing can't be stopped.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := r.node.ReadIndex(ctx); err == nil {
		w.trace("%s leads at once", s.name)
	}
	s.run.Store(r)
}

// transport goes over the network in memory. A dial outlives the request that it
// was for, so it has an end of its own.
func transport(from *consensustest.Endpoint) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return from.DialServer(ctx, to)
	}}
}

func (r *running) live(front net.Listener) {
	var feedCtx, nodeCtx context.Context
	r.ctx, r.kill = context.WithCancel(context.Background())
	feedCtx, r.stopFeed = context.WithCancel(context.Background())
	nodeCtx, r.stopNode = context.WithCancel(context.Background())
	r.feedEnd, r.nodeEnd, r.httpEnd = make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { r.feedEnd <- r.feed.Run(feedCtx) }()
	go func() { r.nodeEnd <- r.node.Run(nodeCtx) }()
	go func() { r.httpEnd <- r.http.Serve(front) }()
}

func (r *running) connState(c net.Conn, state http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch state {
	case http.StateNew:
		r.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(r.conns, c)
	case http.StateActive, http.StateIdle:
	}
}

// halt stops the server in order: the feed sends the boxes elsewhere, raft hands
// on its leadership, then the port and the disk.
func (s *server) halt() {
	r := s.run.Swap(nil)
	if r == nil {
		return
	}
	s.w.trace("halt %s", s.name)
	r.stopFeed()
	s.w.check(<-r.feedEnd, "feed of "+s.name)
	r.stopNode()
	s.w.check(<-r.nodeEnd, "consensus of "+s.name)
	r.kill()
	s.w.check(r.http.Close(), "port of "+s.name)
	s.w.ended(<-r.httpEnd, "port of "+s.name)
	s.w.check(s.mem.Close(), "disk of "+s.name)
	s.mem = s.mem.Crash() // what is there when it is opened again
}

// die is kill -9: what is durable stays, and not a byte more leaves.
func (s *server) die() {
	r := s.run.Swap(nil)
	if r == nil {
		return
	}
	s.w.trace("kill %s", s.name)
	s.w.isolate(s.name)
	s.disk.Crash()
	s.mem = s.mem.Crash()
	s.w.check(r.http.Close(), "port of "+s.name)
	r.kill()
	r.stopFeed()
	r.stopNode()
	s.w.ended(<-r.httpEnd, "port of "+s.name)
	s.w.check(<-r.feedEnd, "feed of "+s.name)
	// Killed before it had begun, it says so; raft gives the text only.
	if err := <-r.nodeEnd; err == nil || !strings.Contains(err.Error(), consensustest.ErrCrashed.Error()) {
		s.w.check(err, "consensus of "+s.name)
	}
}
