package near

import (
	"cmp"
	"slices"
	"time"

	"preau/discovery/gossip"
	"preau/discovery/rendezvous"
	"preau/replication/identity"
)

// States of a neighbour.
const (
	StateAlive       = "alive"
	StateDraining    = "draining"    // it leaves the pool
	StateQuarantined = "quarantined" // it served wrong bytes
	StateUnverified  = "unverified"  // it has not proven who it is
)

var states = []string{StateAlive, StateDraining, StateQuarantined, StateUnverified} // a value, never changed

func stateOf(m gossip.Member, b *bad, now time.Time) string {
	switch {
	case !m.Verified:
		return StateUnverified
	case b != nil && b.until.After(now):
		return StateQuarantined
	case m.State.Draining:
		return StateDraining
	}
	return StateAlive
}

// Status is how a school's boxes stand, as this one sees them.
type Status struct {
	Box      string `json:"box"`
	School   string `json:"school"`
	Name     string `json:"name,omitempty"`     // under which devices reach whichever box is there
	OwnName  string `json:"own_name,omitempty"` // under which they reach this one
	Listens  string `json:"listens,omitempty"`  // where neighbours connect; empty: the port is not open
	Gossip   string `json:"gossip,omitempty"`   // where it gossips; empty: not yet
	Draining bool   `json:"draining"`
	// Share is the part of all objects that this box owns.
	Share      float64     `json:"share"`
	Neighbours []Neighbour `json:"neighbours"`
}

// Neighbour is another box of the school.
type Neighbour struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Why     string    `json:"why,omitempty"`
	Address string    `json:"address,omitempty"`
	Device  string    `json:"device,omitempty"` // where devices reach it
	Found   string    `json:"found,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Version string    `json:"version,omitempty"`
	Share   float64   `json:"share"`
	// Free is the room on its disk, Given what it got from this box and Taken what
	// this box got from it since it started, in bytes.
	Free  int64 `json:"free"`
	Given int64 `json:"given"`
	Taken int64 `json:"taken"`
	// Reported is when the region's operators were told that it served wrong bytes.
	Reported time.Time `json:"reported,omitzero"`
}

// Status tells how the school's boxes stand.
func (b *Boxes) Status() Status {
	s := Status{Box: string(b.id.Name), School: string(b.id.School), Draining: b.Draining(), Neighbours: []Neighbour{}}
	if l := b.listener.Load(); l != nil {
		s.Listens = l.Addr().String()
	}
	if g := b.gossip.Load(); g != nil && g.Addr().IsValid() {
		s.Gossip = g.Addr().String()
	}
	if m := b.announcer(); m != nil {
		s.OwnName = m.OwnName()
		if b.cfg.Name != "" {
			s.Name = b.cfg.Name + ".local"
		}
		if s.OwnName != "" {
			s.OwnName += ".local"
		}
	}
	pool := b.pool.Load()
	share := sharesOf(pool.nodes)
	s.Share = share[string(b.id.Name)]
	if len(share) == 0 {
		s.Share = 1
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.members() {
		n := Neighbour{
			Name: m.Name, State: stateOf(m, b.bad[m.Name], now), Why: m.Why, Address: m.Addr.String(), Device: m.State.Device,
			Found: b.found.how(m.Addr), Since: m.Since.UTC(), Version: m.State.Version, Share: share[m.Name],
			Free: int64(m.State.Free) * mebibyte, Given: b.given[m.Name],
		}
		if w := b.ways[m.Name]; w != nil {
			n.Address = w.address
		}
		if taken := b.taken[m.Name]; taken != nil {
			n.Taken = taken.n.Load()
		}
		if n.State == StateAlive && pool.ways[m.Name] == nil {
			n.State = StateUnverified // in a moment it is asked
		}
		if bad := b.bad[m.Name]; bad != nil {
			n.Reported = bad.since.UTC()
			if n.State == StateQuarantined {
				n.Why = bad.why
			}
		}
		s.Neighbours = append(s.Neighbours, n)
	}
	slices.SortFunc(s.Neighbours, func(a, b Neighbour) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// sharesOf is the part of all keys that each node has.
func sharesOf(nodes []rendezvous.Node) map[string]float64 {
	out := map[string]float64{}
	total := 0.0
	for _, n := range nodes {
		total += n.Weight
	}
	for _, n := range nodes {
		if total > 0 {
			out[n.Name] = n.Weight / total
		}
	}
	return out
}

func (w *way) id() identity.Name { return identity.Name(w.name) }
