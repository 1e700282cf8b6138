package controltest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	id := identity.Identity{Region: r.id, Role: identity.Server, Name: identity.Name(name)}
	text, err := r.issue(key, id, time.Now())
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

// issue makes a certificate as of a time, in PEM.
func (r *Region) issue(key crypto.Signer, id identity.Identity, at time.Time) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	return r.authority.Issue(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), id, enrol.Validity(id.Role), at)
}

// Age makes the identity in a folder one that was enrolled so long ago.
func (r *Region) Age(tb testing.TB, dir string, age time.Duration) {
	tb.Helper()
	if err := r.age(dir, age); err != nil {
		tb.Fatal(err)
	}
}

func (r *Region) age(dir string, age time.Duration) error {
	me, err := enrol.OpenStore(dir)
	if err != nil {
		return err
	}
	pair, err := me.Credentials().Certificate()
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return errors.New("its key does not sign")
	}
	text, err := r.issue(key, me.Identity(), time.Now().Add(-age))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cert.pem"), text, 0o600)
}
