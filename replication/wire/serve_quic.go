package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// quicServer is the listener's UDP side while it runs. Nil without one.
type quicServer struct {
	l         *Listener
	transport *quic.Transport
	ln        *quic.Listener
	web       *http3.Server
	in        *admitted
	running   atomic.Int64 // handlers

	shaking  atomic.Int64   // handshakes under way
	leaving  sync.WaitGroup // links whose connection has not ended
	accepted sync.WaitGroup
	served   sync.WaitGroup
}

// serveQUIC begins to take QUIC connections, with the same rules and limits as
// those over TCP, until end is called.
func (l *Listener) serveQUIC(ctx context.Context, handler http.Handler, stopping <-chan struct{}) (*quicServer, error) {
	if l.udp == nil {
		return nil, nil
	}
	q := &quicServer{l: l}
	q.transport = &quic.Transport{
		Conn:        l.udp,
		ConnContext: q.arrive,
		// Once handshakes pile up an address must prove that it is no forgery
		// before anything is kept for it (RFC 9000 §8.1).
		VerifySourceAddress: func(net.Addr) bool { return q.shaking.Load() >= int64(max(1, min(l.cfg.MaxHandshakes, mostShaking)/4)) },
	}
	if l.cfg.ResetKey != nil {
		key := quic.StatelessResetKey(*l.cfg.ResetKey)
		q.transport.StatelessResetKey = &key
	}
	config := l.tlsConfig()
	config.NextProtos = []string{protoHTTP3}
	var err error
	q.ln, err = q.transport.Listen(config, &quic.Config{
		HandshakeIdleTimeout:           l.cfg.HandshakeTimeout / 2, // the whole may take twice that
		MaxIdleTimeout:                 l.cfg.Silence + l.cfg.PingTimeout,
		KeepAlivePeriod:                l.cfg.QUICKeepAlive,
		MaxIncomingStreams:             int64(l.cfg.MaxStreams),
		MaxIncomingUniStreams:          8, // HTTP/3 has three (RFC 9114 §6.2)
		InitialStreamReceiveWindow:     256 << 10,
		MaxStreamReceiveWindow:         2 << 20,
		InitialConnectionReceiveWindow: 512 << 10,
		MaxConnectionReceiveWindow:     4 << 20,
		Allow0RTT:                      false, // what comes in it could be played again
	})
	if err != nil {
		// The socket stays open, as that of a transport never used is the caller's.
		return nil, fmt.Errorf("quic: %w", errors.Join(err, q.transport.Close(), l.udp.Close()))
	}
	q.in = &admitted{addr: q.ln.Addr(), in: make(chan *quic.Conn), here: make(chan struct{}), gone: make(chan struct{})}
	q.web = &http3.Server{
		Handler:        q.handler(handler),
		MaxHeaderBytes: l.cfg.MaxHeaderBytes,
		IdleTimeout:    l.cfg.IdleTimeout,
		Logger:         nil, // debug lines about peers, which links tell better
		ConnContext: func(ctx context.Context, _ *quic.Conn) context.Context {
			return context.WithValue(ctx, keyStopping, stopping)
		},
	}
	q.served.Go(func() {
		if err := q.web.ServeListener(q.in); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, ErrStopped) {
			l.log.ErrorContext(ctx, "http/3 server ended", "err", err)
		}
	})
	q.accepted.Go(func() { q.accept(context.WithoutCancel(ctx)) })
	return q, nil
}

// arrive is asked for each attempt to connect, before anything is done for it.
// The context that it returns is that of the connection, and of its requests.
func (q *quicServer) arrive(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	crowded := func() (context.Context, error) {
		q.l.met.handshakes.WithLabelValues("crowded").Inc()
		return nil, errCrowded
	}
	if q.shaking.Add(1) > int64(min(q.l.cfg.MaxHandshakes, mostShaking)) {
		q.shaking.Add(-1)
		return crowded()
	}
	a := &arrival{}
	k, room := q.l.open.add(a.close)
	if !room {
		q.shaking.Add(-1)
		return crowded()
	}
	a.done = sync.OnceFunc(func() { q.shaking.Add(-1) })
	a.link = k
	// However it ends, its place is free then.
	q.leaving.Add(1)
	context.AfterFunc(ctx, func() {
		defer q.leaving.Done()
		a.done()
		if !a.over.Load() {
			result := "failed"
			if cause := context.Cause(ctx); cause != nil && refused(cause) {
				result = "refused"
				q.l.log.InfoContext(ctx, "peer refused", "err", cause)
			}
			q.l.met.handshakes.WithLabelValues(result).Inc()
		}
		k.cut()
	})
	return context.WithValue(context.WithValue(ctx, keyLink, k), keyArrival, a), nil
}

// mostShaking is how many connections the library keeps for accept. It would
// refuse others when the client takes its handshake for done already; refused at
// the first packet, a client goes to TCP at once, where the system's queue is long.
const mostShaking = 32

var errCrowded = errors.New("too many connections")

// arrival is what is known of a connection from its first packet on.
type arrival struct {
	link *link
	done func()      // with the handshake
	over atomic.Bool // the handshake went well
	conn atomic.Pointer[quic.Conn]
}

// close ends the connection: the peer may come again, and learns nothing more.
func (a *arrival) close() error {
	if conn := a.conn.Load(); conn != nil {
		return conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
	return nil
}

// accept takes connections whose handshake is done until the listener is closed.
func (q *quicServer) accept(ctx context.Context) {
	for {
		conn, err := q.ln.Accept(ctx)
		if err != nil {
			return
		}
		a, ok := conn.Context().Value(keyArrival).(*arrival)
		if !ok {
			q.refuse(conn)
			continue
		}
		a.conn.Store(conn)
		a.over.Store(true)
		a.done()
		if conn.ConnectionState().TLS.NegotiatedProtocol != protoHTTP3 {
			q.refuse(conn)
			continue
		}
		peer, ok := q.l.welcome(a.link, conn.ConnectionState().TLS)
		if !ok {
			q.refuse(conn)
			continue
		}
		q.l.log.DebugContext(ctx, "connected", "peer", peer.String(), "over", "quic")
		q.in.hand(conn)
	}
}

// refuse closes a connection that came too many, or was revoked between two looks.
func (q *quicServer) refuse(conn *quic.Conn) {
	if err := conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), ""); err != nil {
		q.l.log.Debug("connection did not close well", "err", err)
	}
}

// handler counts what runs and holds each write to WriteTimeout: HTTP/2 looks
// after that by itself, HTTP/3 does not.
func (q *quicServer) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q.running.Add(1)
		defer q.running.Add(-1)
		// HTTP/3 does not say ahead that a request has no body, and a GET with a
		// body of unknown length is nothing that a cache may answer. Nobody here
		// sends one (RFC 9110 §9.3.1).
		if r.ContentLength < 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		next.ServeHTTP(&timedWriter{ResponseWriter: w, ctl: http.NewResponseController(w), most: q.l.cfg.WriteTimeout}, r)
	})
}

// end stops it in order: nobody new is taken, those connected are told to go
// (GOAWAY), and have as long as ctx to finish what runs. When it returns no
// connection is open.
func (q *quicServer) end(ctx context.Context) {
	if q == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var closing sync.WaitGroup
	closing.Go(func() {
		if q.ln.Close() != nil { // returns when the handshakes under way are over
			return // it was closed already
		}
	})
	q.in.settle()
	var watching sync.WaitGroup
	watching.Go(func() {
		// A peer that vanished would never go by itself.
		for quiet := 0; quiet < 4; {
			if !pause(ctx, 50*time.Millisecond) {
				return
			}
			if quiet++; q.running.Load() > 0 {
				quiet = 0
			}
		}
		cancel()
	})
	if err := q.web.Shutdown(ctx); err != nil && q.running.Load() > 0 {
		q.l.log.WarnContext(ctx, "requests are cut: they did not end in time", "dur", q.l.cfg.Grace, "over", "quic")
	}
	cancel()
	watching.Wait()
	q.in.end()
	closing.Wait()
	q.accepted.Wait()
	q.served.Wait()
	if err := errors.Join(q.transport.Close(), q.l.udp.Close()); err != nil {
		q.l.log.WarnContext(ctx, "the UDP port did not close well", "err", err)
	}
	q.leaving.Wait()
}

// admitted is the listener that http3.Server sees: what accept let in.
type admitted struct {
	addr net.Addr
	in   chan *quic.Conn
	here chan struct{}

	once sync.Once
	gone chan struct{}
	shut atomic.Bool
}

// Accept implements http3.QUICListener.
func (a *admitted) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		select {
		case conn := <-a.in:
			return conn, nil
		case <-a.here:
		case <-a.gone:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// hand hands over a connection, or closes it when nobody takes it any more.
func (a *admitted) hand(conn *quic.Conn) {
	if !a.shut.Load() {
		select {
		case a.in <- conn:
			return
		case <-a.gone:
		}
	}
	if err := conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), ""); err != nil {
		return // it is gone, which is what was wanted
	}
}

// settle lets no connection through from now on, and returns when those that
// were let through are counted: http3.Server counts a connection a moment after
// Accept has returned it, and must not begin to stop in that moment.
func (a *admitted) settle() {
	a.shut.Store(true)
	for range 2 { // the second time nothing that was on its way can be left
		select {
		case a.here <- struct{}{}:
		case <-a.gone:
		}
	}
}

func (a *admitted) end() { a.once.Do(func() { close(a.gone) }) }

// Close implements http3.QUICListener.
func (a *admitted) Close() error {
	a.end()
	return nil
}

// Addr implements http3.QUICListener.
func (a *admitted) Addr() net.Addr { return a.addr }

// timedWriter gives every piece that is written a time of its own.
type timedWriter struct {
	http.ResponseWriter
	ctl  *http.ResponseController
	most time.Duration
}

const timedPiece = 64 << 10

// Write implements http.ResponseWriter.
func (w *timedWriter) Write(b []byte) (int, error) {
	n := 0
	for {
		if err := w.ctl.SetWriteDeadline(time.Now().Add(w.most)); err != nil {
			return n, err
		}
		did, err := w.ResponseWriter.Write(b[n:min(n+timedPiece, len(b))])
		if n += did; err != nil || n >= len(b) {
			return n, err
		}
	}
}

// FlushError is for http.ResponseController.
func (w *timedWriter) FlushError() error {
	if err := w.ctl.SetWriteDeadline(time.Now().Add(w.most)); err != nil {
		return err
	}
	return w.ctl.Flush()
}

// Flush implements http.Flusher.
func (w *timedWriter) Flush() {
	if w.FlushError() != nil {
		return // Write will say
	}
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
