package near

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
)

// dial opens a connection to another box, without the kernel's own probes: gossip
// says who is there.
func (b *Boxes) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err // as it is: its caller looks at its type
	}
	return &line{Conn: conn, ended: func() { b.doubt(address) }}, nil
}

// line is a connection to another box. Somebody always reads it, so its end is
// the first sign of a process that died: its kernel closes what it had open.
type line struct {
	net.Conn
	ended func()      // it is called once, and not if this box ends it
	over  atomic.Bool // it has ended
}

// Read implements net.Conn.
func (l *line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !l.over.Swap(true) {
		l.ended()
	}
	return n, err
}

// Close implements net.Conn.
func (l *line) Close() error {
	l.over.Store(true)
	return l.Conn.Close()
}

// doubt has the box at address show that it is still there. Connections also end
// for smaller reasons, so it is asked like the others until then.
func (b *Boxes) doubt(address string) {
	g := b.gossip.Load()
	if g == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, w := range b.ways {
		if w.address == address {
			g.Doubt(name)
		}
	}
}
