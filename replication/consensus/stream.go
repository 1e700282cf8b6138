package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A connection begins with a greeting, so that servers of different regions, or
// of different pasts of one, never mix their logs:
//
//	"PREAURF1", then cluster id and past, each a length (1 byte) and bytes
//
// The one that was called answers with one byte before its first answer. That
// costs no round trip: the caller reads it when it reads what it asked for.
const (
	greeting = "PREAURF1"

	welcome      = 0
	otherCluster = 1
	otherPast    = 2
)

// stream is raft's view of a Transport. It closes what it opened: raft leaves
// connections that others made to it open until those close them.
type stream struct {
	n     *Node
	under Transport

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	// taken counts connections that raft is serving.
	taken sync.WaitGroup

	refusedMu sync.Mutex
	refused   map[string]error // by address: why a server does not talk to us
}

var _ raft.StreamLayer = (*stream)(nil)

func newStream(n *Node, t Transport) *stream {
	return &stream{n: n, under: t, conns: map[net.Conn]struct{}{}, refused: map[string]error{}}
}

// Addr is the address that others use, which is not always the one we listen on.
func (s *stream) Addr() net.Addr { return address(s.n.cfg.Address) }

type address string

func (address) Network() string  { return "raft" }
func (a address) String() string { return string(a) }

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	for {
		c, err := s.under.Accept()
		if err != nil {
			return nil, err
		}
		g := &guest{Conn: c, s: s}
		if s.keep(g, true) {
			return g, nil
		}
		c.Close()
	}
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.n.ctx, timeout)
	defer cancel()
	c, err := s.under.DialServer(ctx, string(to))
	if err != nil {
		return nil, err
	}
	v := s.n.note.get()
	h := &caller{Conn: c, s: s, to: string(to), hello: putGreeting(v.Cluster, v.Past)}
	if !s.keep(h, false) {
		c.Close()
		return nil, net.ErrClosed
	}
	return h, nil
}

func (s *stream) keep(c net.Conn, served bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	if served {
		s.taken.Add(1)
	}
	return true
}

func (s *stream) forget(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, had := s.conns[c]
	delete(s.conns, c)
	return had
}

// Close implements net.Listener: it ends every connection too.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	var open []io.Closer
	for c := range s.conns {
		switch c := c.(type) {
		case *guest:
			open = append(open, c.Conn)
		case *caller:
			open = append(open, c.Conn)
		}
	}
	s.mu.Unlock()
	err := s.under.Close()
	for _, c := range open {
		c.Close()
	}
	return err
}

func (s *stream) setRefused(to string, why error) {
	s.refusedMu.Lock()
	defer s.refusedMu.Unlock()
	if why == nil {
		delete(s.refused, to)
		return
	}
	s.refused[to] = why
}

// whyRefused says why the server at an address does not talk to us, nil if it does
// or does not answer at all.
func (s *stream) whyRefused(to string) error {
	s.refusedMu.Lock()
	defer s.refusedMu.Unlock()
	return s.refused[to]
}

func putGreeting(cluster, past string) []byte {
	b := []byte(greeting)
	for _, part := range []string{cluster, past} {
		b = append(b, byte(len(part)))
		b = append(b, part...)
	}
	return b
}

// readGreeting reads what the other end says it is; io.EOF if it said nothing.
func readGreeting(r io.Reader) (cluster, past string, err error) {
	head := make([]byte, len(greeting))
	if _, err := io.ReadFull(r, head); err != nil {
		return "", "", err
	}
	if string(head) != greeting {
		return "", "", errors.New("the caller does not speak raft as this region does")
	}
	for _, part := range []*string{&cluster, &past} {
		var size [1]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return "", "", noEOF(err)
		}
		b := make([]byte, size[0])
		if _, err := io.ReadFull(r, b); err != nil {
			return "", "", noEOF(err)
		}
		*part = string(b)
	}
	return cluster, past, nil
}

// caller is a connection that we made.
type caller struct {
	net.Conn
	s     *stream
	to    string
	hello []byte // until it is sent
	known bool   // the answer to it was read
}

// Write sends the greeting in front of the first bytes. Raft writes from one
// goroutine at a time, and reads from one.
func (c *caller) Write(p []byte) (int, error) {
	if c.hello == nil {
		return c.Conn.Write(p)
	}
	first := append(c.hello, p...)
	c.hello = nil
	n, err := c.Conn.Write(first)
	return max(0, n-(len(first)-len(p))), err
}

func (c *caller) Read(p []byte) (int, error) {
	if !c.known {
		var b [1]byte
		if _, err := io.ReadFull(c.Conn, b[:]); err != nil {
			return 0, err
		}
		if b[0] != welcome {
			err := fmt.Errorf("server at %s: %w", c.to, ErrWrongCluster)
			if b[0] == otherPast {
				err = fmt.Errorf("server at %s has a past of its own, bootstrapped apart or from before a recovery: %w: remove its folder and join it again",
					c.to, ErrWrongCluster)
			}
			c.s.setRefused(c.to, err)
			return 0, err
		}
		c.s.setRefused(c.to, nil)
		c.known = true
	}
	return c.Conn.Read(p)
}

func (c *caller) Close() error {
	c.s.forget(c)
	return c.Conn.Close()
}

// guest is a connection that another server made.
type guest struct {
	net.Conn
	s   *stream
	met bool
}

func (g *guest) Read(p []byte) (int, error) {
	if !g.met {
		answer, err := g.meet()
		if err == io.EOF { //nolint:errorlint // as raft compares it
			return 0, err
		}
		if err != nil {
			// Best effort: the caller finds the connection closed anyway.
			if _, werr := g.Write([]byte{answer}); werr != nil {
				err = errors.Join(err, werr)
			}
			return 0, err
		}
		if _, err := g.Write([]byte{welcome}); err != nil {
			return 0, err
		}
		g.met = true
	}
	return g.Conn.Read(p)
}

// meet reads the greeting. A server that was not in any region yet takes on the
// past of the first that calls.
func (g *guest) meet() (byte, error) {
	if err := g.SetReadDeadline(time.Now().Add(g.s.n.cfg.RPCTimeout)); err != nil {
		return otherCluster, err
	}
	cluster, past, err := readGreeting(g.Conn)
	if err != nil {
		return otherCluster, err
	}
	if err := g.SetReadDeadline(time.Time{}); err != nil {
		return otherCluster, err
	}
	answer := byte(welcome)
	err = g.s.n.note.change(func(v *note) error {
		switch {
		case cluster != v.Cluster:
			answer = otherCluster
			return fmt.Errorf("a server of region %q called: %w", cluster, ErrWrongCluster)
		case v.Past == "" && past != "":
			v.Past, v.Joined = past, true
		case past != v.Past || v.Past == "":
			answer = otherPast
			return fmt.Errorf("a server of another past of the region called: %w: one of the two must be removed and joined again", ErrWrongCluster)
		}
		return nil
	})
	if err != nil {
		if answer == welcome {
			answer = otherPast
		}
		g.s.n.log.Warn("server refused", "remote", g.RemoteAddr().String(), "err", err)
	}
	return answer, err
}

func (g *guest) Close() error {
	if g.s.forget(g) {
		g.s.taken.Done()
	}
	return g.Conn.Close()
}
