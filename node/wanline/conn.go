package wanline

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one connection through the line: two sockets and four goroutines,
// a reader and a writer for each direction with the line's delay between them.
type conn struct {
	line *Line
	near *net.TCPConn
	gone chan struct{}
	once sync.Once

	mu  sync.Mutex
	far *net.TCPConn
}

type parcel struct {
	data []byte
	due  time.Time
}

func (l *Line) open(near *net.TCPConn) {
	c := &conn{line: l, near: near, gone: make(chan struct{})}
	l.mu.Lock()
	if l.closed || l.mode == Refuse {
		l.mu.Unlock()
		c.reset()
		return
	}
	l.conns[c] = struct{}{}
	l.wg.Go(c.run)
	l.mu.Unlock()
}

// reset ends the connection at once, with RST to both sides: nobody may take
// what came so far for all there was.
func (c *conn) reset() {
	c.once.Do(func() { close(c.gone) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range []*net.TCPConn{c.near, c.far} {
		if s != nil {
			s.SetLinger(0) //nolint:errcheck // on a socket that is closed already there is nothing to reset
			s.Close()
		}
	}
}

func (c *conn) run() {
	l := c.line
	defer func() {
		c.reset()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	// The handshake of a real line takes a round trip before the first byte leaves.
	if !l.sleep(time.Now().Add(2*l.cfg.Delay), c.gone) || !l.pass(c.gone) {
		return
	}
	if !c.dial() {
		return
	}
	// Small socket buffers keep what is on its way small. Smaller ones than a
	// segment of loopback (64 KiB) make it wait for its own acknowledgements.
	c.near.SetWriteBuffer(64 << 10) //nolint:errcheck // a hint
	c.far.SetReadBuffer(64 << 10)   //nolint:errcheck // a hint

	var pumps sync.WaitGroup
	pumps.Go(func() { c.pump(c.near, c.far, &l.up, &l.sent) })
	pumps.Go(func() { c.pump(c.far, c.near, &l.down, &l.received) })
	pumps.Wait()
	// Both sides have said all they had to and it was written: an orderly end.
	select {
	case <-c.gone:
	default:
		c.near.Close()
		c.far.Close()
	}
}

func (c *conn) dial() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answered := make(chan struct{})
	defer close(answered)
	c.line.wg.Go(func() { // a connection that ends meanwhile does not wait for the dialler
		select {
		case <-c.gone:
			cancel()
		case <-answered:
		}
	})
	s, err := new(net.Dialer).DialContext(ctx, "tcp", c.line.cfg.Target)
	if err != nil {
		c.line.log.Debug("far end not reached", "err", err)
		return false
	}
	c.mu.Lock()
	c.far = s.(*net.TCPConn) //nolint:errcheck // it was dialled as TCP
	c.mu.Unlock()
	select {
	case <-c.gone: // reset came between the two
		c.far.Close()
		return false
	default:
		return true
	}
}

// pump carries one direction: read a chunk, wait for its turn on the line,
// send it on its way; the writer delivers it a delay later.
func (c *conn) pump(src, dst *net.TCPConn, p *pacer, count *atomic.Int64) {
	l := c.line
	way := make(chan parcel, inFlight-2) // the reader and the writer hold one each
	var writer sync.WaitGroup
	writer.Go(func() {
		for pc := range way {
			if !l.sleep(pc.due, c.gone) || !l.pass(c.gone) {
				break
			}
			if len(pc.data) == 0 {
				if err := dst.CloseWrite(); err != nil {
					break
				}
				continue
			}
			if _, err := dst.Write(pc.data); err != nil {
				c.reset()
				break
			}
		}
		for range way { // the reader must not wait for a writer that has left
		}
	})
	defer writer.Wait()
	defer close(way)
	for {
		if !l.pass(c.gone) {
			return
		}
		buf := make([]byte, chunk(p.rate(), l.cfg.Delay))
		n, err := src.Read(buf)
		if n > 0 {
			if !l.pass(c.gone) {
				return
			}
			sent := p.reserve(time.Now(), n)
			if !l.sleep(sent, c.gone) {
				return
			}
			count.Add(int64(n))
			way <- parcel{data: buf[:n], due: sent.Add(l.cfg.Delay)}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				way <- parcel{due: time.Now().Add(l.cfg.Delay)}
			} else {
				c.reset()
			}
			return
		}
	}
}
