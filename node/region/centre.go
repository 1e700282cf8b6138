package region

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"preau/cache/block"
	"preau/discovery/rendezvous"
	"preau/node/uplink"
	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	// passOver is how long a server is not asked for blocks after it failed.
	passOver = 15 * time.Second
	// askedWithin is how long another server may take for a block of the centre.
	askedWithin = 40 * time.Second
)

// centre is what the uplink sees of this server. It implements uplink.Region.
type centre struct {
	g *Region

	mu     sync.Mutex
	failed map[string]time.Time // servers
}

// openCentre opens the way to the centre, if there is to be one.
func (g *Region) openCentre(keep func(func() error)) error {
	if g.cfg.Central.Address == "" {
		return nil
	}
	target := wire.Target{Address: g.cfg.Central.Address, Role: identity.Central}
	control, bulk := g.far.Transport(target), g.far.Bulk(target)
	keep(control.Close)
	keep(bulk.Close)
	var err error
	g.uplink, err = uplink.New(uplink.Config{Buckets: g.cfg.Central.Buckets}, &centre{g: g, failed: map[string]time.Time{}}, control, bulk, g.log, g.reg)
	if err != nil {
		return err
	}
	g.group.Add("centre", 10*time.Second, func(ctx context.Context) error {
		return errors.Join(g.uplink.Run(ctx), control.Close(), bulk.Close())
	})
	return nil
}

// fill gets a block that is not here for whoever may see the file it is of.
func (g *Region) fill(r *http.Request, d block.Digest, of string) ([]byte, error) {
	if g.uplink == nil {
		return nil, block.ErrNotFound
	}
	peer := wire.PeerOf(r)
	if peer.Role == identity.Box {
		seen, err := g.seenBy(of, peer.School)
		if err != nil || !seen {
			return nil, errors.Join(block.ErrNotFound, err)
		}
	}
	return g.uplink.Fill(r.Context(), d, of, peer.Role == identity.Server)
}

// seenBy reports whether a school may see a resource.
func (g *Region) seenBy(id string, school identity.School) (bool, error) {
	view, err := g.state.View()
	if err != nil {
		return false, err
	}
	rec, err := view.Get(catalogue.KindResource, id)
	if err := errors.Join(view.Close(), ignore(err, catalogue.ErrNotFound)); err != nil {
		return false, err
	}
	return err == nil && rec.SeenBy(school) == catalogue.Visible, nil
}

// ID implements uplink.Region.
func (c *centre) ID() identity.Region { return c.g.id.Region }

// Leads implements uplink.Region.
func (c *centre) Leads() bool { return c.g.node.IsLeader() }

// Submit implements uplink.Region.
func (c *centre) Submit(ctx context.Context, ops ...catalogue.Op) error {
	_, err := c.g.submit(ctx, "server/"+c.g.name, ops...)
	if refused, ok := errors.AsType[refusal](err); ok {
		return fmt.Errorf("%w: %s", uplink.ErrRefused, refused.Error())
	}
	return err
}

// Resource implements uplink.Region.
func (c *centre) Resource(id string) (catalogue.Resource, bool, error) {
	return get[catalogue.Resource](c.g, catalogue.KindResource, id)
}

// Collection implements uplink.Region.
func (c *centre) Collection(id string) (bool, error) {
	_, ok, err := get[catalogue.Collection](c.g, catalogue.KindCollection, id)
	return ok, err
}

// Source implements uplink.Region.
func (c *centre) Source(bucket string) (catalogue.Source, bool, error) {
	return get[catalogue.Source](c.g, catalogue.KindSource, bucket)
}

// Resources implements uplink.Region.
func (c *centre) Resources(ctx context.Context, bucket string, fn func(id string) bool) error {
	return c.g.resources(ctx, func(res catalogue.Resource) bool { return res.Bucket != bucket || fn(res.ID) })
}

// Deposits implements uplink.Region.
func (c *centre) Deposits(ctx context.Context, fn func(catalogue.Deposit) bool) error {
	return errors.Join(c.g.waiting(func(d catalogue.Deposit) bool { return fn(d) && ctx.Err() == nil }), ctx.Err())
}

// Read implements uplink.Region.
func (c *centre) Read(ctx context.Context, d block.Digest) ([]byte, error) {
	p, err := c.g.readBlock(ctx, d)
	if err == nil {
		return p, nil
	}
	for _, server := range c.g.holders() {
		p, asked := server.Get(ctx, d, nil)
		if asked == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err = errors.Join(err, asked)
	}
	return nil, err
}

// Keep implements uplink.Region.
func (c *centre) Keep(ctx context.Context, d block.Digest, p []byte) error {
	_, err := c.g.shelf.Put(ctx, d, p)
	return err
}

// Owner implements uplink.Region. A server that failed lately is passed over.
func (c *centre) Owner(d block.Digest) string {
	var nodes []rendezvous.Node
	c.mu.Lock()
	for _, s := range c.g.node.Servers() {
		if name := string(s.ID); time.Since(c.failed[name]) > passOver || c.failed[name].IsZero() {
			nodes = append(nodes, rendezvous.Node{Name: name, Weight: 1})
		}
	}
	c.mu.Unlock()
	if order := rendezvous.Order(d.String(), nodes); len(order) > 0 && order[0].Name != c.g.name {
		return order[0].Name
	}
	return ""
}

// Ask implements uplink.Region.
func (c *centre) Ask(ctx context.Context, server string, d block.Digest, of string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	servers := c.g.node.Servers()
	i := slices.IndexFunc(servers, func(s consensus.Server) bool { return string(s.ID) == server })
	if i < 0 {
		return nil, fmt.Errorf("server %s has left", server)
	}
	p, err := hold.Fetch(ctx, c.g.peers.transport(server, servers[i].Address), "https://"+server, d, of)
	if err != nil {
		err = fmt.Errorf("block from server %s: %w", server, err)
	}
	if err != nil && !errors.Is(err, block.ErrNotFound) && ctx.Err() == nil {
		c.mu.Lock()
		c.failed[server] = time.Now()
		c.mu.Unlock()
	}
	return p, err
}
