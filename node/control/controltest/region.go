// Package controltest is a region for tests of those who talk to one: real
// certificates, real connections on loopback, real blocks in memory, and under
// /v1/ whatever the test says. It agrees on nothing and remembers nothing.
package controltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/blocktest"
	"preau/node/control"
	"preau/replication/enrol"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/wire"
)

// Answer is what a route does: a value to be sent as JSON, or an error, which
// is a *control.Error for anything but 500.
type Answer func(server string, r *http.Request) (any, error)

// Region is a number of servers, called s1, s2 and so on.
type Region struct {
	Servers []*Server

	id        identity.Region
	authority *enrol.Authority

	mu     sync.Mutex
	routes map[string]Answer
	tokens map[enrol.TokenID]*token
	asked  map[enrol.TokenID]enrol.Return
	older  bool
	out    map[identity.Identity]bool
	seen   []string

	renewals  int
	noRenewal error
}

type token struct {
	enrol.TokenRecord
	used identity.Key
	by   identity.Name
}

// Server is one of them.
type Server struct {
	Name    string
	Address string
	Blocks  *blocktest.Memory

	listener *wire.Listener
	stop     func()
}

// Start starts a region of n servers, which ends with the test.
func Start(tb testing.TB, n int) *Region {
	tb.Helper()
	r := &Region{
		id: identity.NewRegion(), routes: map[string]Answer{}, tokens: map[enrol.TokenID]*token{}, asked: map[enrol.TokenID]enrol.Return{},
		out: map[identity.Identity]bool{},
	}
	var err error
	// The region is old, so that its people can be: see Age.
	if r.authority, err = enrol.NewAuthority(r.id, time.Now().Add(-2*365*24*time.Hour)); err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		r.start(tb, fmt.Sprintf("s%d", i+1))
	}
	r.On("GET /v1/records/servers", func(string, *http.Request) (any, error) {
		var all []control.Record
		for _, s := range r.Servers {
			all = append(all, control.Record{Kind: "server", ID: s.Name, Value: map[string]any{"name": s.Name, "address": s.Address}})
		}
		return all, nil
	})
	return r
}

// ID is the region's.
func (r *Region) ID() string { return string(r.id) }

// On has every server answer a route, such as "GET /v1/status".
func (r *Region) On(route string, answer Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[route] = answer
}

// Seen lists the requests that came, as "s1 GET /v1/status", without those for
// the list of servers.
func (r *Region) Seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.seen...)
}

// Revoke has every server refuse a certificate's bearer.
func (r *Region) Revoke(role, name string) {
	r.mu.Lock()
	r.out[identity.Identity{Region: r.id, Role: identity.Role(role), Name: identity.Name(name)}] = true
	r.mu.Unlock()
	for _, s := range r.Servers {
		s.listener.DropRevoked()
	}
}

// Token makes an invitation that names up to three servers.
func (r *Region) Token(tb testing.TB, role, school string) string {
	tb.Helper()
	var servers []string
	for _, s := range r.Servers {
		if len(servers) < 3 {
			servers = append(servers, s.Address)
		}
	}
	made, err := enrol.NewToken(r.id, r.authority.Pin(), servers)
	if err != nil {
		tb.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[made.ID] = &token{TokenRecord: enrol.TokenRecord{
		ID: made.ID, Secret: made.Hash(), Role: identity.Role(role), School: identity.School(school),
		NotAfter: time.Now().Add(time.Hour), Uses: 1,
	}}
	return made.String()
}

// Operator enrols an operator in a new folder, which it returns.
func (r *Region) Operator(tb testing.TB, name string) string {
	tb.Helper()
	dir := tb.TempDir()
	_, err := control.Enrol(tb.Context(), control.Enrolment{Token: r.Token(tb, "operator", ""), Dir: dir, Role: "operator", Name: name})
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// Stop stops the server; connections to it break.
func (s *Server) Stop() { s.stop() }

func (r *Region) start(tb testing.TB, name string) {
	tb.Helper()
	me, err := r.identity(tb, name)
	if err != nil {
		tb.Fatal(err)
	}
	reg, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	cfg := wire.DefaultConfig()
	cfg.Grace = 50 * time.Millisecond
	// The race detector sees that what is read from a TCP connection was written
	// before; of UDP sockets it knows no such thing, and takes a test that looks
	// at what a handler was sent for a race.
	cfg.QUIC = false
	ln, err := wire.Listen(tb.Context(), "127.0.0.1:0", me, cfg, log, reg)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Name: name, Address: ln.Addr().String(), Blocks: blocktest.NewMemory(1 << 30), listener: ln}
	r.Servers = append(r.Servers, s)
	handler, err := r.handler(s, log, reg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- ln.Run(ctx, wire.Service{Handler: handler, Revoked: r.revoked}) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(s.stop)
}

func (r *Region) revoked(p wire.Peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out[p.Identity]
}

func (r *Region) handler(s *Server, log *slog.Logger, reg prometheus.Registerer) (http.Handler, error) {
	enrolment, err := enrol.NewHandler(enrol.Keys{
		Authority: func() (*enrol.Authority, error) { return r.authority, nil },
		Servers: func() []wire.Target {
			return []wire.Target{{Name: identity.Name(r.Servers[0].Name), Address: r.Servers[0].Address}}
		},
	}, r, log, reg)
	if err != nil {
		return nil, err
	}
	shelf, err := hold.New(shelved{s.Blocks}, time.Hour, log, reg)
	if err != nil {
		return nil, err
	}
	blocks, err := hold.NewServer(shelf, func(q *http.Request) (identity.Identity, bool) {
		p := wire.PeerOf(q)
		return p.Identity, !p.Anonymous()
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/enrol", enrolment)
	mux.HandleFunc("/enrol/", func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		older := r.older && q.URL.Path == enrol.PathAgain
		r.mu.Unlock()
		if older {
			http.NotFound(w, q)
			return
		}
		enrolment.ServeHTTP(w, q)
	})
	blocks.Register(mux)
	mux.Handle("/v1/", wire.Only(r.control(s), identity.Operator, identity.Server))
	return mux, nil
}

// control answers what the test has said.
func (r *Region) control(s *Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		answer := r.routes[q.Method+" "+q.URL.Path]
		if !strings.HasSuffix(q.URL.Path, "/records/servers") {
			r.seen = append(r.seen, s.Name+" "+q.Method+" "+q.URL.RequestURI())
		}
		r.mu.Unlock()
		status, value := http.StatusOK, any(nil)
		err := error(&control.Error{Status: http.StatusNotFound, Code: "not_found", Detail: "the test has no " + q.Method + " " + q.URL.Path})
		if answer != nil {
			value, err = answer(s.Name, q)
		}
		if err != nil {
			e := &control.Error{Status: http.StatusInternalServerError, Code: "internal", Detail: err.Error()}
			if said, ok := errors.AsType[*control.Error](err); ok {
				e = said
			}
			status, value = e.Status, control.Failure{Code: e.Code, Detail: e.Detail}
		}
		w.Header().Set(control.IndexHeader, "7")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(value); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

// Redeem implements enrol.Registry.
func (r *Region) Redeem(_ context.Context, q enrol.Redemption) (identity.Identity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tokens[q.Token]
	if t == nil {
		return identity.Identity{}, enrol.ErrTokenUnknown
	}
	used := 0
	if t.used != (identity.Key{}) && t.used != q.Key {
		used = 1
	}
	if err := t.Check(q, used, time.Now()); err != nil {
		return identity.Identity{}, err
	}
	t.used, t.by = q.Key, q.Name
	return identity.Identity{Region: r.id, Role: t.Role, Name: q.Name, School: t.School}, nil
}

// TakeBack implements enrol.Registry.
func (r *Region) TakeBack(_ context.Context, q enrol.Return) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tokens[q.Token]
	switch {
	case t == nil || t.by != q.Name || t.Role != identity.Box:
		return false, enrol.ErrTokenUnknown
	case r.out[identity.Identity{Region: r.id, Role: t.Role, Name: q.Name}]:
		return false, enrol.ErrRevoked
	case r.tokens[q.New] != nil:
		return true, nil
	}
	r.asked[q.New] = q
	return false, nil
}

// Asked lists who asks for a place back.
func (r *Region) Asked() []enrol.Return {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.asked))
}

// Accept takes one of them back.
func (r *Region) Accept(q enrol.Return) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, q.New)
	r.tokens[q.New] = &token{TokenRecord: enrol.TokenRecord{
		ID: q.New, Secret: q.Secret, Role: identity.Box, School: r.tokens[q.Token].School,
		NotAfter: time.Now().Add(time.Hour), Uses: 1,
	}}
}

// Older has every server be of a version that takes no box back.
func (r *Region) Older() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.older = true
}

// Renewable implements enrol.Registry.
func (r *Region) Renewable(context.Context, wire.Peer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewals++
	return r.noRenewal
}

// Renewals is how often somebody has asked for a new certificate.
func (r *Region) Renewals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.renewals
}

// RefuseRenewals has every server renew no certificate, because of why.
func (r *Region) RefuseRenewals(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noRenewal = why
}

// shelved makes blocks in memory something that a shelf can use; nothing here
// walks it.
type shelved struct{ *blocktest.Memory }

// Walk implements hold.Store.
func (shelved) Walk(context.Context, func(block.Digest, int64, time.Time) error) error { return nil }

// Remove implements hold.Store.
func (s shelved) Remove(d block.Digest) error { s.Drop(d); return nil }
