package wire

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/quic-go/quic-go"

	"preau/replication/identity"
)

// Pin names an authority by its key: the first 128 bits of the SHA-256 of its
// public key. Finding another key with the same Pin is as much work as breaking
// the authority's own P-256 key.
type Pin [16]byte

// PinOf is the Pin of an authority's certificate.
func PinOf(cert *x509.Certificate) Pin {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return Pin(sum[:len(Pin{})])
}

// chain verifies that one of roots signed leaf for one of the given uses. The dates
// are not looked at: the time of the check is now, moved to where leaf and root
// are both valid. Who cares about dates looks at the leaf's.
func chain(leaf *x509.Certificate, roots []*x509.Certificate, now time.Time, anyOf ...x509.ExtKeyUsage) error {
	var errs []error
	for _, root := range roots {
		if !bytes.Equal(leaf.RawIssuer, root.RawSubject) {
			continue
		}
		from, to := later(leaf.NotBefore, root.NotBefore), earlier(leaf.NotAfter, root.NotAfter)
		pool := x509.NewCertPool()
		pool.AddCert(root)
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots:       pool,
			CurrentTime: earlier(later(now, from), to),
			KeyUsages:   anyOf,
		})
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("%w: %w", ErrForeign, errors.Join(append(errs, errors.New("its authority is not ours"))...))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// peerOf reads who a verified certificate speaks for.
func peerOf(leaf *x509.Certificate, region identity.Region, now time.Time) (Peer, error) {
	id, err := identity.FromCertificate(leaf)
	if err != nil {
		return Peer{}, err
	}
	if id.Region != region {
		return Peer{}, fmt.Errorf("%w: %s, ours is %s", ErrForeign, id, region)
	}
	peer := Peer{Identity: id, Key: identity.KeyOf(leaf), Serial: fmt.Sprintf("%x", leaf.SerialNumber), NotAfter: leaf.NotAfter}
	return peer.at(now), nil
}

// regions are the credentials that a listener holds: of one region, or of each
// that a gateway serves.
type regions []Credentials

func (s regions) validate() error {
	var errs []error
	seen := map[identity.Region]bool{}
	for _, c := range s {
		if err := c.Validate(); err != nil {
			errs = append(errs, err)
		} else if seen[c.Region] {
			errs = append(errs, fmt.Errorf("region %s is given twice", c.Region))
		}
		if c.Certificate == nil {
			errs = append(errs, errors.New("a listener needs a certificate of its own"))
		}
		seen[c.Region] = true
	}
	if len(s) == 0 {
		errs = append(errs, errors.New("a listener needs credentials of a region"))
	}
	return errors.Join(errs...)
}

// of are the credentials that a client means with the server name it sent (RFC
// 6066 §3). A listener of one region does not look at it: it never did, and
// who means another region finds out by the certificate.
func (s regions) of(serverName string) (Credentials, error) {
	if len(s) == 1 {
		return s[0], nil
	}
	if region, ok := regionOf(serverName); ok {
		for _, c := range s {
			if c.Region == region {
				return c, nil
			}
		}
	}
	return Credentials{}, fmt.Errorf("%w: no region of ours is called %.60q", ErrForeign, serverName)
}

// admit is a server's decision on a client's certificate. Of several regions
// only the roots of the one that the client named count.
func (s regions) admit(cs tls.ConnectionState, now time.Time) (Peer, error) {
	c, err := s.of(cs.ServerName)
	if err != nil {
		return Peer{}, err
	}
	return c.admit(cs, now)
}

// nameOf is what a client calls a server of a region in its handshake. It stands
// for no host: .invalid never resolves (RFC 6761 §6.4).
func nameOf(region identity.Region) string { return string(region) + serverSuffix }

const serverSuffix = ".preau.invalid"

// regionOf reads nameOf.
func regionOf(serverName string) (identity.Region, bool) {
	text, ok := strings.CutSuffix(serverName, serverSuffix)
	if !ok {
		return "", false
	}
	region, err := identity.ParseRegion(text)
	return region, err == nil
}

func (c Credentials) admit(cs tls.ConnectionState, now time.Time) (Peer, error) {
	if cs.NegotiatedProtocol == "" {
		return Peer{}, errors.New("the client speaks no protocol of ours")
	}
	if len(cs.PeerCertificates) == 0 {
		if cs.NegotiatedProtocol == protoRaft {
			return Peer{}, fmt.Errorf("raft without a certificate: %w", ErrRole)
		}
		return Peer{}, nil
	}
	leaf := cs.PeerCertificates[0]
	if err := chain(leaf, c.Roots, now, x509.ExtKeyUsageClientAuth); err != nil {
		return Peer{}, err
	}
	peer, err := peerOf(leaf, c.Region, now)
	if err != nil {
		return Peer{}, err
	}
	mayRenew := peer.Role == identity.Box || peer.Role == identity.Server
	switch {
	case cs.NegotiatedProtocol == protoRaft && peer.Role != identity.Server:
		return Peer{}, fmt.Errorf("raft for %s: %w", peer, ErrRole)
	case peer.Lapsed && (cs.NegotiatedProtocol == protoRaft || !mayRenew):
		return Peer{}, fmt.Errorf("%s until %s: %w", peer, peer.NotAfter.Format(time.DateOnly), ErrLapsed)
	}
	return peer, nil
}

// trust is a client's decision on a server's certificate.
func (c Credentials) trust(cs tls.ConnectionState, want Target, now time.Time) error {
	if len(cs.PeerCertificates) == 0 {
		return fmt.Errorf("the server shows no certificate: %w", ErrForeign)
	}
	return c.trustLeaf(cs.PeerCertificates[0], want, now)
}

func (c Credentials) trustLeaf(leaf *x509.Certificate, want Target, now time.Time) error {
	if err := chain(leaf, c.Roots, now, want.usage()...); err != nil {
		return err
	}
	peer, err := peerOf(leaf, c.Region, now)
	switch {
	case err != nil:
		return err
	case peer.Role != want.role():
		return fmt.Errorf("dialled %s, want a %s: %w", peer, want.role(), ErrRole)
	case want.Name != "" && peer.Name != want.Name:
		return fmt.Errorf("dialled %s %s, met %s: %w", want.role(), want.Name, peer.Name, ErrRole)
	case want.role() == identity.Box && peer.School != want.School:
		return fmt.Errorf("dialled a box of school %s, met one of %s: %w", want.School, peer.School, ErrForeign)
	case want.Key != (identity.Key{}) && peer.Key != want.Key:
		return fmt.Errorf("dialled %s, which shows another key than the one that was enrolled: %w", peer, ErrRevoked)
	}
	return nil
}

// trustPinned is trust for one who knows of the region no more than its id and
// the pin of its authority, whose certificate the server shows beside its own.
func trustPinned(cs tls.ConnectionState, region identity.Region, pin Pin, want Target, now time.Time) error {
	for _, cert := range cs.PeerCertificates[min(1, len(cs.PeerCertificates)):] {
		if PinOf(cert) == pin && cert.IsCA {
			c := Credentials{Region: region, Roots: []*x509.Certificate{cert}}
			return c.trust(cs, want, now)
		}
	}
	return fmt.Errorf("the server does not show the authority that the token names: %w", ErrForeign)
}

// refusal turns the alert of a server that does not take our certificate into
// ErrRefused. In TLS 1.3 it arrives after our side of the handshake is done, at
// the first read, so it can come out of any request.
func refusal(err error) error {
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" && remote.Err.Error() == tls.AlertError(alertBadCertificate).Error() {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	// RFC 9001 §4.8: the alert is in the lower byte.
	if remote, ok := errors.AsType[*quic.TransportError](err); ok && remote.Remote && remote.ErrorCode == 0x100+alertBadCertificate {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

const alertBadCertificate = 42 // RFC 8446 §6.2
