package wire

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"preau/replication/identity"
)

// link is one connection that the listener accepted, over TCP or QUIC.
type link struct {
	shut func() error
	to   *links

	mu     sync.Mutex
	peer   Peer
	known  bool // the handshake is done: peer is who it says, or anonymous
	until  time.Time
	closed bool
}

func (k *link) who() Peer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.peer
}

// Close closes the connection at once: what TLS above it wants to say in
// farewell does not matter, as both HTTP/2 and raft have their own ends.
func (k *link) Close() error {
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	k.mu.Unlock()
	err := k.shut()
	if first {
		k.to.remove(k)
	}
	return err
}

// tcpLink is a link as the connection below its TLS.
type tcpLink struct {
	net.Conn
	link *link
}

// Close implements net.Conn.
func (k *tcpLink) Close() error { return k.link.Close() }

// cut is Close where there is nobody to tell how it went.
func (k *link) cut() {
	if err := k.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		k.to.log.Debug("connection did not close well", "err", err)
	}
}

// links are the connections that are open, with their limits.
type links struct {
	cfg Config
	met *metrics
	log *slog.Logger

	mu        sync.Mutex
	open      map[*link]struct{}
	anonymous int
	of        map[identity.Identity]int
}

func newLinks(cfg Config, met *metrics, log *slog.Logger) *links {
	return &links{cfg: cfg, met: met, log: log, open: map[*link]struct{}{}, of: map[identity.Identity]int{}}
}

// add takes in a fresh connection, or says that there are too many.
func (s *links) add(shut func() error) (*link, bool) {
	k := &link{shut: shut, to: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.cfg.MaxConns {
		return nil, false
	}
	s.open[k] = struct{}{}
	return k, true
}

// name notes who is on the connection, or says that this peer has too many. It
// is false too for a connection that was closed meanwhile.
func (s *links) name(k *link, peer Peer, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.open[k]; !open {
		return false
	}
	if peer.Anonymous() {
		if s.anonymous >= s.cfg.MaxAnonymous {
			return false
		}
		s.anonymous++
	} else {
		if s.of[peer.Identity] >= s.cfg.MaxPerPeer {
			return false
		}
		s.of[peer.Identity]++
	}
	k.mu.Lock()
	k.peer, k.known = peer, true
	if peer.Anonymous() {
		k.until = now.Add(s.cfg.AnonymousTimeout)
	}
	k.mu.Unlock()
	s.met.connections.WithLabelValues(roleOf(peer)).Inc()
	return true
}

func (s *links) remove(k *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.open[k]; !open {
		return
	}
	delete(s.open, k)
	k.mu.Lock()
	peer, known := k.peer, k.known
	k.mu.Unlock()
	if !known {
		return
	}
	s.met.connections.WithLabelValues(roleOf(peer)).Dec()
	if peer.Anonymous() {
		s.anonymous--
	} else if s.of[peer.Identity]--; s.of[peer.Identity] == 0 {
		delete(s.of, peer.Identity)
	}
}

// all are the connections whose peer is known, or every one.
func (s *links) all(known bool) []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]*link, 0, len(s.open))
	for k := range s.open {
		k.mu.Lock()
		if k.known || !known {
			found = append(found, k)
		}
		k.mu.Unlock()
	}
	return found
}

// drop closes the connections of peers that unwanted says so of.
func (s *links) drop(unwanted func(Peer) bool) int {
	dropped := 0
	for _, k := range s.all(true) {
		if unwanted(k.who()) {
			k.cut()
			dropped++
		}
	}
	s.met.dropped.Add(float64(dropped))
	return dropped
}

// sweep closes what has outlived its welcome: anonymous connections that are
// old, and those that began with a certificate which has lapsed since, so that
// the peer comes again and is marked.
func (s *links) sweep(now time.Time) {
	dropped := 0
	for _, k := range s.all(true) {
		k.mu.Lock()
		over := !k.until.IsZero() && now.After(k.until)
		lapsed := !k.peer.Lapsed && k.peer.at(now).Lapsed
		k.mu.Unlock()
		if over || lapsed {
			k.cut()
			dropped++
		}
	}
	s.met.dropped.Add(float64(dropped))
}

func roleOf(p Peer) string {
	if p.Anonymous() {
		return "anonymous"
	}
	return string(p.Role)
}
