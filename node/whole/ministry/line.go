//go:build linux

package ministry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// idle is how long a way over UDP is kept without a datagram from the far side.
const idle = 3 * time.Minute

// lines are the ways to the region's servers, over TCP and UDP. All of a region
// share them, so whose a connection is is asked of the kernel when it matters.
type lines struct {
	wg sync.WaitGroup

	mu     sync.Mutex
	closed bool
	ends   map[io.Closer]struct{} // all sockets
	ways   map[*way]struct{}
	off    []int         // processes that are cut off
	mended chan struct{} // closed when nobody is
}

// way is what one connection, or one client of UDP, goes by.
type way struct {
	network string // tcp or udp
	client  netip.AddrPort
	cut     bool // its process is cut off
}

func newLines() *lines {
	open := make(chan struct{})
	close(open)
	return &lines{ends: map[io.Closer]struct{}{}, ways: map[*way]struct{}{}, mended: open}
}

// to opens a line to address, and says at which address.
func (l *lines) to(ctx context.Context, address string) (string, error) {
	at, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", at)
	if err != nil {
		return "", err
	}
	l.own(tcp)
	packets, err := lc.ListenPacket(ctx, "udp", at)
	if err != nil {
		return "", err
	}
	udp, ok := packets.(*net.UDPConn)
	if !ok {
		return "", fmt.Errorf("UDP on %s: %T", at, packets)
	}
	l.own(udp)
	l.wg.Go(func() { l.accept(tcp, address) })
	l.wg.Go(func() { l.datagrams(udp, address) })
	return at, nil
}

// own has close close a socket. It closes it at once if that has been.
func (l *lines) own(end io.Closer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		end.Close() // nothing was sent
		return false
	}
	l.ends[end] = struct{}{}
	return true
}

func (l *lines) drop(ends ...io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range ends {
		end.Close() // or the other side has
		delete(l.ends, end)
	}
}

// open begins a way; shut ends it.
func (l *lines) open(network string, client netip.AddrPort) *way {
	w := &way{network: network, client: client}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ways[w] = struct{}{}
	w.cut = l.isOff(w)
	return w
}

func (l *lines) shut(w *way) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ways, w)
}

// held is a channel to wait for if the way is cut now, else nil.
func (l *lines) held(w *way) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.cut {
		return nil
	}
	return l.mended
}

// isOff reports whether a way is one of a process that is cut off. The lock is
// held.
func (l *lines) isOff(w *way) bool {
	for _, pid := range l.off {
		if socketsOf(pid)[socket{w.network, w.client.Port()}] {
			return true
		}
	}
	return false
}

// cut cuts a process off.
func (l *lines) cut(pid int) error {
	if pid == 0 {
		return errors.New("cut off: the process does not run")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.off) == 0 {
		l.mended = make(chan struct{})
	}
	l.off = append(l.off, pid)
	theirs := socketsOf(pid)
	for w := range l.ways {
		w.cut = w.cut || theirs[socket{w.network, w.client.Port()}]
	}
	return nil
}

// mend takes all cuts away.
func (l *lines) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.off) == 0 {
		return
	}
	l.off = nil
	for w := range l.ways {
		w.cut = false
	}
	close(l.mended)
}

func (l *lines) close() error {
	l.mu.Lock()
	l.closed = true
	for end := range l.ends {
		end.Close() // or the other side has
	}
	l.mu.Unlock()
	l.mend()
	l.wg.Wait()
	return nil
}

func (l *lines) accept(tcp net.Listener, address string) {
	for {
		near, err := tcp.Accept()
		if err != nil {
			return // closed
		}
		l.wg.Go(func() { l.connection(near, address) })
	}
}

func (l *lines) connection(near net.Conn, address string) {
	if !l.own(near) {
		return
	}
	defer l.drop(near)
	client, err := netip.ParseAddrPort(near.RemoteAddr().String())
	if err != nil {
		return
	}
	w := l.open("tcp", client)
	defer l.shut(w)
	if held := l.held(w); held != nil {
		<-held
	}
	far, err := net.DialTimeout("tcp", address, 10*time.Second) //nolint:noctx // on loopback: it ends by itself
	if err != nil || !l.own(far) {
		return
	}
	defer l.drop(far)
	var both sync.WaitGroup
	both.Go(func() { l.carry(w, far, near) })
	both.Go(func() { l.carry(w, near, far) })
	both.Wait()
}

// carry takes bytes one way, until either side ends.
func (l *lines) carry(w *way, to, from net.Conn) {
	// What broke off is not to look whole: both sides learn of it.
	defer to.Close()
	defer from.Close()
	p := make([]byte, 64<<10)
	for {
		n, err := from.Read(p)
		if held := l.held(w); held != nil {
			<-held
		}
		if n > 0 {
			if _, err := to.Write(p[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// datagrams takes what clients send to the server. Each has a socket there.
func (l *lines) datagrams(udp *net.UDPConn, address string) {
	var mu sync.Mutex
	type flow struct {
		*way
		far net.Conn
	}
	flows := map[netip.AddrPort]flow{}
	p := make([]byte, 64<<10)
	for {
		n, client, err := udp.ReadFromUDPAddrPort(p)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a server that was away
		}
		mu.Lock()
		f, ok := flows[client]
		mu.Unlock()
		if !ok {
			far, err := net.Dial("udp", address) //nolint:noctx // it sends nothing
			if err != nil || !l.own(far) {
				continue
			}
			f = flow{l.open("udp", client), far}
			mu.Lock()
			flows[client] = f
			mu.Unlock()
			l.wg.Go(func() {
				l.back(f.way, f.far, udp)
				mu.Lock()
				delete(flows, client)
				mu.Unlock()
				l.shut(f.way)
				l.drop(f.far)
			})
		}
		if l.held(f.way) == nil {
			f.far.Write(p[:n]) //nolint:errcheck // a datagram may be lost
		}
	}
}

// back takes what a server sends to a client.
func (l *lines) back(w *way, far net.Conn, udp *net.UDPConn) {
	p := make([]byte, 64<<10)
	for {
		if err := far.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		n, err := far.Read(p)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err == nil && l.held(w) == nil { // an error: the server is away
			udp.WriteToUDPAddrPort(p[:n], w.client) //nolint:errcheck // a datagram may be lost
		}
	}
}
