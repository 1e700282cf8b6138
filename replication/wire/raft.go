package wire

import (
	"crypto/tls"
	"net"
	"sync"
)

// raftBacklog is how many connections may wait for Accept; there are at most a
// handful of servers.
const raftBacklog = 32

// streams is the net.Listener that raft sees.
type streams struct {
	addr net.Addr
	in   chan net.Conn

	once sync.Once
	gone chan struct{}
}

func newStreams(addr net.Addr, backlog int) *streams {
	return &streams{addr: addr, in: make(chan net.Conn, backlog), gone: make(chan struct{})}
}

// put hands over a connection, or closes it when nobody takes it.
func (s *streams) put(conn net.Conn) {
	select {
	case <-s.gone:
		conn.Close()
		return
	default:
	}
	select {
	case s.in <- conn:
	default:
		conn.Close()
	}
}

// hand is put, waiting until the connection is taken.
func (s *streams) hand(conn net.Conn) {
	select {
	case s.in <- conn:
	case <-s.gone:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case <-s.gone:
		return nil, ErrStopped
	case conn := <-s.in:
		return conn, nil
	}
}

// end makes Accept return and put refuse. What waited is closed by the listener
// that put it there.
func (s *streams) end() { s.once.Do(func() { close(s.gone) }) }

// Close implements net.Listener.
func (s *streams) Close() error {
	s.end()
	return nil
}

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return s.addr }

// PeerOfConn says who is at the other end of a connection that came out of
// Listener.Raft.
func PeerOfConn(conn net.Conn) (Peer, bool) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return Peer{}, false
	}
	k, ok := secured.NetConn().(*tcpLink)
	if !ok {
		return Peer{}, false
	}
	return k.link.who(), true
}
