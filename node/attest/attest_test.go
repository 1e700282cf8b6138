package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"testing"
	"time"

	"preau/cache/vouch"
	"preau/node/attest"
	"preau/replication/enrol"
	"preau/replication/identity"
)

const region = identity.Region("0123456789abcdef")

func authority(t *testing.T, of identity.Region, at time.Time) *enrol.Authority {
	t.Helper()
	a, err := enrol.NewAuthority(of, at)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issued is a certificate of a's, begun at that time.
func issued(t *testing.T, a *enrol.Authority, id identity.Identity, at time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Issue(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), id, enrol.Validity(id.Role), at)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: crypto.Signer(key)}
}

func signer(cert *tls.Certificate) *attest.Signer {
	return attest.NewSigner(func() (*tls.Certificate, error) { return cert, nil })
}

func server(name identity.Name) identity.Identity {
	return identity.Identity{Region: region, Role: identity.Server, Name: name}
}

// TestWhoseSignatureCounts: that of a server of the region, while its certificate
// was valid. No clock of the checker's is asked.
func TestWhoseSignatureCounts(t *testing.T) {
	now := time.Now()
	ours, other, foreign := authority(t, region, now), authority(t, region, now), authority(t, "fedcba9876543210", now)
	box := identity.Identity{Region: region, Role: identity.Box, Name: "library", School: "0690001A"}
	valid := enrol.Validity(identity.Server)
	tests := map[string]struct {
		by   *tls.Certificate
		at   time.Time
		want error
	}{
		"a server":                         {issued(t, ours, server("s1"), now), now, nil},
		"long ago":                         {issued(t, ours, server("s1"), now.Add(valid)), now.Add(valid), nil},
		"when it had expired":              {issued(t, ours, server("s1"), now), now.Add(valid + time.Hour), vouch.ErrOther},
		"before it was issued":             {issued(t, ours, server("s1"), now.Add(valid)), now.Add(time.Hour), vouch.ErrOther},
		"a box":                            {issued(t, ours, box, now), now, vouch.ErrOther},
		"another authority":                {issued(t, other, server("s1"), now), now, vouch.ErrOther},
		"another region":                   {issued(t, foreign, identity.Identity{Region: "fedcba9876543210", Role: identity.Server, Name: "s1"}, now), now, vouch.ErrOther},
		"a server that was taken back":     {issued(t, ours, server("stolen"), now), now, vouch.ErrOther},
		"a server in the year after next":  {issued(t, ours, server("s1"), now), now.AddDate(2, 0, 0), vouch.ErrOther},
		"a server at the beginning of all": {issued(t, ours, server("s1"), now), time.Unix(0, 0), vouch.ErrOther},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := attest.NewChecker(region, []*x509.Certificate{ours.Certificate()}, func(s string) bool { return s == "stolen" })
			statement := []byte("the sky is blue")
			sig, err := signer(tt.by).Sign(statement)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time it knows the certificate
				if err := c.Check(statement, sig, tt.at); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			}
		})
	}
}

func TestAStatementThatWasChangedIsForged(t *testing.T) {
	now := time.Now()
	ours := authority(t, region, now)
	s := signer(issued(t, ours, server("s1"), now))
	c := attest.NewChecker(region, []*x509.Certificate{ours.Certificate()}, func(string) bool { return false })
	statement := vouch.Statement{Site: "wiki", Status: 200, Header: http.Header{"Etag": {`"1"`}}, Length: 7, At: now.Unix()}
	proof, err := vouch.Prove(statement, s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := vouch.Proven(proof, c); err != nil || got.Site != "wiki" || got.Length != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range proof {
		b := append([]byte(nil), proof...)
		b[i] ^= 1
		if got, err := vouch.Proven(b, c); err == nil {
			t.Fatalf("with byte %d changed it says %+v", i, got)
		}
	}
	sig, err := s.Sign([]byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check([]byte("other"), sig, now); !errors.Is(err, vouch.ErrForged) {
		t.Errorf("another statement: %v", err)
	}
	for _, sig := range [][]byte{nil, {1}, make([]byte, 9<<10)} {
		if err := c.Check([]byte("one"), sig, now); !errors.Is(err, vouch.ErrForged) {
			t.Errorf("a signature of %d bytes: %v", len(sig), err)
		}
	}
}

func TestAKeyThatDoesNotSignIsSaid(t *testing.T) {
	gone := errors.New("gone")
	if _, err := attest.NewSigner(func() (*tls.Certificate, error) { return nil, gone }).Sign(nil); !errors.Is(err, gone) {
		t.Error(err)
	}
	if _, err := signer(&tls.Certificate{}).Sign(nil); err == nil {
		t.Error("signed without a key")
	}
}

func FuzzCheck(f *testing.F) {
	c := attest.NewChecker(region, nil, func(string) bool { return false })
	f.Add([]byte("x"), []byte{0xa2, 1, 0x41, 0, 2, 0x41, 0})
	f.Fuzz(func(t *testing.T, statement, sig []byte) {
		if c.Check(statement, sig, time.Unix(1, 0)) == nil {
			t.Error("nobody's signature is taken")
		}
	})
}
