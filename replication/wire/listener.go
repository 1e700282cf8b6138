package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/identity"
)

// keepAlive notices a peer that vanished in about 25 seconds, below TLS, for
// connections that carry no pings of their own.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}
}

// Service is what a Listener serves.
type Service struct {
	// Handler gets the requests of every peer, also anonymous and lapsed ones.
	Handler http.Handler
	// Revoked is asked at each handshake and again at each sweep. It must be
	// quick and may be called by any number of goroutines. Nil: nobody is.
	Revoked func(Peer) bool
}

// Listener is a node's one port. It is used once: Listen, Raft if this node is
// a voter, then Run.
type Listener struct {
	ln    net.Listener
	udp   net.PacketConn // nil without QUIC
	creds regions
	cfg   Config
	log   *slog.Logger
	met   *metrics
	open  *links
	raft  *streams

	takesRaft atomic.Bool
	ran       atomic.Bool
	revoked   atomic.Pointer[func(Peer) bool]
}

// Listen opens the port, over TCP and, unless cfg.QUIC says no, over UDP. The
// listener is the caller's until Run returns: who does not call Run calls Close.
func Listen(ctx context.Context, address string, creds Credentials, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Listener, error) {
	return ListenFor(ctx, address, []Credentials{creds}, cfg, log, reg)
}

// ListenFor is Listen for a node that serves several regions, with credentials
// in each. Who dials names the region; its certificate must be of that region,
// and what PeerOf tells is too.
func ListenFor(ctx context.Context, address string, creds []Credentials, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Listener, error) {
	ln, udp, err := openPort(ctx, address, cfg, log)
	if err != nil {
		return nil, fmt.Errorf("listen for the region: %w", err)
	}
	l, err := newListener(ln, udp, creds, cfg, log, reg)
	if err != nil {
		if udp != nil {
			err = errors.Join(err, udp.Close())
		}
		return nil, errors.Join(err, ln.Close())
	}
	return l, nil
}

// openPort opens TCP and UDP on one number. Without UDP there is TCP alone, and
// a line in the log.
func openPort(ctx context.Context, address string, cfg Config, log *slog.Logger) (net.Listener, net.PacketConn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive(), Control: tuneTCP(cfg.TCPCongestion)}
	if cfg.NoProbes {
		lc.KeepAlive, lc.KeepAliveConfig = -1, net.KeepAliveConfig{}
	}
	// A port that the system chose over TCP may be taken over UDP.
	for tries := 5; ; tries-- {
		ln, err := lc.Listen(ctx, "tcp", address)
		if err != nil || !cfg.QUIC {
			return ln, nil, err
		}
		udp, err := new(net.ListenConfig).ListenPacket(ctx, "udp", ln.Addr().String())
		switch {
		case err == nil:
			return ln, udp, nil
		case port == "0" && tries > 0:
			ln.Close()
		default:
			log.WarnContext(ctx, "no QUIC: the UDP port can't be opened, nodes come over TCP alone", "address", ln.Addr().String(), "err", err)
			return ln, nil, nil
		}
	}
}

// NewListener is Listen on what is open already, which Run closes. It speaks TCP
// only.
func NewListener(ln net.Listener, creds Credentials, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Listener, error) {
	return newListener(ln, nil, []Credentials{creds}, cfg, log, reg)
}

func newListener(ln net.Listener, udp net.PacketConn, creds regions, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("wire config: %w", err)
	}
	if err := creds.validate(); err != nil {
		return nil, fmt.Errorf("wire credentials: %w", err)
	}
	met, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		ln: ln, udp: udp, creds: creds, cfg: cfg, log: log.With("part", "wire"), met: met,
		open: newLinks(cfg, met, log.With("part", "wire")), raft: newStreams(ln.Addr(), raftBacklog),
	}
	nobody := func(Peer) bool { return false }
	l.revoked.Store(&nobody)
	return l, nil
}

// Addr is where the listener listens.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Close gives the port back without Run having been called.
func (l *Listener) Close() error {
	l.raft.end()
	err := l.ln.Close()
	if l.udp != nil {
		err = errors.Join(err, l.udp.Close())
	}
	return err
}

// QUIC says whether the listener speaks HTTP/3 too.
func (l *Listener) QUIC() bool { return l.udp != nil }

// Raft gives raft's connections from other servers, from when it is called;
// without it they are refused. What it accepts are connections whose peer
// PeerOfConn tells. Closing it refuses further ones.
func (l *Listener) Raft() net.Listener {
	l.takesRaft.Store(true)
	return l.raft
}

// Peers are those connected now, one entry per connection, without anonymous
// ones.
func (l *Listener) Peers() []Peer {
	var peers []Peer
	now := time.Now()
	for _, k := range l.open.all(true) {
		if p := k.who(); !p.Anonymous() {
			peers = append(peers, p.at(now))
		}
	}
	return peers
}

// DropRevoked closes the connections of those who are revoked by now, and says
// how many. Call it when a revocation is known; the sweep would do it too.
func (l *Listener) DropRevoked() int { return l.Drop(*l.revoked.Load()) }

// Drop closes the connections of peers that unwanted is true for. Anonymous
// ones are not asked about.
func (l *Listener) Drop(unwanted func(Peer) bool) int {
	return l.open.drop(func(p Peer) bool { return !p.Anonymous() && unwanted(p) })
}

// Run serves until ctx ends and then returns nil: long-lived handlers are told
// by Stopping, the others have Grace, and when it returns no connection is open
// and no handler runs. An error means that the port was lost.
func (l *Listener) Run(ctx context.Context, svc Service) error {
	if l.ran.Swap(true) {
		return errors.New("a listener runs once")
	}
	if svc.Handler == nil {
		return errors.New("wire: there is nothing to serve")
	}
	if svc.Revoked != nil {
		l.revoked.Store(&svc.Revoked)
	}

	stopping := make(chan struct{})
	handlers := &handlers{next: svc.Handler}
	web := newStreams(l.ln.Addr(), 0)
	server := l.server(context.WithoutCancel(ctx), handlers, stopping)

	var serving, accepting, handshakes sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(web); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, ErrStopped) {
			l.log.ErrorContext(ctx, "http server ended", "err", err)
		}
	})
	accepted := make(chan error, 1)
	accepting.Go(func() { accepted <- l.accept(ctx, web, &handshakes) })
	over, err := l.serveQUIC(ctx, handlers, stopping)
	if err != nil {
		l.log.WarnContext(ctx, "no QUIC: nodes come over TCP alone", "err", err)
	}

	tick := time.NewTicker(l.cfg.Sweep)
	defer tick.Stop()
	var lost error
loop:
	for {
		select {
		case <-ctx.Done():
			break loop
		case lost = <-accepted:
			break loop
		case now := <-tick.C:
			l.DropRevoked()
			l.open.sweep(now)
		}
	}

	l.ln.Close()
	l.raft.end()
	close(stopping)
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.cfg.Grace)
	defer cancel()
	var ending sync.WaitGroup
	ending.Go(func() { over.end(graceful) })
	if err := server.Shutdown(graceful); err != nil {
		l.log.WarnContext(ctx, "requests are cut: they did not end in time", "dur", l.cfg.Grace)
		server.Close()
	}
	ending.Wait()
	for _, k := range l.open.all(false) {
		k.cut()
	}
	web.end()
	accepting.Wait()
	handshakes.Wait()
	serving.Wait()
	// A handshake that ended in between may have brought a last connection.
	for _, k := range l.open.all(false) {
		k.cut()
	}
	handlers.wait()
	if ctx.Err() != nil {
		return nil
	}
	return lost
}

// accept takes connections until the port is closed. Each handshake has its own
// goroutine, which ends with the handshake: http.Server would keep one whose
// stack the handshake has grown.
func (l *Listener) accept(ctx context.Context, web *streams, handshakes *sync.WaitGroup) error {
	slots := make(chan struct{}, l.cfg.MaxHandshakes)
	config := l.tlsConfig()
	var delay time.Duration
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := l.ln.Accept()
		if err != nil {
			<-slots
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept: %w", err)
			}
			// Out of file descriptors, most likely: it may pass.
			delay = min(max(2*delay, 10*time.Millisecond), time.Second)
			l.log.WarnContext(ctx, "no connection can be accepted", "err", err)
			if !pause(ctx, delay) {
				return nil
			}
			continue
		}
		delay = 0
		k, room := l.open.add(conn.Close)
		if !room {
			<-slots
			conn.Close()
			l.met.handshakes.WithLabelValues("crowded").Inc()
			continue
		}
		handshakes.Go(func() {
			secured, peer, ok := l.handshake(ctx, &tcpLink{conn, k}, config)
			<-slots
			switch {
			case !ok:
				k.cut()
			case secured.ConnectionState().NegotiatedProtocol == protoRaft:
				l.raft.put(secured)
			default:
				web.hand(secured)
			}
			if ok {
				l.log.DebugContext(ctx, "connected", "peer", peer.String())
			}
		})
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// handshake makes a TLS connection of a link and finds out who is there.
func (l *Listener) handshake(ctx context.Context, k *tcpLink, config *tls.Config) (*tls.Conn, Peer, bool) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.HandshakeTimeout)
	defer cancel()
	secured := tls.Server(k, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		result := "failed"
		if refused(err) {
			result = "refused"
			l.log.InfoContext(ctx, "peer refused", "remote", k.RemoteAddr().String(), "err", err)
			linger(k.Conn)
		}
		l.met.handshakes.WithLabelValues(result).Inc()
		return nil, Peer{}, false
	}
	cs := secured.ConnectionState()
	peer, ok := l.welcome(k.link, cs)
	forget(cs.PeerCertificates)
	return secured, peer, ok
}

// forget empties a peer's certificates once it is known who that is. crypto/tls
// holds on to them for as long as the connection lasts; they are this
// connection's own, and nothing looks at them again.
func forget(certs []*x509.Certificate) {
	for _, c := range certs {
		*c = x509.Certificate{}
	}
}

// welcome names the peer of a link whose handshake is done. The decision was
// taken in the handshake; this reads the same again, for crypto/tls has no place
// to keep it.
func (l *Listener) welcome(k *link, cs tls.ConnectionState) (Peer, bool) {
	now := time.Now()
	peer, err := l.creds.admit(cs, now)
	peer.timeless = l.cfg.AnyDate
	peer = peer.at(now)
	if err != nil || !l.open.name(k, peer, now) {
		l.met.handshakes.WithLabelValues("crowded").Inc()
		return Peer{}, false
	}
	// Only now is the link among those that DropRevoked sees: a revocation
	// that came in between would have missed it.
	if !peer.Anonymous() && (*l.revoked.Load())(peer) {
		l.met.handshakes.WithLabelValues("refused").Inc()
		return Peer{}, false
	}
	l.met.handshakes.WithLabelValues("ok").Inc()
	return peer, true
}

func refused(err error) bool {
	return slices.ContainsFunc([]error{ErrForeign, ErrRole, ErrLapsed, ErrRevoked, identity.ErrInvalid}, func(cause error) bool {
		return errors.Is(err, cause)
	})
}

// linger reads what the peer has sent already, for a moment: a socket closed
// with unread bytes is reset, and the reset overtakes the alert that tells the
// peer why.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			return
		}
	}
	if conn.SetReadDeadline(time.Now().Add(500*time.Millisecond)) != nil {
		return
	}
	// How it ends does not matter: the connection is closed either way.
	io.Copy(io.Discard, io.LimitReader(conn, 64<<10)) //nolint:errcheck // see above
}

func (l *Listener) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{protoHTTP2, protoRaft},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := l.creds.of(hello.ServerName)
			if err != nil {
				return nil, err
			}
			return c.withAuthority()
		},
		// Asked for, not demanded: VerifyConnection decides, as dates and
		// absence have meanings of their own here.
		ClientAuth: tls.RequestClientCert,
		// Every connection is checked in full; boxes stay connected for days,
		// so resumption would save little.
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			peer, err := l.creds.admit(cs, time.Now())
			if err != nil {
				return err
			}
			if cs.NegotiatedProtocol == protoRaft && !l.takesRaft.Load() {
				return fmt.Errorf("no raft here: %w", ErrRole)
			}
			if !peer.Anonymous() && (*l.revoked.Load())(peer) {
				return fmt.Errorf("%s: %w", peer, ErrRevoked)
			}
			return nil
		},
	}
}

// withAuthority is our certificate with the authorities' beside it, which those
// who enrol know by their Pin only.
func (c Credentials) withAuthority() (*tls.Certificate, error) {
	own, err := c.Certificate()
	if err != nil || len(own.Certificate) != 1 {
		return own, err
	}
	full := *own
	full.Certificate = slices.Clone(own.Certificate)
	for _, root := range c.Roots {
		full.Certificate = append(full.Certificate, root.Raw)
	}
	return &full, nil
}
