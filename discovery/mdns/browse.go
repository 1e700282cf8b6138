package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/grandcat/zeroconf"

	"preau/discovery/mdns/links"
	"preau/discovery/mdns/message"
)

// browseFor is how long is listened for answers.
const browseFor = 2 * time.Second

// browse asks once for the boxes on all links and takes in who answers. Each
// time is a fresh one: a browse that goes on asks no more after the first
// answer, and never tells of a box that moved (zeroconf v1.0.0). It asks by IPv4,
// IPv6 or both, and on a link that lacks that family by the other.
func (m *MDNS) browse(ctx context.Context, all []links.Link, by [2]bool) error {
	ctx, cancel := context.WithTimeout(ctx, min(browseFor, m.cfg.BrowseEvery/2))
	defer cancel()
	var wg sync.WaitGroup
	var errs [2]error
	for i, family := range []zeroconf.IPType{zeroconf.IPv4, zeroconf.IPv6} {
		var on []net.Interface
		for _, l := range all {
			if !l.Has(i == 1) || !by[i] && l.Has(i == 0) {
				continue
			}
			if ifi, err := net.InterfaceByIndex(l.Index); err == nil {
				on = append(on, *ifi)
			}
		}
		if len(on) == 0 {
			errs[i] = errNoLink
			continue
		}
		// Each family by itself: a resolver of both fails if one is missing.
		wg.Go(func() { errs[i] = m.browseFamily(ctx, family, on, all) })
	}
	wg.Wait()
	if errs[0] == nil || errs[1] == nil {
		return nil
	}
	return errors.Join(errs[:]...)
}

var errNoLink = errors.New("no interface")

func (m *MDNS) browseFamily(ctx context.Context, family zeroconf.IPType, on []net.Interface, all []links.Link) error {
	r, err := zeroconf.NewResolver(zeroconf.SelectIPTraffic(family), zeroconf.SelectIfaces(on))
	if err != nil {
		return fmt.Errorf("browse: %w", err)
	}
	// From here on the library has a goroutine that closes both its sockets and
	// the channel when the context ends, and that hangs if nobody reads.
	entries := make(chan *zeroconf.ServiceEntry, 16)
	err = r.Browse(ctx, Service, "local", entries)
	for e := range entries {
		if m.found(time.Now(), e, all) {
			m.tell()
		}
	}
	if err != nil {
		return fmt.Errorf("browse: %w", err)
	}
	return nil
}

// found takes in what the library tells. It does not say where it heard it: that
// is where the addresses belong.
func (m *MDNS) found(now time.Time, e *zeroconf.ServiceEntry, all []links.Link) bool {
	if e.Port <= 0 || e.Port > 65535 {
		return false
	}
	var addrs []netip.Addr
	for _, ips := range [][]net.IP{e.AddrIPv4, e.AddrIPv6} {
		for _, ip := range ips {
			if a, ok := netip.AddrFromSlice(ip); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	var text []string
	for _, s := range e.Text {
		text = append(text, unescape(s))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	news := false
	for _, l := range all {
		said := entry{host: message.Fold(trimDot(e.HostName)), port: uint16(e.Port), text: text} //nolint:gosec // checked
		for _, a := range addrs {
			switch {
			case !l.Near(a):
			case !a.IsLinkLocalUnicast() || a.Is4():
				said.addrs = append(said.addrs, a)
			case len(all) == 1: // otherwise it may be on any of them
				said.addrs = append(said.addrs, a.WithZone(l.Name))
			}
		}
		if len(said.addrs) > 0 {
			said.from = said.addrs[0]
			news = m.table.put(now, place{unescape(e.Instance), l.Name}, said) || news
		}
	}
	return news
}
