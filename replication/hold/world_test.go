package hold_test

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/block"
	"preau/cache/block/blocktest"
	"preau/replication/hold"
	"preau/replication/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const grace = 24 * time.Hour

// disk is a store in memory that can be walked, with the times that a real one
// has. It outlives the shelves built on it.
type disk struct {
	*blocktest.Memory
	mu      sync.Mutex
	files   map[block.Digest]file
	putErr  error
	openErr error
	walkErr error
	walked  func()                        // called after each walk
	opened  func(block.Block) block.Block // what Open returns instead
}

type file struct {
	size     int64
	modified time.Time
}

func newDisk(limit int64) *disk {
	return &disk{Memory: blocktest.NewMemory(limit), files: make(map[block.Digest]file)}
}

func (d *disk) Put(ctx context.Context, r block.Ring, name block.Digest, p []byte) (block.Segment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.putErr != nil {
		return 0, d.putErr
	}
	_, there := d.Has(name)
	seg, err := d.Memory.Put(ctx, r, name, p)
	if err == nil && !there {
		d.files[name] = file{size: int64(len(p)), modified: time.Now()}
	}
	return seg, err
}

func (d *disk) Open(name block.Digest) (block.Block, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.openErr != nil {
		return nil, d.openErr
	}
	b, err := d.Memory.Open(name)
	if err == nil && d.opened != nil {
		b = d.opened(b)
	}
	return b, err
}

func (d *disk) Walk(ctx context.Context, fn func(block.Digest, int64, time.Time) error) error {
	d.mu.Lock()
	files, err, walked := maps.Clone(d.files), d.walkErr, d.walked
	d.mu.Unlock()
	if err != nil {
		return err
	}
	for name, f := range files {
		if _, held := d.Has(name); !held {
			continue
		}
		if err := errors.Join(ctx.Err(), fn(name, f.size, f.modified)); err != nil {
			return err
		}
	}
	if walked != nil {
		walked()
	}
	return nil
}

func (d *disk) Remove(name block.Digest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Drop(name)
	delete(d.files, name)
	return nil
}

func (d *disk) has(name block.Digest) bool {
	_, held := d.Has(name)
	return held
}

func (d *disk) set(fn func(d *disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn(d)
}

// server is one server of a region, reached without a network unless listen is
// called.
type server struct {
	name   string
	disk   *disk
	reg    *prometheus.Registry
	shelf  *hold.Shelf
	mux    *http.ServeMux
	down   atomic.Bool                      // connections are refused
	silent atomic.Bool                      // connections are made and nothing is answered
	mute   atomic.Bool                      // does what it is asked, and the answer is lost
	before func(*http.Request)              // sees requests first
	answer atomic.Pointer[http.HandlerFunc] // instead of the real handlers
	asked  atomic.Int64
}

func roleFromHeader(r *http.Request) (identity.Identity, bool) {
	role := r.Header.Get("Test-Role")
	return identity.Identity{Role: identity.Role(role)}, role != ""
}

func newServer(t *testing.T, name string, d *disk) *server {
	t.Helper()
	s := &server{name: name, disk: d, reg: prometheus.NewPedanticRegistry(), mux: http.NewServeMux()}
	var err error
	if s.shelf, err = hold.New(d, grace, slog.New(slog.DiscardHandler), s.reg); err != nil {
		t.Fatal(err)
	}
	handlers, err := hold.NewServer(s.shelf, roleFromHeader)
	if err != nil {
		t.Fatal(err)
	}
	handlers.Register(s.mux)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.before != nil {
		s.before(r)
	}
	if h := s.answer.Load(); h != nil {
		(*h)(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *server) answers(h http.HandlerFunc) { s.answer.Store(&h) }

// RoundTrip makes the server its own transport.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.down.Load() {
		return nil, errors.New("connection refused")
	}
	if s.silent.Load() {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	r = r.Clone(r.Context())
	r.Header.Set("Test-Role", string(identity.Server))
	r.RequestURI = r.URL.RequestURI()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if s.mute.Load() {
		return nil, errors.New("connection reset")
	}
	return w.Result(), nil
}

func (s *server) client(t *testing.T) *hold.Client {
	t.Helper()
	return clientOf(t, s.name, "http://"+s.name, s)
}

func clientOf(t *testing.T, name, base string, rt http.RoundTripper) *hold.Client {
	t.Helper()
	c, err := hold.NewClient(name, base, rt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asRole sends requests as one of a role, over the network.
type asRole struct {
	role identity.Role
	rt   http.RoundTripper
}

func (a asRole) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Test-Role", string(a.role))
	return a.rt.RoundTrip(r)
}

// listen serves s on loopback and returns its URL and a transport to it.
func (s *server) listen(t *testing.T) (string, http.RoundTripper) {
	t.Helper()
	srv := httptest.NewServer(s)
	rt := &http.Transport{}
	t.Cleanup(func() {
		rt.CloseIdleConnections()
		srv.Close()
	})
	return srv.URL, rt
}

func region(t *testing.T, n int) []*server {
	t.Helper()
	var servers []*server
	for i := range n {
		servers = append(servers, newServer(t, string(rune('a'+i)), newDisk(0)))
	}
	return servers
}

func peersOf(t *testing.T, servers ...*server) func() []*hold.Client {
	t.Helper()
	var clients []*hold.Client
	for _, s := range servers {
		clients = append(clients, s.client(t))
	}
	return func() []*hold.Client { return clients }
}

// blocks makes n small blocks that differ from those of any other seed.
func blocks(seed uint32, n int) (digests []block.Digest, bodies [][]byte) {
	for i := range n {
		p := make([]byte, 300)
		binary.BigEndian.PutUint32(p, seed)
		binary.BigEndian.PutUint32(p[4:], uint32(i))
		digests, bodies = append(digests, block.Sum(p)), append(bodies, p)
	}
	return digests, bodies
}

func put(t *testing.T, s *server, bodies ...[]byte) {
	t.Helper()
	for _, p := range bodies {
		if _, err := s.shelf.Put(t.Context(), block.Sum(p), p); err != nil {
			t.Fatal(err)
		}
	}
}

// place puts a block on a disk behind the shelf's back, as a restart finds it.
func place(t *testing.T, d *disk, bodies ...[]byte) {
	t.Helper()
	for _, p := range bodies {
		if _, err := d.Put(t.Context(), 0, block.Sum(p), p); err != nil {
			t.Fatal(err)
		}
	}
}

func copiesOf(d block.Digest, servers []*server) int {
	n := 0
	for _, s := range servers {
		if s.disk.has(d) {
			n++
		}
	}
	return n
}
