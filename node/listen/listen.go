// Package listen is the doors of a node: HTTP and HTTPS listeners that pupils'
// devices connect to.
//
// It opens the socket, speaks HTTP/1.0, HTTP/1.1 and, over TLS, HTTP/2, reloads
// certificate files when they change, and drains on the way out. What is
// answered is the handler's business. There is no write timeout, for a film on
// a slow tablet may take an hour, and HTTP/2 without TLS is not offered: no
// browser speaks it.
//
// A plain connection reaches the handler as the *net.TCPConn that was accepted,
// without any wrapper: that is what lets the kernel send files by itself.
package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Config is one listener.
type Config struct {
	Address     string        `toml:"address" doc:"Address and port to listen on: \":80\" is every address, \"192.168.1.2:80\" is one."`
	Certificate []Certificate `toml:"certificate" ref:"off" doc:"With at least one certificate the listener speaks HTTPS (HTTP/1.1 and HTTP/2). With several, each client gets the one for the name it asks for, and the first if none fits. Files that change are loaded again within seconds."`
	// Own, unless nil, makes the listener speak HTTPS with the certificates that it
	// returns, as tls.Config's GetCertificate does. It goes before files, and an
	// error from it leads to them, or ends the handshake.
	Own func(*tls.ClientHelloInfo) (*tls.Certificate, error) `toml:"-" json:"-"`
}

// Certificate is a pair of PEM files: the chain, leaf first, and its key.
type Certificate struct {
	Cert string `toml:"cert" doc:"PEM file with the certificate and, after it, those that signed it."`
	Key  string `toml:"key" doc:"PEM file with its private key."`
}

// Limits that suit a school: thousands of devices, none of them trusted.
const (
	maxConnections = 4096
	maxHeaderBytes = 64 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	pingAfter      = 30 * time.Second // of silence on an HTTP/2 connection
	finishFor      = 3 * time.Second  // for handlers to notice that they were cut
	drainFor       = 5 * time.Second
)

// Server is one open door.
type Server struct {
	ln      *limited
	handler *active
	log     *slog.Logger
	certs   *certificates // nil for plain HTTP
}

// New opens the listener, so that a port that is taken is an error now and port
// 0 can be asked for its number. It serves nothing before Run. If Run is never
// called, Close frees the port.
func New(ctx context.Context, cfg Config, handler http.Handler, log *slog.Logger) (*Server, error) {
	log = log.With("part", "listen", "address", cfg.Address)
	var certs *certificates
	if len(cfg.Certificate) > 0 || cfg.Own != nil {
		var err error
		if certs, err = loadCertificates(cfg.Certificate, cfg.Own, log); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", cfg.Address, err)
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		// A tablet that left the room says no goodbye.
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 4,
	}}
	ln, err := lc.Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("open listener: %w", err)
	}
	return &Server{ln: newLimited(ln, maxConnections), handler: &active{next: handler}, log: log, certs: certs}, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Secure says whether the server speaks HTTPS.
func (s *Server) Secure() bool { return s.certs != nil }

// Leaf is the certificate that is shown to who asks for a name, if it is for that
// name. It may have run out.
func (s *Server) Leaf(name string) (*x509.Certificate, bool) {
	if s.certs == nil {
		return nil, false
	}
	return s.certs.leaf(name)
}

// Close frees the port of a server that was never run.
func (s *Server) Close() error { return s.ln.Close() }

// Run serves until ctx ends. New connections are refused from then on, and
// requests that run may go on for five seconds; what is left, and upgraded
// connections, are cut: their context ends. Handlers that do not return even
// then make Run return an error.
func (s *Server) Run(ctx context.Context) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := s.httpServer(requests)

	served := make(chan error, 1)
	go func() { served <- s.serve(srv) }()
	var watched chan struct{}
	if s.certs != nil {
		watched = make(chan struct{})
		go func() { defer close(watched); s.certs.watch(requests) }()
	}

	var failure error
	select {
	case err := <-served:
		failure = fmt.Errorf("serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
		s.drain(requests, srv)
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			s.log.DebugContext(ctx, "listener ended badly", "err", err)
		}
	}
	cut()
	if n := s.handler.finish(finishFor); n > 0 && failure == nil {
		failure = fmt.Errorf("serve %s: %d requests do not end although they were cut", s.Addr(), n)
	}
	if watched != nil {
		<-watched
	}
	return failure
}

func (s *Server) serve(srv *http.Server) error {
	if s.certs == nil {
		return srv.Serve(s.ln)
	}
	return srv.ServeTLS(s.ln, "", "")
}

func (s *Server) drain(ctx context.Context, srv *http.Server) {
	grace, done := context.WithTimeoutCause(ctx, drainFor, errors.New("requests drained too long"))
	defer done()
	if err := srv.Shutdown(grace); err != nil {
		s.log.InfoContext(ctx, "running requests were cut", "err", context.Cause(grace))
		if err := srv.Close(); err != nil {
			s.log.DebugContext(ctx, "listener closed badly", "err", err)
		}
	}
}

func (s *Server) httpServer(requests context.Context) *http.Server {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnState:         s.ln.track,
		ErrorLog:          scrubbed(s.log),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			SendPingTimeout:      pingAfter,
			PingTimeout:          15 * time.Second,
		},
	}
	if s.certs != nil {
		srv.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"h2", "http/1.1"},
			GetCertificate: s.certs.choose,
		}
	}
	return srv
}
