package wire

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// lane is one of bulk's connections. What is not atomic is guarded by Bulk.mu.
type lane struct {
	way  Way
	conn laneConn

	awaiting atomic.Int32 // who waits for a byte of it
	inBody   atomic.Int32 // of these, in the middle of an answer
	bytes    atomic.Int64 // of bodies

	busy   int
	parked bool // gets nothing new, as the mode does not want it
	dying  bool // given up, see Bulk.cut
	heard  time.Time
	rate   float64 // bytes a second while it had something to do, lately
	worked time.Duration
	done   int64     // bytes, in worked
	seen   int64     // of bytes, at the last look
	idle   time.Time // parked since
}

// paceOver is the time over which a rate is taken. It is longer than a pause
// between blocks, and shorter than most of what is fetched.
const paceOver = 1500 * time.Millisecond

// pace notes what came in a while. Bulk.mu is held.
func (l *lane) pace(n int64, took time.Duration) {
	if l.busy == 0 && n == 0 {
		return
	}
	l.worked += took
	l.done += n
	if l.worked < paceOver {
		return
	}
	l.rate = max(1, float64(l.done)/l.worked.Seconds())
	l.worked, l.done = l.worked/2, l.done/2
}

// laneConn is a connection of either kind.
type laneConn interface {
	http.RoundTripper
	alive() bool
	close()
	// quiet is for how long nothing at all has come, and whether an
	// acknowledgement at least is owed.
	quiet(now time.Time) (d time.Duration, owed bool)
	gauge() (gauge, bool)
	local() netip.Addr
}

// laneOfQUIC is a quicConn as bulk sees it.
type laneOfQUIC struct {
	*quicConn
	ear ear // of mind
}

func (l *laneOfQUIC) gauge() (gauge, bool) { return l.quicConn.gauge(), true }

func (l *laneOfQUIC) quiet(now time.Time) (time.Duration, bool) {
	return l.ear.listen(l.quicConn, now)
}

func (l *laneOfQUIC) local() netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ways) == 0 {
		return netip.Addr{}
	}
	return addrOf(l.ways[len(l.ways)-1].LocalAddr())
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// laneOfTCP is one HTTP/2 connection.
type laneOfTCP struct {
	*http.ClientConn
	below *countedConn
}

func (l *laneOfTCP) alive() bool { return l.Err() == nil }

func (l *laneOfTCP) close() {
	// At once: what HTTP/2 would say in farewell may have nobody to hear it.
	if err := errors.Join(l.below.Close(), l.Close()); err != nil {
		return // it was closed already
	}
}

func (l *laneOfTCP) quiet(now time.Time) (time.Duration, bool) {
	if d, owed, ok := quietOf(l.below.Conn); ok {
		return d, owed
	}
	return now.Sub(time.Unix(0, l.below.last.Load())), false
}

func (l *laneOfTCP) gauge() (gauge, bool) { return gaugeOf(l.below.Conn) }

func (l *laneOfTCP) local() netip.Addr { return addrOf(l.below.LocalAddr()) }

// countedConn notes when it was read from last.
type countedConn struct {
	net.Conn
	last atomic.Int64
}

// Read implements net.Conn.
func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}

type dialledKey struct{}

// laneTransport makes single HTTP/2 connections, also through a proxy. Where the
// context has a place for it, the connection below TLS is put there.
func (d *Dialer) laneTransport(target Target) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	raw := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		counted := &countedConn{Conn: conn}
		counted.last.Store(time.Now().UnixNano())
		if at, ok := ctx.Value(dialledKey{}).(**countedConn); ok {
			*at = counted
		}
		return counted, nil
	}
	return &http.Transport{
		Protocols:              &protocols,
		Proxy:                  d.cfg.Proxy,
		TLSClientConfig:        d.tlsConfig(target, protoHTTP2),
		DialContext:            raw,
		TLSHandshakeTimeout:    d.cfg.HandshakeTimeout,
		MaxResponseHeaderBytes: int64(d.cfg.MaxHeaderBytes),
		DisableCompression:     true,
		HTTP2:                  d.http2(),
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := raw(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return d.shake(ctx, conn, target, protoHTTP2)
		},
	}
}

// dialLane opens one more connection.
func (b *Bulk) dialLane(ctx context.Context, way Way) (*lane, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, laneDial, errNoAnswer)
	defer cancel()
	now := time.Now()
	if way == OverQUIC {
		q, err := b.dialer.dialQUIC(ctx, b.target)
		if err != nil {
			return nil, err
		}
		return &lane{way: way, conn: &laneOfQUIC{quicConn: q}, heard: now}, nil
	}
	var below *countedConn
	conn, err := b.inner.NewClientConn(context.WithValue(ctx, dialledKey{}, &below), "https", b.target.Address)
	if err != nil {
		if below != nil {
			below.Close()
		}
		return nil, refusal(err)
	}
	return &lane{way: way, conn: &laneOfTCP{ClientConn: conn, below: below}, heard: now}, nil
}

// laneDial is how long a dial may take: two round trips by way of a satellite,
// or one SYN that was lost.
const laneDial = 4 * time.Second

var errNoAnswer = errors.New("no answer to a dial of bulk's")
