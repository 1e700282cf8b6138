// Package links knows the networks that a box is on, and when that changes.
//
// A Link is an interface on which there is somebody to talk to: up, with a
// carrier, able to multicast, and with an address that may be used already. What
// comes and goes is compared by Diff, which is pure; List and Watch ask the
// system. Nothing here sends a packet.
package links

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
)

// Link is an interface that is in use.
type Link struct {
	Name  string
	Index int
	Addrs []netip.Prefix // sorted; the addresses whole, with the length of their networks
}

// Has says whether the link has an address of the family.
func (l Link) Has(v6 bool) bool {
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
}

// Holds says whether a is an address of this machine on the link.
func (l Link) Holds(a netip.Addr) bool {
	a = a.WithZone("")
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

// Near says whether a can be reached on the link without a router. An address
// from DHCPv6 says nothing of its network, which is taken to be a /64.
func (l Link) Near(a netip.Addr) bool {
	a = a.WithZone("")
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
		return false
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		return l.Has(true)
	}
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool {
		if p.Addr().Is6() && p.Bits() > 64 {
			p = netip.PrefixFrom(p.Addr(), 64)
		}
		return p.Masked().Contains(a)
	})
}

// Published is what others are told. Addresses that need a zone are told only
// where there is no better one of their family, as Avahi does it: many programs
// do not get along with them.
func (l Link) Published() []netip.Addr {
	var out, local []netip.Addr
	for _, p := range l.Addrs {
		if a := p.Addr(); a.Is6() && a.IsLinkLocalUnicast() {
			local = append(local, a)
		} else {
			out = append(out, a)
		}
	}
	if !slices.ContainsFunc(out, netip.Addr.Is6) {
		out = append(out, local...)
	}
	return out
}

// Changes is how the links differ from what they were.
type Changes struct {
	Gone  []Link
	New   []Link // also those that were made again
	Moved []Link // the same link with other addresses
}

// None says that nothing is different.
func (c Changes) None() bool { return len(c.Gone)+len(c.New)+len(c.Moved) == 0 }

// Diff says what has changed.
func Diff(before, after []Link) Changes {
	var c Changes
	for _, b := range before {
		i := slices.IndexFunc(after, func(a Link) bool { return a.Index == b.Index && a.Name == b.Name })
		switch {
		case i < 0:
			c.Gone = append(c.Gone, b)
		case !slices.Equal(after[i].Addrs, b.Addrs):
			c.Moved = append(c.Moved, after[i])
		}
	}
	for _, a := range after {
		if !slices.ContainsFunc(before, func(b Link) bool { return a.Index == b.Index && a.Name == b.Name }) {
			c.New = append(c.New, a)
		}
	}
	return c
}

// Find is the link of an index.
func Find(all []Link, index int) (Link, bool) {
	for _, l := range all {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// virtual are interfaces of containers, virtual machines and tunnels: there is
// no class behind them.
var virtual = []string{
	"docker*", "veth*", "virbr*", "vnet*", "vmnet*", "br-*", "cni*", "flannel*", "cali*", "lxc*", "lxdbr*", "podman*",
	"tun*", "tap*", "wg*", "tailscale*", "zt*",
}

// Check says what is wrong with a list of names and globs.
func Check(globs []string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil || g == "" {
			return fmt.Errorf("interface %q is neither a name nor a pattern", g)
		}
	}
	return nil
}

// wanted says whether an interface is to be used if it can be.
func wanted(globs []string, name string, flags net.Flags) bool {
	const needed = net.FlagUp | net.FlagRunning | net.FlagMulticast
	if flags&needed != needed {
		return false
	}
	matches := func(g string) bool {
		ok, err := path.Match(g, name)
		return ok && err == nil
	}
	if len(globs) > 0 {
		return slices.ContainsFunc(globs, matches)
	}
	return flags&(net.FlagLoopback|net.FlagPointToPoint) == 0 && !slices.ContainsFunc(virtual, matches)
}

// List returns the links there are. Without globs, those of containers, virtual
// machines and tunnels are left out.
func List(globs []string) ([]Link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	not, err := unready()
	if err != nil {
		return nil, err
	}
	var out []Link
	for _, ifi := range all {
		if !wanted(globs, ifi.Name, ifi.Flags) {
			continue
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it went away just now
		}
		l := Link{Name: ifi.Name, Index: ifi.Index}
		for _, a := range addrs {
			if p, ok := prefix(a); ok && !not[address{ifi.Index, p.Addr()}] {
				l.Addrs = append(l.Addrs, p)
			}
		}
		slices.SortFunc(l.Addrs, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		if len(l.Addrs) > 0 {
			out = append(out, l)
		}
	}
	return out, nil
}

// address is an address on an interface.
type address struct {
	index int
	addr  netip.Addr
}

func prefix(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok || ip.IsLoopback() {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits), true
}
