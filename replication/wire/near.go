package wire

import (
	"context"
	"net"
	"time"
)

// DefaultNear is less than any line that leaves a town, and more than a hall's.
const DefaultNear = time.Millisecond

// near opens a TCP connection to a target and reports whether the round trip that
// took is so short that TCP is the better way, whatever else is open: next door
// nothing is lost that QUIC would bring back sooner, and it costs both ends
// several times the work for each byte. A connection that is not near is closed.
func (d *Dialer) near(ctx context.Context, target Target) (net.Conn, bool) {
	if d.cfg.Near <= 0 {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.HeadStart)
	defer cancel()
	conn, err := d.dial(ctx, "tcp", target.Address)
	if err != nil {
		return nil, false
	}
	if d.isNear(conn) {
		return conn, true
	}
	conn.Close()
	return nil, false
}

// isNear says so of a connection.
func (d *Dialer) isNear(conn net.Conn) bool {
	rtt, ok := shortestTrip(conn)
	return ok && rtt < d.cfg.Near
}

// nearer is a race that QUIC has won, run again where it should not have: a
// handshake says nothing of the work that comes after it.
func (t *Transport) nearer(f finish) finish {
	if f.quic == nil {
		return f
	}
	conn, ok := t.dialer.near(t.life, t.target)
	if !ok {
		return f
	}
	conn, err := t.take(conn)
	if err != nil {
		return f
	}
	secured, err := t.dialer.shake(t.life, conn, t.target, protoHTTP2)
	if err != nil {
		return f
	}
	f.give()
	return finish{tcp: secured}
}

// stayNear leaves QUIC out once a connection has shown that the server is near.
// The lock is held.
func (b *Bulk) stayNear(l *lane, now time.Time) {
	tcp, ok := l.conn.(*laneOfTCP)
	if !ok || b.near || !b.straight || b.fixed.lanes() > 0 || !b.chooser.has(OverQUIC) || !b.dialer.isNear(tcp.below.Conn) {
		return
	}
	b.near = true
	b.choose(true, false, narrow, now)
}
