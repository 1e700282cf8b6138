package enrol_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

func newAuthority(tb testing.TB) *enrol.Authority {
	tb.Helper()
	a, err := enrol.NewAuthority(identity.NewRegion(), time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func TestIssueIgnoresWhatTheRequestAsksFor(t *testing.T) {
	a := newAuthority(t)
	greedy := requestFor(t, newKey(t), &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "server"},
		DNSNames:    []string{"example.org"},
		IPAddresses: []net.IP{{127, 0, 0, 1}},
		URIs:        []*url.URL{{Scheme: "preau", Host: string(a.Region()), Path: "/server/s1"}},
	})
	id := identity.Identity{Region: a.Region(), Role: identity.Box, Name: "b1", School: "0690001A"}
	now := time.Now()
	text, err := a.Issue(greedy, id, enrol.BoxValidity, now)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, text)
	if got, err := identity.FromCertificate(cert); err != nil || got != id {
		t.Errorf("speaks for %s, %v", got, err)
	}
	if cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("usages %v %v, CA %v", cert.KeyUsage, cert.ExtKeyUsage, cert.IsCA)
	}
	// The authority of a region founded a moment ago began two days ago too.
	if want := now.Add(-wire.Skew); cert.NotBefore.Sub(want).Abs() > time.Minute {
		t.Errorf("begins at %v, want %v", cert.NotBefore, want)
	}
	if want := now.Add(enrol.BoxValidity); cert.NotAfter.Sub(want).Abs() > time.Minute {
		t.Errorf("ends at %v, want %v", cert.NotAfter, want)
	}
	if at := enrol.RenewAt(cert); !at.After(now) || !at.Before(cert.NotAfter) {
		t.Errorf("to be renewed at %v", at)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := newAuthority(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	none := &x509.CertificateRequest{}
	good := requestFor(t, newKey(t), none)
	block, _ := pem.Decode(good)
	forged := append([]byte(nil), block.Bytes...)
	forged[len(forged)-1] ^= 1
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	long := make([]string, 200)
	for i := range long {
		long[i] = "a-rather-long-host-name.example.org"
	}
	tests := map[string][]byte{
		"nothing":       nil,
		"garbage":       []byte("garbage"),
		"P-384":         requestFor(t, p384, none),
		"RSA":           requestFor(t, rsaKey, none),
		"forged":        encode("CERTIFICATE REQUEST", forged),
		"truncated":     encode("CERTIFICATE REQUEST", block.Bytes[:len(block.Bytes)/2]),
		"another block": encode("CERTIFICATE", block.Bytes),
		"two":           append(append([]byte(nil), good...), good...),
		"huge":          requestFor(t, newKey(t), &x509.CertificateRequest{DNSNames: long}),
		"a megabyte":    make([]byte, 1<<20),
	}
	id := identity.Identity{Region: a.Region(), Role: identity.Server, Name: "s1"}
	for name, request := range tests {
		if _, err := a.Issue(request, id, time.Hour, time.Now()); !errors.Is(err, enrol.ErrBadRequest) {
			t.Errorf("%s: %v, want ErrBadRequest", name, err)
		}
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(requestFor(t, ed, none), id, time.Hour, time.Now()); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
	id.Region = identity.NewRegion()
	if _, err := a.Issue(good, id, time.Hour, time.Now()); err == nil {
		t.Error("issued for another region")
	}
}

// Whatever the clock of the server says, a certificate lies within the life of
// its authority, else nobody would ever take it.
func TestIssueStaysWithinTheAuthoritysLife(t *testing.T) {
	a := newAuthority(t)
	id := identity.Identity{Region: a.Region(), Role: identity.Server, Name: "s1"}
	request := requestFor(t, newKey(t), &x509.CertificateRequest{})
	for _, year := range []int{1970, 2026, 2040, 2090} {
		text, err := a.Issue(request, id, enrol.ServerValidity, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		cert := parse(t, text)
		if cert.NotBefore.Before(a.Certificate().NotBefore) || cert.NotAfter.After(a.Certificate().NotAfter) || !cert.NotBefore.Before(cert.NotAfter) {
			t.Errorf("in %d: from %v to %v", year, cert.NotBefore, cert.NotAfter)
		}
	}
}

// An authority that gets into a browser, or is misused, vouches for nothing but
// its own region.
func TestTheAuthorityIsNameLimited(t *testing.T) {
	a := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	uri := func(region string) []*url.URL {
		return []*url.URL{{Scheme: "preau", Host: region, Path: "/server/s1"}}
	}
	tests := map[string]struct {
		template x509.Certificate
		good     bool
	}{
		"its region":     {x509.Certificate{URIs: uri(string(a.Region()))}, true},
		"another region": {x509.Certificate{URIs: uri("fedcba9876543210")}, false},
		"a host":         {x509.Certificate{DNSNames: []string{"example.org"}}, false},
		"an address":     {x509.Certificate{IPAddresses: []net.IP{{192, 0, 2, 1}}}, false},
		"an IPv6":        {x509.Certificate{IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}}, false},
		"an e-mail":      {x509.Certificate{EmailAddresses: []string{"a@example.org"}}, false},
	}
	for name, tt := range tests {
		tt.template.SerialNumber = big.NewInt(1)
		tt.template.NotBefore, tt.template.NotAfter = time.Now(), time.Now().Add(time.Hour)
		tt.template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		der, err := x509.CreateCertificate(rand.Reader, &tt.template, a.Certificate(), newKey(t).Public(), a.Key())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots}); (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealedKeysOpenWithTheirSecretOnly(t *testing.T) {
	a := newAuthority(t)
	secret := enrol.NewSecret()
	sealed, err := a.Seal(secret)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := enrol.OpenAuthority(a.PEM(), sealed, secret)
	if err != nil || opened.Region() != a.Region() || opened.Pin() != a.Pin() {
		t.Fatalf("open: %v", err)
	}
	other, err := a.Seal(secret)
	if err != nil || string(other) == string(sealed) {
		t.Errorf("two seals are the same, %v", err)
	}
	for name, with := range map[string]enrol.Unlock{"another secret": enrol.NewSecret(), "a passphrase": enrol.Passphrase("x")} {
		if _, err := enrol.OpenAuthority(a.PEM(), sealed, with); !errors.Is(err, enrol.ErrSealed) {
			t.Errorf("%s: %v, want ErrSealed", name, err)
		}
	}
	if _, err := enrol.OpenAuthority(a.PEM(), sealed, secret[:31]); err == nil {
		t.Error("half a secret opens it")
	}
	if _, err := enrol.OpenAuthority(newAuthority(t).PEM(), sealed, secret); err == nil {
		t.Error("it opens for another authority")
	}
	for i := range sealed {
		damaged := append([]byte(nil), sealed...)
		damaged[i] ^= 0x40
		if _, err := enrol.OpenAuthority(a.PEM(), damaged, secret); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
		if _, err := enrol.OpenAuthority(a.PEM(), sealed[:i], secret); err == nil {
			t.Errorf("it opens when cut after %d bytes", i)
		}
	}
}

func TestAPassphraseSealsToo(t *testing.T) {
	a := newAuthority(t)
	sealed, err := a.Seal(enrol.WeakPassphrase("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if !testing.Short() {
		if sealed, err = a.Seal(enrol.Passphrase("correct horse")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := enrol.OpenAuthority(a.PEM(), sealed, enrol.Passphrase("correct horse")); err != nil {
		t.Error(err)
	}
	if _, err := enrol.OpenAuthority(a.PEM(), sealed, enrol.Passphrase("battery staple")); !errors.Is(err, enrol.ErrSealed) {
		t.Errorf("a wrong one: %v, want ErrSealed", err)
	}
	// A seal that asks for years of hashing is not tried.
	endless := append([]byte(nil), sealed...)
	endless[10] = 0xff
	if _, err := enrol.OpenAuthority(a.PEM(), endless, enrol.Passphrase("correct horse")); !errors.Is(err, enrol.ErrSealed) {
		t.Errorf("too many iterations: %v, want ErrSealed", err)
	}
	if _, err := a.Seal(enrol.Passphrase("")); err == nil {
		t.Error("sealed with nothing")
	}
}

func FuzzIssue(f *testing.F) {
	a := newAuthority(f)
	id := identity.Identity{Region: a.Region(), Role: identity.Server, Name: "s1"}
	f.Add(requestFor(f, newKey(f), &x509.CertificateRequest{}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, request []byte) {
		text, err := a.Issue(request, id, time.Hour, time.Now())
		if err != nil {
			if !errors.Is(err, enrol.ErrBadRequest) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if got, err := identity.FromCertificate(parse(t, text)); err != nil || got != id {
			t.Errorf("issued for %s, %v", got, err)
		}
	})
}

func FuzzOpenAuthority(f *testing.F) {
	a, secret := newAuthority(f), enrol.NewSecret()
	sealed, err := a.Seal(secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := enrol.OpenAuthority(a.PEM(), b, secret); err == nil && string(b) != string(sealed) {
			t.Error("something else opens")
		}
	})
}
