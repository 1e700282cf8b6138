package wire

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// server is http.Server as 3,000 boxes need it: each has one connection with one
// response that lasts for days, so what counts is what that holds.
func (l *Listener) server(ctx context.Context, handler http.Handler, stopping <-chan struct{}) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:        handler,
		Protocols:      &protocols,
		IdleTimeout:    l.cfg.IdleTimeout,
		MaxHeaderBytes: l.cfg.MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          l.cfg.MaxStreams,
			MaxEncoderHeaderTableSize:     headerTable,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			SendPingTimeout:               l.cfg.Silence,
			PingTimeout:                   l.cfg.PingTimeout,
			WriteByteTimeout:              l.cfg.WriteTimeout,
		},
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(ctx, keyStopping, stopping)
		},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if secured, ok := conn.(*tls.Conn); ok {
				if k, ok := secured.NetConn().(*tcpLink); ok {
					return context.WithValue(ctx, keyLink, k.link)
				}
			}
			return ctx
		},
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
}

// headerTable bounds the HPACK tables that we write with: a node's requests
// differ little. Those that we read with are left as they are: until the other
// side has seen our settings it may use 4,096 bytes (RFC 7541 §4.2).
const headerTable = 256

// handlers counts the handlers that run. http.Server does not wait for those
// whose connection it cuts, yet what they use is closed once Run has returned.
type handlers struct {
	next http.Handler

	mu      sync.Mutex
	running int
	idle    chan struct{} // made by wait, closed when nothing runs
}

// ServeHTTP implements http.Handler.
func (h *handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer h.leave()
	h.next.ServeHTTP(w, r)
}

func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle != nil {
		return false
	}
	h.running++
	return true
}

func (h *handlers) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if h.running == 0 && h.idle != nil {
		close(h.idle)
	}
}

// wait lets no handler begin and returns when none runs. Their connections are
// closed by then and their contexts have ended.
func (h *handlers) wait() {
	h.mu.Lock()
	h.idle = make(chan struct{})
	if h.running == 0 {
		close(h.idle)
	}
	h.mu.Unlock()
	<-h.idle
}
