package wire

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Way is how a server is reached.
type Way string

// The ways there are.
const (
	OverQUIC  Way = "quic"
	OverTCP   Way = "tcp"
	OverProxy Way = "proxy" // TCP, by CONNECT through an HTTP proxy
)

// network tells one network from another, as far as the way to one address
// goes: the local address that the system would use for it, and its interface.
// Two networks that give out the same address look the same; then the first
// request in the other one races anew, as what is remembered fails.
type network struct {
	local netip.Addr
	link  string
}

// networkTo asks the system, and sends nothing.
func networkTo(remote *net.UDPAddr) (network, error) {
	conn, err := net.DialUDP("udp", nil, remote)
	if err != nil {
		return network{}, err
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return network{}, net.ErrClosed
	}
	n := network{local: local.AddrPort().Addr().WithZone("").Unmap()}
	n.link = linkOf(n.local)
	return n, nil
}

// linkOf is the name of the interface that has an address, if one is found.
func linkOf(local netip.Addr) string {
	links, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err == nil && prefix.Addr().WithZone("").Unmap() == local {
				return link.Name
			}
		}
	}
	return ""
}

// place is what a memory is kept for.
type place struct {
	address string
	network network
}

// found is what is known of a place.
type found struct {
	way     Way
	until   time.Time
	probing bool // somebody finds out whether QUIC works by now
	mode    mode // of bulk, zero if not known
	learnt  time.Time
}

// memory remembers which way won, by place. It is small, and what is forgotten
// is found out again.
type memory struct {
	keep time.Duration

	mu    sync.Mutex
	known map[place]found
}

const memoryMost = 256

func newMemory(keep time.Duration) *memory { return &memory{keep: keep, known: map[place]found{}} }

// at is the way that goes first, "" if none is known, and whether the caller
// should find out in the background if QUIC works by now. Only one is told so.
func (m *memory) at(p place, now time.Time) (way Way, probe bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.known[p]
	if f.way == OverTCP && now.After(f.until) && !f.probing {
		f.probing, probe = true, true
		m.known[p] = f
	}
	return f.way, probe
}

// won notes which way worked, until it is asked again.
func (m *memory) won(p place, way Way, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.room(p)
	f.way, f.until, f.probing = way, now.Add(m.keep), false
	m.known[p] = f
}

// lost forgets a way that does not work any more.
func (m *memory) lost(p place, way Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.known[p]; f.way == way {
		f.way = ""
		m.known[p] = f
	}
}

// mode is what bulk learnt here, zero if nothing or too long ago.
func (m *memory) mode(p place, now time.Time) mode {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.known[p]; now.Sub(f.learnt) < m.keep {
		return f.mode
	}
	return mode{}
}

func (m *memory) learn(p place, what mode, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.room(p)
	f.mode, f.learnt = what, now
	m.known[p] = f
}

// room is what is known of a place that is about to be noted. The lock is held.
func (m *memory) room(p place) found {
	f, ok := m.known[p]
	if !ok && len(m.known) >= memoryMost {
		for other := range m.known { // any will do
			delete(m.known, other)
			break
		}
	}
	return f
}
