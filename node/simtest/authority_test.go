package simtest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"preau/replication/identity"
)

const here = identity.Region("0123456789abcdef")

// authority is the region's, with the certificates of its servers: they sign
// snapshots.
type authority struct {
	pool  *x509.CertPool
	certs map[string]*tls.Certificate
}

func newAuthority(t *testing.T, servers []string) *authority {
	t.Helper()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "region"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, der := sign(t, root, nil, nil)
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{pool: x509.NewCertPool(), certs: map[string]*tls.Certificate{}}
	a.pool.AddCert(root)
	for _, name := range servers {
		id := identity.Identity{Region: here, Role: identity.Server, Name: identity.Name(name)}
		key, der := sign(t, &x509.Certificate{
			SerialNumber: big.NewInt(2), URIs: []*url.URL{id.URI()}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature,
		}, root, rootKey)
		a.certs[name] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return a
}

// sign makes a key and a certificate for it, by itself where there is no parent.
func sign(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}
