package gossip

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls, with locks of its own held and before
// Create has returned. It touches the table only, which calls nobody.
type delegate struct {
	g *Gossip
	// over: this memberlist is shut down, and what its last timers say is void.
	over atomic.Bool
}

func place(n *memberlist.Node) netip.AddrPort {
	a, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}

// NotifyAlive implements memberlist.AliveDelegate.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	err := d.g.table.hear(time.Now(), n.Name, place(n), n.Meta)
	if err != nil {
		d.g.told()
	}
	return err
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.up(n, true) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.up(n, false) }

func (d *delegate) up(n *memberlist.Node, joined bool) {
	if !d.over.Load() {
		d.g.table.up(time.Now(), n.Name, place(n), n.Meta, joined)
		d.g.told()
	}
}

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if !d.over.Load() {
		d.g.table.down(time.Now(), n.Name, place(n))
		d.g.told()
	}
}

// NodeMeta implements memberlist.Delegate: what this box says of itself.
func (d *delegate) NodeMeta(limit int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	raw, err := encodeState(d.g.state, d.g.boot)
	if err != nil || len(raw) > limit {
		// Both were checked when the state was given. Nothing said is no state,
		// and memberlist ends the program if it is too long.
		return nil
	}
	return raw
}

// NotifyMsg implements memberlist.Delegate. Boxes send one another nothing else.
func (*delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}
