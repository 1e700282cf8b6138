package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Limits on what comes in, before memberlist has looked at it.
const (
	maxStreams = 48
	// maxStream is what one connection may bring: memberlist would take 20 MB
	// before it knows whether the sender has the key.
	maxStream = 256 << 10
	maxPacket = 64 << 10
)

var errClosed = errors.New("gossip is closing")

// transport is UDP and TCP on one port. Unlike memberlist's own it bounds what
// strangers can make it hold, counts, is told which address to give to others,
// and leaves nothing open behind.
type transport struct {
	tell netip.AddrPort // for the others
	tcp  net.Listener
	udp  *net.UDPConn
	met  *metrics
	log  *slog.Logger

	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	quiet   atomic.Bool // no packet goes out any more
	wg      sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[*stream]struct{}
	in     int // of open, from outside
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen opens both sockets at one port; tell is the address for the others.
func listen(ctx context.Context, at netip.AddrPort, tell netip.Addr, met *metrics, log *slog.Logger) (*transport, error) {
	host := at.Addr().String()
	family := "4"
	if at.Addr().Is6() {
		family = "6"
		if at.Addr().IsUnspecified() {
			host, family = "", "" // both, or what there is
		}
	}
	var errs []error
	// A port that the kernel chose for one protocol may be taken for the other.
	for range 10 {
		var lc net.ListenConfig
		tcp, err := lc.Listen(ctx, "tcp"+family, net.JoinHostPort(host, fmt.Sprint(at.Port())))
		if err != nil {
			return nil, fmt.Errorf("listen for gossip over TCP: %w", err)
		}
		bound := portOf(tcp.Addr())
		udp, err := lc.ListenPacket(ctx, "udp"+family, net.JoinHostPort(host, fmt.Sprint(bound)))
		if err == nil {
			conn, ok := udp.(*net.UDPConn)
			if !ok {
				return nil, errors.Join(fmt.Errorf("listen for gossip over UDP: got a %T", udp), udp.Close(), tcp.Close())
			}
			t := &transport{
				tell: netip.AddrPortFrom(tell, bound), tcp: tcp, udp: conn, met: met, log: log,
				packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), done: make(chan struct{}),
				open: map[*stream]struct{}{},
			}
			t.wg.Add(2)
			go t.readPackets()
			go t.accept()
			return t, nil
		}
		tcp.Close()
		errs = append(errs, fmt.Errorf("listen for gossip over UDP: %w", err))
		if at.Port() != 0 {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func portOf(a net.Addr) uint16 {
	if p, err := netip.ParseAddrPort(a.String()); err == nil {
		return p.Port()
	}
	return 0
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(t.tell.Addr().AsSlice()), int(t.tell.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if t.quiet.Load() {
		return time.Time{}, errClosed
	}
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send gossip to %q: %w", a.Addr, err)
	}
	n, err := t.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	t.met.packetsOut.Inc()
	t.met.bytesOut.Add(float64(n))
	// As it is: memberlist looks at its type.
	return time.Now(), err
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport. memberlist gives
// no context; closing ends the dial.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-t.done:
			cancel()
		case <-stop:
		}
	}()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err // as it is: memberlist looks at its type
	}
	s := t.add(conn, false)
	if s == nil {
		conn.Close()
		return nil, errClosed
	}
	return s, nil
}

func (t *transport) readPackets() {
	defer t.wg.Done()
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		at := time.Now()
		if err != nil {
			if !t.pause(err) {
				return
			}
			continue
		}
		if !sound(buf[:n]) {
			continue
		}
		t.met.packetsIn.Inc()
		t.met.bytesIn.Add(float64(n))
		p := &memberlist.Packet{
			Buf:       append([]byte(nil), buf[:n]...),
			From:      net.UDPAddrFromAddrPort(netip.AddrPortFrom(from.Addr().Unmap(), from.Port())),
			Timestamp: at,
		}
		select {
		case t.packets <- p:
		case <-t.done:
			return
		}
	}
}

func (t *transport) accept() {
	defer t.wg.Done()
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			if !t.pause(err) {
				return
			}
			continue
		}
		s := t.add(conn, true)
		if s == nil {
			conn.Close()
			continue
		}
		select {
		case t.streams <- s:
		case <-t.done:
			if err := s.Close(); err != nil {
				t.log.Debug("gossip stream", "err", err)
			}
			return
		}
	}
}

// pause waits a little after an error that may pass; false if it is the end.
func (t *transport) pause(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	t.log.Debug("gossip socket", "err", err)
	wait := time.NewTimer(100 * time.Millisecond)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-t.done:
		return false
	}
}

// add notes an open connection; nil if there are too many, or it is over.
func (t *transport) add(conn net.Conn, inbound bool) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || inbound && t.in >= maxStreams {
		return nil
	}
	s := &stream{Conn: conn, t: t, inbound: inbound, left: maxStream, labelled: inbound}
	t.open[s] = struct{}{}
	if inbound {
		t.in++
	}
	return s
}

// Shutdown implements memberlist.Transport: afterwards nothing is open.
func (t *transport) Shutdown() error {
	t.quiet.Store(true)
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.done)
	open := make([]*stream, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	for _, s := range open {
		err = errors.Join(err, s.Close())
	}
	t.wg.Wait()
	return err
}
