// Package consensustest holds what tests of a region in memory need: a network
// that loses, delays and parts, a disk that crashes and fills up, and a machine
// on such a disk. All of it works inside a synctest bubble, and draws from the
// seed that it is given.
//
// None of it is for production.
package consensustest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Network connects endpoints in memory, the way TCP would: what is lost comes
// late, what is cut off comes when the cut is mended or when somebody gives up.
type Network struct {
	mu        sync.Mutex
	rng       *rand.Rand
	endpoints map[string]*Endpoint
	cut       map[[2]string]bool
	loss      float64
	low, high time.Duration
	changed   chan struct{}
}

// retransmit is how late a lost packet comes.
const retransmit = 200 * time.Millisecond

// NewNetwork makes a network without delay or loss.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rng:       rand.New(rand.NewPCG(seed, 1)),
		endpoints: map[string]*Endpoint{},
		cut:       map[[2]string]bool{},
		changed:   make(chan struct{}),
	}
}

func (n *Network) update(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// SetDelay makes every packet take between low and high.
func (n *Network) SetDelay(low, high time.Duration) { n.update(func() { n.low, n.high = low, high }) }

// SetLoss makes a share of the packets come late.
func (n *Network) SetLoss(share float64) { n.update(func() { n.loss = share }) }

// Cut parts a from b in one direction: nothing that a sends reaches b.
func (n *Network) Cut(a, b string) { n.update(func() { n.cut[[2]string{a, b}] = true }) }

// Part parts two groups in both directions.
func (n *Network) Part(as, bs []string) {
	n.update(func() {
		for _, a := range as {
			for _, b := range bs {
				if a != b {
					n.cut[[2]string{a, b}] = true
					n.cut[[2]string{b, a}] = true
				}
			}
		}
	})
}

// Isolate parts a from everybody.
func (n *Network) Isolate(a string) {
	n.mu.Lock()
	var others []string
	for b := range n.endpoints {
		others = append(others, b)
	}
	n.mu.Unlock()
	n.Part([]string{a}, others)
}

// Heal mends every cut.
func (n *Network) Heal() { n.update(func() { clear(n.cut) }) }

// open says whether a's packets reach b, and gives a channel that is closed when
// that may have changed.
func (n *Network) open(a, b string) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[[2]string{a, b}], n.changed
}

// delay draws how long a packet takes.
func (n *Network) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.low
	if n.high > n.low {
		d += time.Duration(n.rng.Int64N(int64(n.high - n.low)))
	}
	if n.loss > 0 && n.rng.Float64() < n.loss {
		d += retransmit
	}
	return d
}

// Endpoint is a consensus.Transport at an address, instead of the one that was
// there before.
func (n *Network) Endpoint(address string) *Endpoint {
	e := &Endpoint{net: n, address: address, queue: make(chan net.Conn, 64), closed: make(chan struct{})}
	n.update(func() { n.endpoints[address] = e })
	return e
}

// Endpoint is one end of a Network.
type Endpoint struct {
	net     *Network
	address string
	queue   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// Accept implements net.Listener.
func (e *Endpoint) Accept() (net.Conn, error) {
	select {
	case c := <-e.queue:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (e *Endpoint) Close() error {
	e.once.Do(func() { close(e.closed) })
	for {
		select {
		case c := <-e.queue:
			if err := c.Close(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (e *Endpoint) Addr() net.Addr { return address(e.address) }

type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }

var errRefused = errors.New("connection refused")

// DialServer connects to the endpoint at an address.
func (e *Endpoint) DialServer(ctx context.Context, to string) (net.Conn, error) {
	for {
		there, changed := e.net.open(e.address, to)
		back, _ := e.net.open(to, e.address)
		if there && back {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s: %w", to, ctx.Err())
		case <-e.closed:
			return nil, net.ErrClosed
		}
	}
	e.net.mu.Lock()
	other := e.net.endpoints[to]
	e.net.mu.Unlock()
	if other == nil {
		return nil, fmt.Errorf("dial %s: %w", to, errRefused)
	}
	a, b := newPipe(e.net, e.address, to), newPipe(e.net, to, e.address)
	mine, theirs := &conn{in: b, out: a}, &conn{in: a, out: b}
	select {
	case <-other.closed:
		return nil, fmt.Errorf("dial %s: %w", to, errRefused)
	default:
	}
	select {
	case other.queue <- theirs:
		return mine, nil
	case <-other.closed:
		return nil, fmt.Errorf("dial %s: %w", to, errRefused)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", to, ctx.Err())
	}
}

// pipe is one direction of a connection.
type pipe struct {
	net      *Network
	from, to string

	mu       sync.Mutex
	packets  []packet
	size     int
	ended    bool // the writer closed
	gone     bool // the reader closed
	last     time.Time
	changed  chan struct{}
	deadline time.Time // of the reader
	wdead    time.Time // of the writer
}

type packet struct {
	at   time.Time
	data []byte
}

// window is how much is under way at most.
const window = 1 << 20

func newPipe(n *Network, from, to string) *pipe {
	return &pipe{net: n, from: from, to: to, changed: make(chan struct{})}
}

// wake tells whoever waits; the lock is held.
func (p *pipe) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) read(b []byte) (int, error) {
	for {
		open, net1 := p.net.open(p.from, p.to)
		now := time.Now()
		p.mu.Lock()
		wait := time.Duration(-1)
		switch {
		case p.gone:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case !p.deadline.IsZero() && !now.Before(p.deadline):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(p.packets) > 0 && open && !now.Before(p.packets[0].at):
			first := &p.packets[0]
			n := copy(b, first.data)
			if first.data = first.data[n:]; len(first.data) == 0 {
				p.packets = p.packets[1:]
			}
			p.size -= n
			p.wake()
			p.mu.Unlock()
			return n, nil
		case len(p.packets) > 0 && open:
			wait = p.packets[0].at.Sub(now)
		case len(p.packets) == 0 && p.ended && open:
			p.mu.Unlock()
			return 0, io.EOF
		}
		if !p.deadline.IsZero() {
			if left := p.deadline.Sub(now); wait < 0 || left < wait {
				wait = left
			}
		}
		changed := p.changed
		p.mu.Unlock()
		sleep(wait, changed, net1)
	}
}

func (p *pipe) write(b []byte) (int, error) {
	d := p.net.delay()
	for {
		now := time.Now()
		p.mu.Lock()
		switch {
		case p.ended:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case p.gone:
			p.mu.Unlock()
			return 0, io.ErrClosedPipe
		case !p.wdead.IsZero() && !now.Before(p.wdead):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case p.size < window:
			at := now.Add(d)
			if at.Before(p.last) {
				at = p.last // a stream keeps its order
			}
			p.last = at
			p.packets = append(p.packets, packet{at: at, data: append([]byte(nil), b...)})
			p.size += len(b)
			p.wake()
			p.mu.Unlock()
			return len(b), nil
		}
		wait := time.Duration(-1)
		if !p.wdead.IsZero() {
			wait = p.wdead.Sub(now)
		}
		changed := p.changed
		p.mu.Unlock()
		sleep(wait, changed, nil)
	}
}

func sleep(wait time.Duration, a, b <-chan struct{}) {
	var timer <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-a:
	case <-b:
	case <-timer:
	}
}

func (p *pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.wake()
}

// conn is one end of a connection.
type conn struct{ in, out *pipe }

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *conn) Close() error {
	c.in.set(func() { c.in.gone = true })
	c.out.set(func() { c.out.ended = true })
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return address(c.out.from) }
func (c *conn) RemoteAddr() net.Addr { return address(c.out.to) }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.deadline = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.wdead = t })
	return nil
}
