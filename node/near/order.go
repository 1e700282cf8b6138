package near

import (
	"net/http"
	"slices"
	"time"

	"preau/discovery/gossip"
	"preau/discovery/rendezvous"
)

// Box is another box of the school that may be asked.
type Box struct {
	Name         string
	RoundTripper http.RoundTripper
}

// pool is who may be asked now, and what each weighs: all boxes of a school come
// to the same, but for moments.
type pool struct {
	nodes []rendezvous.Node // this box among them
	ways  map[string]*way
}

// Order returns the school's other boxes in the order in which key belongs to
// them, and how many of them come before this box: 0 says that key is its own.
// Boxes that drain come last; those that served what they should not have are
// left out.
func (b *Boxes) Order(key string) (others []Box, place int) {
	p := b.pool.Load()
	if len(p.ways) == 0 {
		return nil, 0
	}
	others = make([]Box, 0, len(p.ways))
	for i, n := range rendezvous.Order(key, p.nodes) {
		if n.Name == string(b.id.Name) {
			place = i
			continue
		}
		others = append(others, Box{n.Name, p.ways[n.Name]})
	}
	return others, place
}

// Leaves reports a box that has said that it will be taken away.
func (b *Boxes) Leaves(name string) bool {
	for _, n := range b.pool.Load().nodes {
		if n.Name == name {
			return n.Weight == 0
		}
	}
	return false
}

// Leaving lists the others that have said that they will be taken away.
func (b *Boxes) Leaving() (out []Box) {
	p := b.pool.Load()
	for _, n := range p.nodes {
		if w := p.ways[n.Name]; w != nil && n.Weight == 0 {
			out = append(out, Box{n.Name, w})
		}
	}
	return out
}

// refresh has Order answer for who is there now.
func (b *Boxes) refresh() {
	self := b.state()
	next := &pool{ways: map[string]*way{}}
	weight := func(s gossip.State) float64 {
		if s.Draining {
			return 0
		}
		return max(float64(s.Weight), 1)
	}
	next.nodes = append(next.nodes, rendezvous.Node{Name: string(b.id.Name), Weight: weight(self)})
	counts, quarantined := map[string]int{}, map[string]bool{}
	now := time.Now()
	b.mu.Lock()
	for _, m := range b.members() {
		w := b.ways[m.Name]
		state := stateOf(m, b.bad[m.Name], now)
		if w == nil && state == StateAlive {
			state = StateUnverified
		}
		counts[state]++
		quarantined[m.Name] = state == StateQuarantined
		// One that drains is asked last: what it has need not come over the line.
		if w != nil && (state == StateAlive || state == StateDraining) {
			next.ways[m.Name] = w
			next.nodes = append(next.nodes, rendezvous.Node{Name: m.Name, Weight: weight(m.State)})
		}
	}
	b.mu.Unlock()
	for _, state := range states {
		b.met.boxes.WithLabelValues(state).Set(float64(counts[state]))
	}
	old := b.pool.Swap(next)
	for name, w := range old.ways {
		// Who is not there any more, or has to prove itself anew, sends nothing: what
		// waits for it goes on elsewhere at once.
		if next.ways[name] == nil && !quarantined[name] {
			b.giveUp(name, w)
		}
	}
	if !slices.Equal(old.nodes, next.nodes) {
		select {
		case b.changed <- struct{}{}:
		default: // it is known already
		}
	}
}

// members are the boxes that gossip knows, whatever state they are in.
func (b *Boxes) members() []gossip.Member {
	g := b.gossip.Load()
	if g == nil {
		return nil
	}
	return g.All()
}

// Lost tells of a box that does not answer at all: it is out of Order until it
// has proven itself again.
func (b *Boxes) Lost(name string) {
	if g := b.gossip.Load(); g != nil {
		g.Lost(name)
	}
	b.refresh()
}
