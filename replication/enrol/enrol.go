// Package enrol gives the nodes of a region their identity and keeps it valid.
//
// A region has an authority of its own, a P-256 key made when the region is
// founded. It signs for this region alone: name constraints keep its
// certificates out of everything else. Its key lies encrypted under the region's
// secret, which each server has in its folder, so that the sealed key itself may
// travel with the catalogue.
//
// A node is enrolled with a one-time token that a person carries to it. The token
// holds the region's id, the pin of its authority, addresses of servers, and a
// secret of 128 bits, of which the region keeps a hash. The node makes a key that
// never leaves it, sends a certificate signing request to a server that the pin
// vouches for, and stores what it gets in a folder. From then on it renews by
// itself, at half the certificate's life, with the server's calendar and not its
// own. A box whose certificate ran out goes on asking; whether it gets a new one
// is the Registry's to say.
//
// A box whose disk does not open has lost its key. It tells the region so under a
// token that it makes up itself, of which the region gets the hash, and enrols with
// it once an operator has taken it back: see Return.
//
// The package decides nothing about who may enrol: the Registry does, which the
// region's role implements on the catalogue. It has no cryptography of its own:
// x509, tls, AES-GCM, HKDF and PBKDF2 are the standard library's.
//
// # Metrics
//
//	preau_enrol_requests_total{kind,result}     what servers answered, by kind (enrol, again, renew) and code
//	preau_enrol_renewals_total{result}          a node's own attempts to renew: ok, failed
//	preau_enrol_certificate_expiry_timestamp_seconds  when a node's own certificate runs out
package enrol

import (
	"context"
	"errors"
	"net/http"

	"preau/replication/identity"
	"preau/replication/wire"
)

// Sentinels of an enrolment or renewal that does not come about. A Registry
// returns them, wrapped or not; they cross the wire as a code, and the node sees
// the same sentinel again.
var (
	ErrTokenUnknown = errors.New("the region does not know this token")
	ErrTokenUsed    = errors.New("the token was used already")
	ErrTokenExpired = errors.New("the token has expired")
	ErrNotForThis   = errors.New("the token is for another role or school")
	ErrNameTaken    = errors.New("another node has this name")
	ErrRevoked      = errors.New("the region revoked this node")
	ErrLapsed       = errors.New("the certificate has lapsed and the region does not renew it")
	ErrBadRequest   = errors.New("the request makes no sense")
	ErrTooMany      = errors.New("too many ask for a place back at once, try again later")
	ErrUnavailable  = errors.New("the region cannot decide now, try again later")
)

// codes are the sentinels as they cross the wire: a closed list.
var codes = []struct {
	err    error
	code   string
	status int
}{
	{ErrTokenUnknown, "token_unknown", http.StatusUnauthorized},
	{ErrTokenUsed, "token_used", http.StatusConflict},
	{ErrTokenExpired, "token_expired", http.StatusForbidden},
	{ErrNotForThis, "not_for_this", http.StatusForbidden},
	{ErrNameTaken, "name_taken", http.StatusConflict},
	{ErrRevoked, "revoked", http.StatusForbidden},
	{ErrLapsed, "lapsed", http.StatusForbidden},
	{ErrBadRequest, "bad_request", http.StatusBadRequest},
	{ErrTooMany, "too_many", http.StatusServiceUnavailable},
	{ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
}

// Redemption is a node that shows a token.
type Redemption struct {
	Token  TokenID
	Secret SecretHash
	// Role and Name are what the node wants to be; School too if it said so.
	Role   identity.Role
	Name   identity.Name
	School identity.School
	// Key is the node's public key, for which it has shown that it has the
	// private one.
	Key identity.Key
}

// Registry decides who may enrol. Any number of requests call it at once.
type Registry interface {
	// Redeem uses up the token, once for each Key, and says who the node is
	// from now on. The same redemption again (same token, name and key) has the
	// same result and uses up nothing, as the first reply may have been lost:
	// also when the token is used up or has expired since. TokenRecord.Check
	// compares.
	//
	// It returns ErrTokenUnknown (also for a wrong secret), ErrTokenUsed,
	// ErrTokenExpired, ErrNotForThis, ErrNameTaken, ErrRevoked or, if it
	// cannot decide now, ErrUnavailable.
	Redeem(ctx context.Context, r Redemption) (identity.Identity, error)

	// Renewable returns nil if peer may have a new certificate for the key and
	// the identity it has: ErrRevoked, ErrLapsed if peer.Lapsed and that is
	// held against it, or ErrUnavailable otherwise.
	Renewable(ctx context.Context, peer wire.Peer) error

	// TakeBack takes down that a box asks for its place back, and reports whether
	// an operator has agreed: its new token can be redeemed then. Anybody can ask,
	// and often: it keeps little, decides nothing, and costs next to nothing.
	//
	// It returns ErrTokenUnknown unless the old token has made the box of that
	// name what it is, ErrRevoked, ErrTooMany, or ErrUnavailable.
	TakeBack(ctx context.Context, r Return) (accepted bool, err error)
}

// Grant is what a node gets.
type Grant struct {
	// Certificate and Authority are PEM.
	Certificate string          `json:"certificate"`
	Authority   string          `json:"authority"`
	Region      identity.Region `json:"region"`
	Servers     []wire.Target   `json:"servers,omitempty"`
	// Secret opens the authority's key. Servers get it, nobody else.
	Secret Secret `json:"secret,omitempty"`
}
