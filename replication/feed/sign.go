package feed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"preau/replication/identity"
)

// claim is what the signature of a snapshot's batch speaks for. At is in it so
// that batches of an older snapshot cannot be slipped into a newer one: what was
// deleted between the two would stay.
type claim struct {
	Purpose string          `cbor:"1,keyasint"`
	Region  identity.Region `cbor:"2,keyasint"`
	Epoch   uint64          `cbor:"3,keyasint"`
	View    identity.School `cbor:"4,keyasint"`
	After   uint64          `cbor:"5,keyasint"`
	Upto    uint64          `cbor:"6,keyasint"`
	Part    uint16          `cbor:"7,keyasint"`
	More    bool            `cbor:"8,keyasint"`
	Count   uint32          `cbor:"9,keyasint"`
	At      uint64          `cbor:"10,keyasint"`
	Payload [32]byte        `cbor:"11,keyasint"`
}

const purpose = "preau feed snapshot 1"

func digest(region identity.Region, epoch uint64, h *batchHeader, payload []byte) ([32]byte, error) {
	b, err := marshal(claim{
		Purpose: purpose, Region: region, Epoch: epoch, View: h.View, After: h.After, Upto: h.Upto,
		Part: h.Part, More: h.More, Count: h.Count, At: h.At, Payload: sha256.Sum256(payload),
	})
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(b), nil
}

// sign sets h.Sig.
func sign(cert *tls.Certificate, region identity.Region, epoch uint64, h *batchHeader, payload []byte) error {
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("sign a snapshot: the key of the server's certificate cannot sign")
	}
	if _, ok := key.Public().(*ecdsa.PublicKey); !ok {
		return fmt.Errorf("sign a snapshot: the server's key is %T, want ECDSA", key.Public())
	}
	d, err := digest(region, epoch, h, payload)
	if err != nil {
		return fmt.Errorf("sign a snapshot: %w", err)
	}
	if h.Sig, err = key.Sign(rand.Reader, d[:], crypto.SHA256); err != nil {
		return fmt.Errorf("sign a snapshot: %w", err)
	}
	return nil
}

// verifier checks the batches of one stream's snapshot.
type verifier struct {
	region identity.Region
	epoch  uint64
	until  uint64
	school identity.School
	key    *ecdsa.PublicKey
}

// newVerifier checks that chain is that of a server of the region.
func newVerifier(h *Hello, school identity.School, roots *x509.CertPool, now time.Time) (*verifier, error) {
	if len(h.Chain) == 0 {
		return nil, fmt.Errorf("%w: a snapshot that nobody signs", ErrRefused)
	}
	between := x509.NewCertPool()
	var leaf *x509.Certificate
	for i, der := range h.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d of who signs: %w", ErrRefused, i, err)
		}
		if i == 0 {
			leaf = c
		} else {
			between.AddCert(c)
		}
	}
	// A box has no battery: its clock may say 1970, or 2090. The calendar alone
	// never locks it out; a server that was removed is revoked, and the
	// connection that brings this is a server's of the region.
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		now = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if _, err := leaf.Verify(opts); err != nil {
		return nil, fmt.Errorf("%w: who signs is not of this region: %w", ErrRefused, err)
	}
	id, err := identity.FromCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("%w: who signs: %w", ErrRefused, err)
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if id.Region != h.Region || id.Role != identity.Server || !ok {
		return nil, fmt.Errorf("%w: a snapshot signed by %s", ErrRefused, id)
	}
	return &verifier{region: h.Region, epoch: h.Epoch, until: h.Until, school: school, key: key}, nil
}

func (v *verifier) check(h *batchHeader, payload []byte) error {
	switch {
	case h.At < v.until:
		return fmt.Errorf("%w: a batch as of %d in a snapshot of %d", ErrRefused, h.At, v.until)
	case h.View != "" && h.View != v.school:
		return fmt.Errorf("%w: a batch for the school %s", ErrRefused, h.View)
	}
	d, err := digest(v.region, v.epoch, h, payload)
	if err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(v.key, d[:], h.Sig) {
		return fmt.Errorf("%w: a batch whose signature is wrong (after %d)", ErrRefused, h.After)
	}
	return nil
}
