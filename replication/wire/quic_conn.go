package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// quicConn is one QUIC connection that we dialled, with a socket of its own. It
// follows this node from one network to another, and its goroutine ends with it.
type quicConn struct {
	conn   *quic.Conn
	web    *http3.ClientConn
	remote *net.UDPAddr
	idle   time.Duration

	mu      sync.Mutex
	ways    []*quicSocket // the last one is in use
	running int
	used    time.Time
	ended   chan struct{}
	dead    atomic.Bool // known a moment before the connection's context says so
}

// quicSocket is a UDP socket that only one server can speak to. Being connected
// it hears of ports that are closed, so that nobody waits for them.
type quicSocket struct {
	udpOne
	transport *quic.Transport
}

// udpOne leaves out the address that a connected socket knows already.
type udpOne struct{ *net.UDPConn }

// WriteMsgUDP implements quic.OOBCapablePacketConn.
func (c udpOne) WriteMsgUDP(b, oob []byte, _ *net.UDPAddr) (int, int, error) {
	return c.UDPConn.WriteMsgUDP(b, oob, nil)
}

// WriteTo implements net.PacketConn.
func (c udpOne) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

func openSocket(remote *net.UDPAddr) (*quicSocket, error) {
	conn, err := net.DialUDP("udp", nil, remote)
	if err != nil {
		return nil, err
	}
	s := &quicSocket{udpOne: udpOne{conn}}
	s.transport = &quic.Transport{Conn: s.udpOne}
	return s, nil
}

// end closes the socket and waits for who reads it.
func (s *quicSocket) end() error { return errors.Join(s.transport.Close(), s.Close()) }

func (d *Dialer) resolve(ctx context.Context, address string) (*net.UDPAddr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "localhost"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	// The resolver has sorted them by RFC 6724.
	return &net.UDPAddr{IP: addrs[0].Unmap().AsSlice(), Port: number, Zone: addrs[0].Zone()}, nil
}

// dialQUIC opens a connection and shakes hands.
func (d *Dialer) dialQUIC(ctx context.Context, target Target) (*quicConn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.DialTimeout, fmt.Errorf("no answer over QUIC from %s in %v", target, d.cfg.DialTimeout))
	defer cancel()
	remote, err := d.resolve(ctx, target.Address)
	if err != nil {
		return nil, err
	}
	socket, err := openSocket(remote)
	if err != nil {
		return nil, err
	}
	conn, err := socket.transport.Dial(ctx, remote, d.tlsConfig(target, protoHTTP3), &quic.Config{
		HandshakeIdleTimeout:           d.cfg.HandshakeTimeout,
		MaxIdleTimeout:                 d.cfg.Silence + d.cfg.PingTimeout,
		KeepAlivePeriod:                d.cfg.KeepAlive,
		InitialStreamReceiveWindow:     1 << 20,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: 2 << 20,
		MaxConnectionReceiveWindow:     8 << 20,
		MaxIncomingStreams:             -1, // a server begins none (RFC 9114 §6.1)
		MaxIncomingUniStreams:          8,
	})
	if err != nil {
		return nil, errors.Join(refusal(err), socket.end())
	}
	web := (&http3.Transport{MaxResponseHeaderBytes: d.cfg.MaxHeaderBytes, DisableCompression: true}).NewClientConn(conn)
	q := &quicConn{
		conn: conn, web: web, remote: remote, idle: d.cfg.IdleTimeout,
		ways: []*quicSocket{socket}, used: time.Now(), ended: make(chan struct{}),
	}
	go q.keep() //nolint:contextcheck // it lives as long as the connection
	return q, nil
}

// keep looks after the connection until it is closed, by whomever.
func (q *quicConn) keep() {
	defer close(q.ended)
	tick := time.NewTicker(networkEvery)
	defer tick.Stop()
	for {
		select {
		case <-q.conn.Context().Done():
			q.mu.Lock()
			ways := q.ways
			q.ways = nil
			q.mu.Unlock()
			for _, s := range ways {
				if err := s.end(); err != nil && !errors.Is(err, net.ErrClosed) {
					continue // nobody is left to tell
				}
			}
			return
		case <-tick.C:
			q.mu.Lock()
			unused := q.running == 0 && time.Since(q.used) > q.idle
			q.mu.Unlock()
			if unused {
				q.close()
			} else {
				q.follow()
			}
		}
	}
}

// networkEvery is how often is looked whether the local address is another.
const networkEvery = 2 * time.Second

// follow moves the connection to another socket when the system would reach the
// server from another address than before (RFC 9000 §9). If the way there does
// not answer, the old one is left as it is; the idle timeout ends it.
func (q *quicConn) follow() {
	probe, err := net.DialUDP("udp", nil, q.remote)
	if err != nil {
		return // no network at the moment
	}
	local, ok := probe.LocalAddr().(*net.UDPAddr)
	probe.Close()
	q.mu.Lock()
	now, is := q.ways[len(q.ways)-1].LocalAddr().(*net.UDPAddr)
	q.mu.Unlock()
	if !ok || !is || local.IP.Equal(now.IP) {
		return
	}
	if err := q.move(); err != nil && q.conn.Context().Err() == nil {
		// The address that it was bound to is gone, so nothing can come any more.
		q.close()
	}
}

// move takes a new socket for the connection.
func (q *quicConn) move() error {
	ctx, cancel := context.WithTimeout(q.conn.Context(), 3*time.Second)
	defer cancel()
	socket, err := openSocket(q.remote)
	if err != nil {
		return err
	}
	path, err := q.conn.AddPath(socket.transport)
	if err != nil {
		return errors.Join(err, socket.end())
	}
	if err := path.Probe(ctx); err != nil {
		return errors.Join(err, path.Close(), socket.end())
	}
	if err := path.Switch(); err != nil {
		return errors.Join(err, path.Close(), socket.end())
	}
	// The old socket is the connection's until it ends: packets may be on their
	// way to it.
	q.mu.Lock()
	q.ways = append(q.ways, socket)
	q.mu.Unlock()
	return nil
}

func (q *quicConn) alive() bool { return !q.dead.Load() && q.conn.Context().Err() == nil }

// lost says why the connection is no more. In TLS 1.3 a server decides after our
// side of the handshake is done, so it may be gone before it was of any use.
func (q *quicConn) lost() error {
	cause := context.Cause(q.conn.Context())
	if cause == nil { // the server lets it end
		return &dialError{errors.New("the server takes no more requests on a connection that it took just now")}
	}
	return fmt.Errorf("the connection was lost at once: %w", refusal(cause))
}

func (q *quicConn) load() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running
}

// close ends the connection at once and everything on it.
func (q *quicConn) close() {
	q.dead.Store(true)
	if err := q.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), ""); err != nil {
		return // it was closed before
	}
}

// ear listens for signs of life of a connection.
type ear struct {
	packets, sent uint64
	since         time.Time
}

// listen says for how long nothing has come, as far as it was listened, and
// whether something should have: one packet of ours may be an acknowledgement,
// which nobody answers, but not each of several.
func (e *ear) listen(q *quicConn, now time.Time) (quiet time.Duration, owed bool) {
	s := q.conn.ConnectionStats()
	if s.PacketsReceived != e.packets || e.since.IsZero() {
		e.packets, e.sent, e.since = s.PacketsReceived, s.PacketsSent, now
	}
	return now.Sub(e.since), s.PacketsSent-e.sent >= 3
}

// begin takes a place on the connection for one RoundTrip.
func (q *quicConn) begin() {
	q.mu.Lock()
	q.running++
	q.mu.Unlock()
}

// RoundTrip implements http.RoundTripper, for who has begun. The place is free
// again once the body is closed.
func (q *quicConn) RoundTrip(r *http.Request) (*http.Response, error) {
	done := sync.OnceFunc(func() {
		q.mu.Lock()
		q.running--
		q.used = time.Now()
		q.mu.Unlock()
	})
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil {
		// Callers tell by this what may have been sent.
		trace.GotConn(httptrace.GotConnInfo{Reused: true})
	}
	resp, err := q.web.RoundTrip(r)
	if err != nil {
		if quicLost(err) || unsent(err) && r.Context().Err() == nil {
			q.dead.Store(true) // for new requests: it may be finishing others
		}
		done()
		return nil, refusal(err)
	}
	resp.Body = &quicBody{ReadCloser: resp.Body, done: done}
	return resp, nil
}

type quicBody struct {
	io.ReadCloser
	done func()
}

// Read implements io.Reader.
func (b *quicBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

// Close implements io.Closer.
func (b *quicBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
