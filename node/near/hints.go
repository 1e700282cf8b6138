package near

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/discovery/gossip"
)

// How a box was found.
const (
	FoundMDNS   = "mdns"
	FoundRegion = "region"
	FoundStatic = "static"
	FoundMemory = "memory" // where it was before
	FoundGossip = "gossip" // another box knew it
)

// textGossip is the key of a box's gossip port in what it announces.
const textGossip = "gossip"

// mostFound bounds the addresses of which it is remembered how they were found.
const mostFound = 256

// found remembers how boxes were found, for people to read.
type found struct {
	mu sync.Mutex
	by map[netip.Addr]string
}

func (f *found) note(how string, addrs ...netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil || len(f.by) > mostFound {
		f.by = map[netip.Addr]string{}
	}
	for _, a := range addrs {
		// What finds a box by itself says more than what was told before.
		if was := f.by[a.Addr().Unmap()]; was == "" || was == FoundMemory || how == FoundMDNS {
			f.by[a.Addr().Unmap()] = how
		}
	}
}

func (f *found) how(a netip.Addr) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if how := f.by[a.Unmap()]; how != "" {
		return how
	}
	return FoundGossip
}

func (b *Boxes) hint(g *gossip.Gossip, how string, addrs ...netip.AddrPort) {
	if len(addrs) > 0 {
		b.found.note(how, addrs...)
		g.Hint(addrs...)
	}
}

// hintHeard passes on what multicast DNS has heard.
func (b *Boxes) hintHeard() {
	g := b.gossip.Load()
	for _, h := range b.mdns.Hints() {
		port := defaultGossip
		for _, text := range h.Text {
			if value, ok := strings.CutPrefix(text, textGossip+"="); ok {
				if n, err := strconv.ParseUint(value, 10, 16); err == nil && n > 0 {
					port = uint16(n)
				}
			}
		}
		for _, a := range h.Addrs {
			b.hint(g, FoundMDNS, netip.AddrPortFrom(a.Addr(), port))
		}
	}
}

// resolveWithin bounds looking up what the configuration names.
const resolveWithin = 5 * time.Second

// hintStatic passes on what the configuration names.
func (b *Boxes) hintStatic(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	for _, box := range b.cfg.Boxes {
		host, port, err := net.SplitHostPort(box)
		if err != nil {
			continue // Validate has refused it
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue // likewise
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			b.log.WarnContext(ctx, "a box of the configuration can't be looked up", "box", box, "err", err)
		}
		for _, a := range addrs {
			b.hint(b.gossip.Load(), FoundStatic, netip.AddrPortFrom(a.Unmap(), uint16(n)))
		}
	}
}

// hintRemembered passes on where boxes were before.
func (b *Boxes) hintRemembered() {
	b.mu.Lock()
	var addrs []netip.AddrPort
	for _, at := range b.school.Boxes {
		addrs = append(addrs, at...)
	}
	b.mu.Unlock()
	b.hint(b.gossip.Load(), FoundMemory, addrs...)
}

// remember keeps where boxes are now, for after a power cut.
func (b *Boxes) remember(g *gossip.Gossip) {
	at := map[string][]netip.AddrPort{}
	for _, addr := range g.Known() {
		for _, m := range g.Members() {
			if m.Addr.Unmap() == addr.Addr().Unmap() {
				at[m.Name] = append(at[m.Name], addr)
			}
		}
	}
	b.mu.Lock()
	next := b.school
	boxes := make(map[string][]netip.AddrPort, len(next.Boxes)+len(at))
	maps.Copy(boxes, next.Boxes)
	maps.Copy(boxes, at)
	next.Boxes = boxes
	changed := !sameSchool(b.school, next)
	b.school = next
	b.mu.Unlock()
	if changed {
		if err := b.region.KeepSchool(next); err != nil {
			b.log.Debug("where the school's boxes are can't be kept", "err", err)
		}
	}
}

const defaultGossip uint16 = 7946

// gossipPort is the port of an address that Validate has seen.
func gossipPort(address string) uint16 {
	if _, port, err := net.SplitHostPort(address); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return uint16(n)
		}
	}
	return defaultGossip
}

// mine are the addresses at which the others of the school may find this box.
func (b *Boxes) mine(g *gossip.Gossip) []netip.AddrPort {
	at := g.Addr()
	if !at.IsValid() {
		return nil
	}
	if !at.Addr().IsUnspecified() && !at.Addr().IsLoopback() {
		return []netip.AddrPort{at}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		if ip.IsPrivate() || ip.IsGlobalUnicast() && !ip.IsLoopback() {
			out = append(out, netip.AddrPortFrom(ip, at.Port()))
		}
	}
	slices.SortFunc(out, func(x, y netip.AddrPort) int { return x.Compare(y) })
	return slices.Compact(out)
}
