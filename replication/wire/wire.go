// Package wire carries everything between the nodes of a region: HTTP/3 over
// QUIC and HTTP/2 over TLS 1.3 over TCP, with certificates on both sides, behind
// one Dialer and one Listener on one port number. Raft's own stream between
// servers has the same TCP port and another ALPN protocol.
//
// A caller sees http.Handler, http.RoundTripper and net.Conn, and no more. A
// Transport carries requests and streams; a Bulk, from the same Dialer, carries
// many blocks over several connections, so that nothing else waits behind them.
//
// # Ways
//
// QUIC goes first and has a quarter of a second before TCP races it; the first
// handshake that is done wins. Which one that was is remembered for the address,
// the local address used for it and that address's interface, and goes first
// the next time. Where TCP won, QUIC is tried again every half an hour with
// nobody waiting for it. Through an HTTP proxy (HTTPS_PROXY, NO_PROXY) there is
// TCP alone. A QUIC connection follows its node to another address, and a router
// that forgets it is noticed by neither side. Nothing is sent in 0-RTT, as that
// could be played again.
//
// A gateway that serves several regions listens with ListenFor. Who dials puts
// "<region>.preau.invalid" into its handshake (RFC 6066 §3) and is checked
// against that region's authority alone.
//
// Who may do what is told by the certificate (replication/identity). The package
// settles which connections come about:
//
//   - no certificate: an anonymous peer, which only the enrolment handlers want;
//   - one of another region, another authority, or a revoked one: no connection;
//   - a box or server whose certificate has run out: a connection marked Lapsed,
//     with which it may ask for a new certificate and do nothing else;
//   - raft: servers only.
//
// Handlers settle the rest with PeerOf, or all of it with Only. The package
// issues no certificates, stores none, and knows no path of any URL.
//
// # Clocks
//
// A box has no battery: its clock may say 1970, or 2090. So a certificate's dates
// never lock a box out of its region, nor one server out of another: who dials
// checks the server's chain at its own time moved into the certificate's validity.
// What the dates of a server's certificate would protect from, a key lost long
// ago, is left to revocation: the authority signs for this one region and nothing
// else, it has a handful of servers, and what a server tells is checked again
// where it matters (blocks by their digest). Only servers, whose clocks are kept
// by people, hold a date against a certificate, with two days of Skew, and only
// its end: a certificate from the future tells that the clock is wrong, not the
// certificate.
//
// # Metrics
//
//	preau_wire_connections{peer}           connections that are open, by role of the peer
//	preau_wire_handshakes_total{result}    handshakes: ok, refused, failed, crowded
//	preau_wire_dropped_connections_total   closed because the peer lost its right to them
//
// and of Dialer.Collector, for each server by name:
//
//	preau_wire_path{server,way}                      1 for the way of the last answer: quic, tcp, proxy
//	preau_wire_path_rtt_seconds{server}              smoothed round-trip time
//	preau_wire_path_loss_ratio{server}               share of what we sent that was lost
//	preau_wire_path_goodput_bytes_per_second{server} what bulk brought lately
package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"preau/replication/identity"
)

const (
	protoHTTP2 = "h2"
	protoHTTP3 = "h3"
	protoRaft  = "preau-raft/1"
)

// Skew is how wrong the clocks of two servers may be before one of them finds
// fault with a certificate.
const Skew = 48 * time.Hour

// Sentinels of refusals.
var (
	// ErrForeign is a certificate that this region's authority did not sign, or
	// that speaks for another region.
	ErrForeign = errors.New("certificate of another region")
	// ErrRole is a certificate that is good, for somebody else.
	ErrRole = errors.New("certificate of the wrong role")
	// ErrLapsed is a certificate that has run out where that matters.
	ErrLapsed = errors.New("certificate has lapsed")
	// ErrRevoked is a certificate that the region took back.
	ErrRevoked = errors.New("certificate is revoked")
	// ErrRefused is what the one who dials sees of all of these: the other side
	// does not take its certificate. It tells no reasons to strangers.
	ErrRefused = errors.New("the server refused our certificate")
	// ErrStopped is what Accept returns once the listener has stopped.
	ErrStopped = errors.New("listener has stopped")
)

// Credentials are what a node shows and whom it believes.
type Credentials struct {
	Region identity.Region
	// Roots are the region's authorities: one, or two while it changes.
	Roots []*x509.Certificate
	// Certificate is asked at each handshake, so a renewed certificate is used
	// from the next one on. It may be called at any time by any number of
	// goroutines. Nil to show none: what is met then treats us as anonymous.
	Certificate func() (*tls.Certificate, error)
}

// Validate says what is missing.
func (c Credentials) Validate() error {
	var errs []error
	if _, err := identity.ParseRegion(string(c.Region)); err != nil {
		errs = append(errs, err)
	}
	if len(c.Roots) == 0 {
		errs = append(errs, errors.New("the certificate of the region's authority is missing"))
	}
	for _, root := range c.Roots {
		if root == nil || !root.IsCA {
			errs = append(errs, errors.New("what is given as the region's authority is no certificate authority"))
		}
	}
	return errors.Join(errs...)
}

// Target is a server to dial.
type Target struct {
	// Name is what its certificate must say. Empty: any server of the region.
	Name identity.Name `json:"name,omitempty"`
	// Address is host:port. It is trusted for nothing but finding the way.
	Address string `json:"address"`
	// Role is what its certificate must say: empty for a server of the region,
	// identity.Central, or identity.Box for a box of a school.
	Role identity.Role `json:"role,omitempty"`
	// School is what a box's certificate must say. It goes with that role.
	School identity.School `json:"school,omitempty"`
	// Key, unless zero, is the only key that it may have: a certificate under an
	// older one is that of a box that was enrolled anew since.
	Key identity.Key `json:"-"`
}

func (t Target) role() identity.Role {
	if t.Role == "" {
		return identity.Server
	}
	return t.Role
}

// usage is what the authority must have written into the certificate. It signs
// the ministry's gateway and boxes for clients, as which they come to the region
// too; that they may be dialled is told by their role.
func (t Target) usage() []x509.ExtKeyUsage {
	if r := t.role(); r == identity.Central || r == identity.Box {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
}

// String is for logs.
func (t Target) String() string {
	if t.Name == "" {
		return t.Address
	}
	return string(t.Name) + " at " + t.Address
}

// Peer is who is at the other end. The zero Peer is anonymous.
type Peer struct {
	identity.Identity
	Key      identity.Key
	Serial   string // of the certificate, in hexadecimal digits
	NotAfter time.Time
	// Lapsed: the certificate has run out. All that such a peer may do is ask
	// for a new one.
	Lapsed bool

	timeless bool // met by a listener with Config.AnyDate
}

// Anonymous says that the peer showed no certificate.
func (p Peer) Anonymous() bool { return p.IsZero() }

// String is for logs.
func (p Peer) String() string {
	if p.Anonymous() {
		return "anonymous"
	}
	return p.Identity.String()
}

// at is the peer as of now: a connection may outlive its certificate.
func (p Peer) at(now time.Time) Peer {
	p.Lapsed = !p.Anonymous() && !p.timeless && now.After(p.NotAfter.Add(Skew))
	return p
}

type contextKey int

const (
	keyLink contextKey = iota
	keyPeer
	keyStopping
	keyArrival
)

// PeerOf says who sent a request that a Listener handed to its handler. For any
// other request it is anonymous.
func PeerOf(r *http.Request) Peer {
	if peer, ok := r.Context().Value(keyPeer).(Peer); ok {
		return peer
	}
	if k, ok := r.Context().Value(keyLink).(*link); ok {
		return k.who().at(time.Now())
	}
	return Peer{}
}

// IdentityOf says who sent a request, and whether that is somebody who may ask
// for more than a certificate: neither anonymous nor lapsed.
func IdentityOf(r *http.Request) (identity.Identity, bool) {
	p := PeerOf(r)
	return p.Identity, !p.Anonymous() && !p.Lapsed
}

// WithPeer is r as if peer had sent it, for tests of handlers.
func WithPeer(r *http.Request, peer Peer) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), keyPeer, peer))
}

// Stopping is closed when the listener that handed over r begins to stop.
// Handlers whose response has no end return then; the others have Config.Grace
// to finish. It is nil, and so never ready, for any other request.
func Stopping(r *http.Request) <-chan struct{} {
	stopping, ok := r.Context().Value(keyStopping).(<-chan struct{})
	if !ok {
		return nil
	}
	return stopping
}

// Only lets through peers of the given roles whose certificate has not lapsed.
// The others get 403 and one of the codes "anonymous", "lapsed" and "role" in
// the field Preau-Refused.
func Only(next http.Handler, roles ...identity.Role) http.Handler {
	allowed := make(map[identity.Role]bool, len(roles))
	for _, role := range roles {
		allowed[role] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := PeerOf(r)
		switch {
		case peer.Anonymous():
			forbid(w, "anonymous")
		case peer.Lapsed:
			forbid(w, "lapsed")
		case !allowed[peer.Role]:
			forbid(w, "role")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func forbid(w http.ResponseWriter, code string) {
	w.Header().Set("Preau-Refused", code)
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintln(w, code)
}
