package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

var errNoNetwork = errors.New("this box has no address that others could reach: is it on the network?")

// choose finds the address that others are told: the one that is bound; else the
// one from which the neighbours that are hinted at are reached; else that of the
// way out; else any that looks like a LAN's. IPv4 comes first.
func choose(ctx context.Context, bound netip.Addr, hints []netip.AddrPort) (netip.Addr, error) {
	if !bound.IsUnspecified() {
		return bound, nil
	}
	local, err := locals()
	if err != nil {
		return netip.Addr{}, err
	}
	// Addresses for documentation (RFC 5737, RFC 3849) lead to the default route.
	// Nothing is sent to them.
	targets := append(slices.Clone(hints), netip.MustParseAddrPort("192.0.2.1:9"))
	if bound.Is6() {
		targets = append(targets, netip.MustParseAddrPort("[2001:db8::1]:9"))
	}
	for _, to := range targets {
		if a := source(ctx, to); fits(bound, a) && slices.Contains(local, a) {
			return a, nil
		}
	}
	for _, a := range local {
		if fits(bound, a) {
			return a, nil
		}
	}
	return netip.Addr{}, errNoNetwork
}

// fits reports whether others can be told a, if bound is listened at.
func fits(bound, a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && (a.Is4() || bound.Is6())
}

// source is the address from which to is reached; connecting a UDP socket sends
// nothing.
func source(ctx context.Context, to netip.AddrPort) netip.Addr {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	a, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// locals are the addresses of interfaces that are up, those of private IPv4
// first, then of IPv4, and those of bridges for containers last.
func locals() ([]netip.Addr, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	rank := map[netip.Addr]int{}
	var out []netip.Addr
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, x := range addrs {
			p, err := netip.ParsePrefix(x.String())
			if err != nil {
				continue
			}
			a := p.Addr().Unmap().WithZone("")
			out = append(out, a)
			switch {
			case i.Flags&net.FlagPointToPoint != 0, virtual(i.Name):
				rank[a] = 3
			case !a.Is4():
				rank[a] = 2
			case !a.IsPrivate():
				rank[a] = 1
			}
		}
	}
	slices.SortStableFunc(out, func(x, y netip.Addr) int { return rank[x] - rank[y] })
	return out, nil
}

// virtual guesses which interfaces lead to containers and guests only.
func virtual(name string) bool {
	for _, p := range []string{"docker", "br-", "virbr", "lxc", "lxd", "podman", "cni", "flannel", "cali"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// isLocal reports whether a is one of this machine's addresses.
func isLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	all, err := locals()
	return err == nil && slices.Contains(all, a)
}
