// Package attest is how a region's servers put their name to what they vouch for,
// so that a school's box can check it with no server in reach: with the
// certificates that both have already.
//
// A Signer signs with the key of a server's certificate, and sends the certificate
// along. A Checker believes a certificate of a server of its own region that was
// valid when it signed, by the time that is signed with it: the box's own clock
// plays no part, it may be wrong. A server that the region has taken back is not
// believed, whenever it signed.
//
// The package knows nothing of what is signed, keeps no keys and issues nothing.
package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/vouch"
	"preau/replication/identity"
)

// domain keeps these signatures apart from all others under the same key.
const domain = "preau attests 1\x00"

const (
	// maxSignature bounds what is parsed.
	maxSignature = 8 << 10
	// mostServers bounds the certificates that are remembered as checked.
	mostServers = 16
)

// signature is a signature with whose it is.
type signature struct {
	Certificate []byte `cbor:"1,keyasint"` // DER
	Sig         []byte `cbor:"2,keyasint"`
}

func digest(statement []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(statement)
	return [sha256.Size]byte(h.Sum(nil))
}

// Signer signs as a region's server.
type Signer struct {
	certificate func() (*tls.Certificate, error)
}

// NewSigner makes a Signer. The certificate is asked for each time, so a renewed
// one is used from then on.
func NewSigner(certificate func() (*tls.Certificate, error)) *Signer {
	return &Signer{certificate}
}

// Sign implements vouch.Signer.
func (s *Signer) Sign(statement []byte) ([]byte, error) {
	cert, err := s.certificate()
	if err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok || len(cert.Certificate) == 0 {
		return nil, errors.New("attest: the server's certificate has no key that signs")
	}
	if _, ok := key.Public().(*ecdsa.PublicKey); !ok {
		return nil, fmt.Errorf("attest: the server's key is %T, want ECDSA", key.Public())
	}
	d := digest(statement)
	sig, err := key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	b, err := cbor.Marshal(signature{cert.Certificate[0], sig})
	if err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	return b, nil
}

// Checker checks what servers of one region have signed. Its method may be called
// concurrently.
type Checker struct {
	region  identity.Region
	roots   []*x509.Certificate
	revoked func(server string) bool

	mu      sync.Mutex
	checked map[[sha256.Size]byte]*server
}

// server is one whose certificate is the region's.
type server struct {
	name     string
	key      *ecdsa.PublicKey
	from, to time.Time
}

// NewChecker makes a Checker. revoked reports servers that the region has taken
// back, as far as is known.
func NewChecker(region identity.Region, roots []*x509.Certificate, revoked func(server string) bool) *Checker {
	return &Checker{region: region, roots: roots, revoked: revoked, checked: map[[sha256.Size]byte]*server{}}
}

// Check implements vouch.Checker. What nobody but a liar would send is
// vouch.ErrForged. An old proof is none of that: who keeps it may not have heard
// that a server was revoked, or that the region has another authority.
func (c *Checker) Check(statement, sig []byte, at time.Time) error {
	var s signature
	if len(sig) > maxSignature {
		return fmt.Errorf("%w: a signature of %d bytes", vouch.ErrForged, len(sig))
	}
	if err := cbor.Unmarshal(sig, &s); err != nil {
		return fmt.Errorf("%w: %w", vouch.ErrForged, err)
	}
	by, err := c.server(s.Certificate)
	if err != nil {
		return err
	}
	d := digest(statement)
	switch {
	case !ecdsa.VerifyASN1(by.key, d[:], s.Sig):
		return fmt.Errorf("%w: the signature of server %s is wrong", vouch.ErrForged, by.name)
	case at.Before(by.from) || at.After(by.to):
		return fmt.Errorf("%w: server %s signed at %s, when its certificate was not valid", vouch.ErrOther, by.name, at.UTC().Format(time.RFC3339))
	case c.revoked(by.name):
		return fmt.Errorf("%w: server %s is revoked", vouch.ErrOther, by.name)
	}
	return nil
}

// server is whose certificate der is, if it is one of the region's servers'.
func (c *Checker) server(der []byte) (*server, error) {
	sum := sha256.Sum256(der)
	c.mu.Lock()
	known := c.checked[sum]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: its certificate: %w", vouch.ErrForged, err)
	}
	if err := c.issued(leaf); err != nil {
		return nil, err
	}
	id, err := identity.FromCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("%w: its certificate: %w", vouch.ErrForged, err)
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if id.Region != c.region || id.Role != identity.Server || !ok {
		return nil, fmt.Errorf("%w: it is signed by %s", vouch.ErrForged, id) // by a box, that is
	}
	known = &server{name: string(id.Name), key: key, from: leaf.NotBefore, to: leaf.NotAfter}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.checked) >= mostServers {
		clear(c.checked)
	}
	c.checked[sum] = known
	return known, nil
}

// issued reports an error unless one of the region's authorities has issued leaf.
// The calendar plays no part: a time is taken at which both are valid.
func (c *Checker) issued(leaf *x509.Certificate) error {
	var errs []error
	for _, root := range c.roots {
		if !bytes.Equal(leaf.RawIssuer, root.RawSubject) {
			continue
		}
		at := leaf.NotBefore
		if root.NotBefore.After(at) {
			at = root.NotBefore
		}
		pool := x509.NewCertPool()
		pool.AddCert(root)
		_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("%w: its certificate is not of this region: %w", vouch.ErrOther, errors.Join(append(errs, errors.New("its authority is not ours"))...))
}
