package controltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// identity makes a server of that name.
func (r *Region) identity(tb testing.TB, name string) (wire.Credentials, error) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return wire.Credentials{}, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return wire.Credentials{}, err
	}
	id := identity.Identity{Region: r.id, Role: identity.Server, Name: identity.Name(name)}
	text, err := r.authority.Issue(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), id, enrol.ServerValidity, time.Now())
	if err != nil {
		return wire.Credentials{}, err
	}
	found, _ := pem.Decode(text)
	if found == nil {
		return wire.Credentials{}, errors.New("the authority issued no PEM")
	}
	leaf, err := x509.ParseCertificate(found.Bytes)
	if err != nil {
		return wire.Credentials{}, fmt.Errorf("read own certificate: %w", err)
	}
	pair := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return wire.Credentials{
		Region: r.id, Roots: []*x509.Certificate{r.authority.Certificate()},
		Certificate: func() (*tls.Certificate, error) { return pair, nil },
	}, nil
}
