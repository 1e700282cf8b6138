package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
)

// notPublic are the networks that no site of the Internet is in (RFC 6890 and
// its registries), beside those that embed IPv4 addresses.
var notPublic = prefixes(
	"0.0.0.0/8",       // this host, RFC 1122 §3.2.1.3
	"10.0.0.0/8",      // private, RFC 1918
	"100.64.0.0/10",   // behind a provider's NAT, RFC 6598
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, RFC 3927: also where clouds keep their secrets
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments, RFC 6890
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"::/96",           // unspecified, loopback, and IPv4-compatible addresses (RFC 4291 §2.5.5.1)
	"64:ff9b:1::/48",  // NAT64 of a network's own, RFC 8215
	"100::/64",        // discarded, RFC 6666
	"2001::/23",       // protocol assignments, with Teredo
	"2001:db8::/32",   // documentation
	"fc00::/7",        // unique local, RFC 4193
	"fe80::/10",       // link-local
	"fec0::/10",       // site-local, RFC 3879
	"ff00::/8",        // multicast
)

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixto4 = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// private reports whether a is an address that a site of the Internet can't
// have. What wraps an IPv4 address is judged by that.
func private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return true
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return true
		}
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return private(netip.AddrFrom4([4]byte(b[12:16])))
	case sixto4.Contains(a):
		return private(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return false
}

// PrivateError reports a site whose name leads to addresses that no site of the
// Internet has, so that nothing was connected to.
type PrivateError struct {
	Host  string
	Addrs []netip.Addr
}

func (e *PrivateError) Error() string {
	list := make([]string, len(e.Addrs))
	for i, a := range e.Addrs {
		list[i] = a.String()
	}
	return fmt.Sprintf("%s leads to %s, which is private and was not connected to: "+
		"write private_addresses = true for the site if that is right, "+
		"else ask who looks after the school's DNS or filter", e.Host, strings.Join(list, ", "))
}

// guard dials a site's name and connects to public addresses only: to those
// that the name has at that moment, so that a name that changes its mind gains
// nothing. Whoever writes an address, or localhost, for the site has said that
// they mean it.
type guard struct {
	dialer net.Dialer
	allow  func(netip.Addr) bool
}

func newGuard(cfg Config, dialer net.Dialer) *guard {
	g := &guard{dialer: dialer, allow: func(a netip.Addr) bool { return !private(a) }}
	host := cfg.URL.Hostname()
	if own, err := netip.ParseAddr(host); err == nil {
		own = own.Unmap()
		g.allow = func(a netip.Addr) bool { return a.Unmap() == own }
	} else if isLocalhost(host) {
		g.allow = func(a netip.Addr) bool { return a.Unmap().IsLoopback() }
	}
	if cfg.PrivateAddresses {
		g.allow = func(netip.Addr) bool { return true }
	}
	return g
}

// isLocalhost reports the names of RFC 6761 §6.3.
func isLocalhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// oddAddress reports hosts that some resolvers take for an IPv4 address and
// others for a name, such as 127.1 and 0x7f000001.
func oddAddress(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	hex, isHex := strings.CutPrefix(strings.ToLower(last), "0x")
	return strings.Trim(last, "0123456789") == "" || isHex && strings.Trim(hex, "0123456789abcdef") == ""
}

// look is what became of the addresses of one dial.
type look struct {
	mu      sync.Mutex // addresses of both families are tried side by side
	refused []netip.Addr
	tried   []string
}

func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	seen := &look{}
	d := g.dialer
	d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address to connect to: %w", err)
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if !g.allow(ap.Addr()) {
			seen.refused = append(seen.refused, ap.Addr())
			return &PrivateError{Host: host, Addrs: []netip.Addr{ap.Addr()}}
		}
		seen.tried = append(seen.tried, address)
		return nil
	}
	c, err := d.DialContext(ctx, network, addr)
	if _, refused := errors.AsType[*PrivateError](err); !refused {
		return c, err
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.tried) == 0 {
		return nil, &PrivateError{Host: host, Addrs: seen.refused}
	}
	// The dialer tells of the first address only. It is what became of the
	// others that says how the line is.
	for _, address := range seen.tried {
		if c, err = g.dialer.DialContext(ctx, network, address); err == nil {
			return c, nil
		}
	}
	return nil, err
}
