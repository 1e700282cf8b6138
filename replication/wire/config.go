package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const bbr = "bbr"

// Config bounds what strangers can make a Listener do. Start from DefaultConfig.
type Config struct {
	// MaxConns is how many connections there may be at once, of all kinds.
	MaxConns int `toml:"max_connections"`
	// MaxAnonymous is how many of them may show no certificate. Each is closed
	// when AnonymousTimeout is over, busy or not.
	MaxAnonymous int `toml:"max_anonymous"`
	// MaxPerPeer is how many one certificate's name may have.
	MaxPerPeer int `toml:"max_per_peer"`
	// MaxHandshakes is how many handshakes may go on at once; others wait in the
	// system's queue.
	MaxHandshakes int `toml:"max_handshakes"`
	// HandshakeTimeout ends a handshake that does not get on.
	HandshakeTimeout time.Duration `toml:"handshake_timeout"`
	// AnonymousTimeout is how long a connection without a certificate may last.
	AnonymousTimeout time.Duration `toml:"anonymous_timeout"`
	// IdleTimeout closes a connection on which no request has run for so long.
	IdleTimeout time.Duration `toml:"idle_timeout"`
	// MaxStreams is how many requests may run on one connection.
	MaxStreams int `toml:"max_streams"`
	// MaxHeaderBytes bounds the fields of a request.
	MaxHeaderBytes int `toml:"max_header_bytes"`
	// Silence is how long a peer may say nothing before it is asked whether it
	// is there; PingTimeout is how long it has to answer. Peers that dial ask
	// sooner, so a server's own question is for those that vanished.
	Silence     time.Duration `toml:"silence"`
	PingTimeout time.Duration `toml:"ping_timeout"`
	// WriteTimeout closes a connection that takes no byte for so long.
	WriteTimeout time.Duration `toml:"write_timeout"`
	// Sweep is how often open connections are compared with what is revoked and
	// lapsed, beside what Drop and DropRevoked do at once.
	Sweep time.Duration `toml:"sweep"`
	// Grace is how long requests may go on once the listener stops.
	Grace time.Duration `toml:"grace"`
	// QUIC also opens the UDP port of the same number, for HTTP/3. Where it can't
	// be opened the listener says so once and goes on without.
	QUIC bool `toml:"quic"`
	// QUICKeepAlive is how often a quiet QUIC connection is kept alive, which
	// must be more often than routers forget UDP (30 s).
	QUICKeepAlive time.Duration `toml:"quic_keep_alive"`
	// TCPCongestion is how TCP's senders find their rate, where the kernel has it:
	// bbr takes a random loss for what it is, where cubic takes it for a full
	// line. Empty leaves the system's choice.
	TCPCongestion string `toml:"tcp_congestion"`
	// AnyDate takes no peer for lapsed: for a box, whose own clock may be wrong,
	// among boxes.
	AnyDate bool `toml:"-"`
	// NoProbes leaves the kernel's own probes of quiet connections out: for boxes
	// of one school, where gossip says who is there.
	NoProbes bool `toml:"-"`
	// ResetKey lets peers of a server that lost its memory know at once that
	// their QUIC connections are gone (RFC 9000 §10.3). The same key must be
	// given after each start, and be kept as secret as the certificate's key.
	// Nil: they find out by themselves.
	ResetKey *[32]byte `toml:"-"`
}

// DefaultConfig suits a server with 3,000 boxes.
func DefaultConfig() Config {
	return Config{
		MaxConns:         8192,
		MaxAnonymous:     256,
		MaxPerPeer:       32,
		MaxHandshakes:    256,
		HandshakeTimeout: 10 * time.Second,
		AnonymousTimeout: time.Minute,
		IdleTimeout:      5 * time.Minute,
		MaxStreams:       64,
		MaxHeaderBytes:   16 << 10,
		Silence:          45 * time.Second,
		PingTimeout:      15 * time.Second,
		WriteTimeout:     30 * time.Second,
		Sweep:            2 * time.Second,
		Grace:            5 * time.Second,
		QUIC:             true,
		QUICKeepAlive:    15 * time.Second,
		TCPCongestion:    bbr,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"max_connections", c.MaxConns}, {"max_anonymous", c.MaxAnonymous}, {"max_per_peer", c.MaxPerPeer},
		{"max_handshakes", c.MaxHandshakes}, {"max_streams", c.MaxStreams}, {"max_header_bytes", c.MaxHeaderBytes},
	} {
		if limit.value < 1 {
			errs = append(errs, fmt.Errorf("%s: %d is less than 1", limit.key, limit.value))
		}
	}
	for _, span := range []struct {
		key   string
		value time.Duration
	}{
		{"handshake_timeout", c.HandshakeTimeout}, {"anonymous_timeout", c.AnonymousTimeout},
		{"idle_timeout", c.IdleTimeout}, {"silence", c.Silence}, {"ping_timeout", c.PingTimeout},
		{"write_timeout", c.WriteTimeout}, {"sweep", c.Sweep}, {"grace", c.Grace}, {"quic_keep_alive", c.QUICKeepAlive},
	} {
		if span.value <= 0 {
			errs = append(errs, fmt.Errorf("%s: %v is not a time that can pass", span.key, span.value))
		}
	}
	return errors.Join(errs...)
}

// DialConfig is how a Dialer goes about it. Start from DefaultDialConfig.
type DialConfig struct {
	// DialTimeout bounds finding the way, HandshakeTimeout the handshake.
	DialTimeout      time.Duration
	HandshakeTimeout time.Duration
	// Silence and PingTimeout together are how long a dead server goes
	// unnoticed while a request waits.
	Silence     time.Duration
	PingTimeout time.Duration
	// WriteTimeout closes a connection that takes no byte for so long.
	WriteTimeout time.Duration
	// IdleTimeout closes a connection on which no request has run for so long.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds the fields of a response.
	MaxHeaderBytes int
	// DialContext opens connections. Nil for TCP.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy says through which HTTP proxy a request goes, by CONNECT, if any.
	// Nil for the HTTPS_PROXY and NO_PROXY of the environment. Raft's stream
	// never goes through one.
	Proxy func(*http.Request) (*url.URL, error)
	// QUIC tries HTTP/3 before HTTP/2. Where there is a proxy or a DialContext
	// there is no QUIC. A connection that is quiet for days, like the feed's,
	// should do without: it costs both ends less over TCP.
	QUIC bool
	// HeadStart is how long QUIC may try alone before TCP races it.
	HeadStart time.Duration
	// Near is the round trip below which TCP is chosen although QUIC works: next
	// door QUIC only costs more. 0: never.
	Near time.Duration
	// Remember is how long the winner of a race goes first without another.
	Remember time.Duration
	// KeepAlive is how often a QUIC connection is kept alive for the routers on
	// its way, which forget UDP after 30 s.
	KeepAlive time.Duration
	// Suspect is how long QUIC may bring no packet at all while an answer is
	// awaited, before a new connection is tried beside it.
	Suspect time.Duration
}

// DefaultDialConfig notices a dead server within 20 seconds.
func DefaultDialConfig() DialConfig {
	return DialConfig{
		DialTimeout:      10 * time.Second,
		HandshakeTimeout: 10 * time.Second,
		Silence:          12 * time.Second,
		PingTimeout:      7 * time.Second,
		WriteTimeout:     20 * time.Second,
		IdleTimeout:      2 * time.Minute,
		MaxHeaderBytes:   64 << 10,
		QUIC:             true,
		HeadStart:        250 * time.Millisecond,
		Remember:         30 * time.Minute,
		KeepAlive:        15 * time.Second,
		Suspect:          3 * time.Second,
	}
}

// Validate reports every mistake at once.
func (c DialConfig) Validate() error {
	var errs []error
	for _, span := range []struct {
		name  string
		value time.Duration
	}{
		{"dial timeout", c.DialTimeout}, {"handshake timeout", c.HandshakeTimeout}, {"silence", c.Silence},
		{"ping timeout", c.PingTimeout}, {"write timeout", c.WriteTimeout}, {"idle timeout", c.IdleTimeout},
		{"head start", c.HeadStart}, {"remember", c.Remember}, {"keep alive", c.KeepAlive}, {"suspect", c.Suspect},
	} {
		if span.value <= 0 {
			errs = append(errs, fmt.Errorf("%s: %v is not a time that can pass", span.name, span.value))
		}
	}
	if c.MaxHeaderBytes < 1 {
		errs = append(errs, fmt.Errorf("header bytes: %d is less than 1", c.MaxHeaderBytes))
	}
	if c.Near < 0 {
		errs = append(errs, fmt.Errorf("near: %v is less than nothing", c.Near))
	}
	return errors.Join(errs...)
}
