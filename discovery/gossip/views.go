package gossip

import (
	"net/netip"
	"slices"
	"strings"
)

// members are the boxes alive and verified.
func (t *table) members() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Member, 0, len(t.boxes))
	for _, b := range t.boxes {
		if b.member() {
			out = append(out, b.describe())
		}
	}
	slices.SortFunc(out, byName)
	return out
}

func (b *box) member() bool { return b.alive && b.holder != nil && b.holder.verified }

func byName(x, y Member) int { return strings.Compare(x.Name, y.Name) }

// equalMembers compares what callers act upon.
func equalMembers(x, y []Member) bool { return slices.Equal(x, y) }

func (b *box) describe() Member {
	m := Member{Name: b.name, Since: b.since, Verified: b.member()}
	s := b.holder
	for _, c := range b.claims {
		if b.holder == nil && (s == nil || !s.reported) {
			s = c
		}
	}
	if s == nil {
		return m
	}
	m.Addr, m.State = s.gossip.Addr(), s.said
	if s == b.holder {
		m.State.Port = s.provedPort
	}
	switch {
	case !m.Verified && s.why != "":
		m.Why = s.why
	case !m.Verified && !b.alive:
		m.Why = "proved, and not heard yet"
	}
	for _, c := range b.claims {
		if c != s && c.reported {
			m.Why = strings.TrimPrefix(m.Why+"; "+c.why, "; ")
		}
	}
	return m
}

// all are the boxes that are known in any way.
func (t *table) all() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Member, 0, len(t.boxes))
	for name, b := range t.boxes {
		if name == t.self && !slices.ContainsFunc(b.claims, func(c *seat) bool { return c.reported }) {
			continue
		}
		out = append(out, b.describe())
	}
	slices.SortFunc(out, byName)
	return out
}

// known are the addresses that were proved, best first.
func (t *table) known() []netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	var held []*box
	for _, b := range t.boxes {
		if b.holder != nil {
			held = append(held, b)
		}
	}
	slices.SortFunc(held, func(x, y *box) int {
		if c := y.holder.seen.Compare(x.holder.seen); c != 0 {
			return c
		}
		return strings.Compare(x.name, y.name)
	})
	out := make([]netip.AddrPort, len(held))
	for i, b := range held {
		out[i] = b.holder.gossip
	}
	return out
}

// heard reports whether a box is heard at an address, or claims to be there and
// could not prove it: calling it would tell nothing new.
func (t *table) heard(at netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mine[at] {
		return true
	}
	for _, b := range t.boxes {
		if b.holder != nil && b.holder.gossip == at {
			return true // alive, or called as itself
		}
	}
	return false
}

// awake are the gossip addresses of boxes that memberlist hears.
func (t *table) awake() []netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []netip.AddrPort
	for _, b := range t.boxes {
		if b.alive && b.holder != nil {
			out = append(out, b.holder.gossip)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// count is for the metrics.
func (t *table) count() (verified, unverified int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, b := range t.boxes {
		switch {
		case name == t.self:
		case b.member():
			verified++
		case b.alive, len(b.claims) > 0:
			unverified++
		}
	}
	return verified, unverified
}
