package enrol

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

const (
	authorityValidity = 20 * 365 * 24 * time.Hour

	// BoxValidity is how long a box's certificate lasts: a box can be away for
	// half of it and more without lapsing.
	BoxValidity = 90 * 24 * time.Hour
	// ServerValidity is that of a server and of the central gateway.
	ServerValidity = 365 * 24 * time.Hour
	// OperatorValidity is that of a person.
	OperatorValidity = 365 * 24 * time.Hour

	maxCSR = 4 << 10
)

const (
	pemCertificate = "CERTIFICATE"
	pemRequest     = "CERTIFICATE REQUEST"
	pemKey         = "PRIVATE KEY"
)

// Validity is how long a certificate of the given role lasts.
func Validity(role identity.Role) time.Duration {
	switch role {
	case identity.Box:
		return BoxValidity
	case identity.Operator:
		return OperatorValidity
	default:
		return ServerValidity
	}
}

// RenewAt is when a certificate should be renewed: at half its life.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2)
}

// Authority signs a region's certificates. It is safe for any number of
// goroutines.
type Authority struct {
	region identity.Region
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

// NewAuthority makes the authority of a region, once in the region's life.
func NewAuthority(region identity.Region, now time.Time) (*Authority, error) {
	if _, err := identity.ParseRegion(string(region)); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Préau region " + string(region)},
		NotBefore:             now.Add(-wire.Skew),
		NotAfter:              now.Add(authorityValidity),
		KeyUsage:              x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		// RFC 5280 §4.2.1.10: URIs of this region only, and no host name, no
		// address and no e-mail. Somebody who installs this authority in a
		// browser has not given it the web.
		PermittedDNSDomainsCritical: true,
		PermittedURIDomains:         []string{string(region)},
		PermittedDNSDomains:         []string{"preau.invalid"},
		PermittedEmailAddresses:     []string{"preau.invalid"},
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate back: %w", err)
	}
	return &Authority{region: region, cert: cert, key: key}, nil
}

// Region is the region that the authority signs for.
func (a *Authority) Region() identity.Region { return a.region }

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM is Certificate in PEM.
func (a *Authority) PEM() []byte { return encodePEM(pemCertificate, a.cert.Raw) }

// Pin is what tokens hold of it.
func (a *Authority) Pin() wire.Pin { return wire.PinOf(a.cert) }

// Issue signs a certificate that speaks for id, for the key in the request (PEM).
// Which names the request asks for does not matter. The certificate begins two
// days ago, as a box's clock or another server's may be behind, and lasts
// for validity from now.
func (a *Authority) Issue(request []byte, id identity.Identity, validity time.Duration, now time.Time) ([]byte, error) {
	csr, err := readRequest(request)
	if err != nil {
		return nil, err
	}
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if id.Region != a.region {
		return nil, fmt.Errorf("issue for %s: the authority is that of region %s", id, a.region)
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: string(id.Name)},
		URIs:         []*url.URL{id.URI()},
		// Never outside the authority's own life, whatever this server's clock
		// says: nobody would take such a certificate.
		NotBefore:             clamp(now.Add(-wire.Skew), a.cert.NotBefore, a.cert.NotAfter.Add(-validity)),
		NotAfter:              clamp(now.Add(validity), a.cert.NotBefore.Add(validity), a.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if id.Role == identity.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", id, err)
	}
	return encodePEM(pemCertificate, der), nil
}

// readRequest reads a request and checks that who made it has the key.
func readRequest(request []byte) (*x509.CertificateRequest, error) {
	if len(request) > maxCSR {
		return nil, fmt.Errorf("%w: a signing request of %d bytes, at most %d are read", ErrBadRequest, len(request), maxCSR)
	}
	block, rest := pem.Decode(request)
	if block == nil || block.Type != pemRequest || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: the signing request is not one PEM block", ErrBadRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: read the signing request: %w", ErrBadRequest, err)
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("%w: a key on %s, want P-256", ErrBadRequest, key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("%w: a key of type %s, want P-256 or Ed25519", ErrBadRequest, csr.PublicKeyAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: the signing request is not signed by its key: %w", ErrBadRequest, err)
	}
	return csr, nil
}

func clamp(t, from, to time.Time) time.Time {
	if t.After(to) {
		t = to
	}
	if t.Before(from) {
		t = from
	}
	return t
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// readCertificate reads one certificate in PEM and nothing more.
func readCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemCertificate || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not one certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
