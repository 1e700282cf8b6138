package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"preau/cache/parent"
	"preau/discovery/rendezvous"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/wire"
)

// pauseAfter is how long a server that failed is asked last.
const pauseAfter = 20 * time.Second

// parents are the region's servers, as this box asks them for bytes. The feed
// has connections of its own.
type parents struct {
	dialer *wire.Dialer

	mu      sync.Mutex
	servers []catalogue.Server
	open    map[string]*way
}

// way leads to one server.
type way struct {
	address string
	rt      *wire.Transport
	blocks  http.RoundTripper // the same, for blocks
	failed  time.Time
}

func newParents(dialer *wire.Dialer) *parents {
	return &parents{dialer: dialer, open: map[string]*way{}}
}

// set replaces the list of servers.
func (p *parents) set(servers []catalogue.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = slices.Clone(servers)
	for name, w := range p.open {
		if !slices.ContainsFunc(servers, func(s catalogue.Server) bool { return s.Name == name && s.Address == w.address }) {
			w.rt.CloseIdleConnections()
			delete(p.open, name)
		}
	}
}

// targets are the servers for those who dial them themselves.
func (p *parents) targets() []wire.Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []wire.Target
	for _, s := range p.servers {
		out = append(out, wire.Target{Name: identity.Name(s.Name), Address: s.Address})
	}
	return out
}

// order is which servers to ask for key, best first, those that failed lately
// last. One that does not answer for a site is left out if site is not empty.
func (p *parents) order(key, site string) []ranked {
	p.mu.Lock()
	defer p.mu.Unlock()
	var nodes []rendezvous.Node
	byName := map[string]catalogue.Server{}
	for _, s := range p.servers {
		if site == "" || slices.Contains(s.Sites, site) {
			nodes = append(nodes, rendezvous.Node{Name: s.Name, Weight: 1})
			byName[s.Name] = s
		}
	}
	var out, tired []ranked
	for _, n := range rendezvous.Order(key, nodes) {
		r := ranked{name: n.Name, way: p.way(byName[n.Name])}
		if r.tired = time.Since(r.failed) < pauseAfter; r.tired {
			tired = append(tired, r)
		} else {
			out = append(out, r)
		}
	}
	return append(out, tired...)
}

type ranked struct {
	name  string
	tired bool // it failed lately
	*way
}

// way opens the way to a server. The lock is held.
func (p *parents) way(s catalogue.Server) *way {
	if w := p.open[s.Name]; w != nil {
		return w
	}
	rt := p.dialer.Transport(wire.Target{Name: identity.Name(s.Name), Address: s.Address})
	w := &way{address: s.Address, rt: rt, blocks: rt}
	p.open[s.Name] = w
	return w
}

func (p *parents) note(w *way, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.heard(err)
}

// heard notes of a server by its name whether it answers.
func (p *parents) heard(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		if s.Name == name {
			p.way(s).heard(err)
		}
	}
}

func (w *way) heard(err error) {
	if err == nil {
		w.failed = time.Time{}
	} else {
		w.failed = time.Now()
	}
}

// of lists the parents of a site.
func (p *parents) of(site string) parent.List {
	return func(key string) []parent.Parent {
		var out []parent.Parent
		for _, r := range p.order(key, site) {
			base := &url.URL{Scheme: "https", Host: r.name, Path: "/o/" + site}
			out = append(out, parent.Parent{Name: r.name, RoundTripper: r.rt, Base: base})
		}
		return out
	}
}

// mostSaid bounds what a server answers to ask.
const mostSaid = 256 << 10

// ask sends body, in JSON, to the first server in the order of key that takes it,
// and returns what it says.
func (p *parents) ask(ctx context.Context, key, path string, body []byte) ([]byte, error) {
	var errs []error
	for _, r := range p.order(key, "") {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+r.name+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := r.rt.RoundTrip(req)
		p.note(r.way, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, mostSaid))
		err = errors.Join(err, resp.Body.Close())
		if err == nil && resp.StatusCode/100 == 2 {
			return text, nil
		}
		errs = append(errs, fmt.Errorf("%s answers %d: %.300s", r.name, resp.StatusCode, text), err)
	}
	if len(errs) == 0 {
		return nil, errNoServers
	}
	return nil, errors.Join(errs...)
}

// Close ends all connections.
func (p *parents) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, w := range p.open {
		errs = append(errs, w.rt.Close())
	}
	p.open = map[string]*way{}
	return errors.Join(errs...)
}
