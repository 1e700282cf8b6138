package region

import (
	"errors"
	"slices"

	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/identity"
	"preau/replication/wire"
)

// standing is how it stands with the centre, as this server sees it.
func (g *Region) standing() control.Centre {
	c := control.Centre{Server: g.name, Buckets: []control.Bucket{}}
	if g.uplink == nil {
		return c
	}
	r := g.uplink.Report()
	c.Follows, c.Address = true, g.cfg.Central.Address
	c.Connected, c.Since, c.Asked = r.Reachable, r.Since.UTC(), r.Asked.UTC()
	if r.Err != nil {
		c.Reason = whyCentre(r.Err)
	}
	for i, b := range r.Buckets {
		c.Behind += b.Behind
		c.Buckets = append(c.Buckets, control.Bucket{Name: b.Name, Behind: b.Behind, Synced: b.Synced.UTC()})
		// All of it is as old as what is oldest.
		if i == 0 || b.Synced.Before(c.Synced) {
			c.Synced = b.Synced.UTC()
		}
	}
	return c
}

// whyCentre is what went wrong with the centre, in a few words.
func whyCentre(err error) string {
	switch {
	case errors.Is(err, wire.ErrRefused):
		return "it refuses our certificate"
	case errors.Is(err, wire.ErrForeign), errors.Is(err, wire.ErrRole):
		return "what answers there is not the gateway of this region"
	}
	return control.Why(err)
}

// paths are how this server reaches the centre and the other servers.
func (g *Region) paths() []control.Path {
	here := g.node.Servers()
	// Servers that left or moved count no more, and this one needs no path to itself.
	near := slices.DeleteFunc(g.dialer.Paths(), func(s wire.PathState) bool {
		return string(s.Target.Name) == g.name || !slices.ContainsFunc(here, func(now consensus.Server) bool {
			return string(now.ID) == string(s.Target.Name) && now.Address == s.Target.Address
		})
	})
	out := []control.Path{}
	for _, s := range append(g.far.Paths(), near...) {
		p := control.PathOf(s)
		if p.Reason != "" && s.Target.Role == identity.Central {
			p.Reason = whyCentre(s.Err)
		}
		out = append(out, p)
	}
	return out
}

// centreOf is what the leader says of the centre, or else this server.
func (g *Region) centreOf(all map[string]presence, leader string) control.Centre {
	for _, name := range []string{leader, g.name} {
		if c := all[name].Centre; c != nil {
			return *c
		}
	}
	return g.standing()
}

// queue is what waits for the centre.
func (g *Region) queue(c control.Centre) (control.Waiting, error) {
	var w control.Waiting
	err := g.waiting(func(d catalogue.Deposit) bool {
		w.Count++
		w.Bytes += d.Length
		if w.Oldest.IsZero() || d.At.Before(w.Oldest) {
			w.Oldest, w.Reason = d.At.UTC(), d.Waiting
		}
		return true
	})
	switch {
	case w.Count == 0 || err != nil:
	case !c.Follows:
		w.Reason = "the region has no centre"
	case !c.Connected && !c.Since.IsZero():
		w.Reason = "the centre can't be reached"
	}
	return w, err
}
