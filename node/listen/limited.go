package listen

import (
	"net"
	"net/http"
	"sync"
)

// limited is a listener with a ceiling on open connections. Above it, new ones
// wait in the kernel's queue. It counts by the server's connection states
// instead of wrapping connections, which must stay what they are.
type limited struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func newLimited(ln net.Listener, limit int) *limited {
	return &limited{Listener: ln, slots: make(chan struct{}, limit), closed: make(chan struct{})}
}

// Accept waits for a slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
	}
	return conn, err
}

// Close also wakes an Accept that waits for a slot.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// track is the server's ConnState hook. Each connection reaches exactly one of
// the two final states; one that was hijacked (WebSocket) is no longer counted.
func (l *limited) track(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		<-l.slots
	}
}
