package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/node/listen"
)

// newPair writes a self-signed certificate with the given subject for names.
func newPair(t *testing.T, dir, subject string, names ...string) listen.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: subject},
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := listen.Certificate{Cert: filepath.Join(dir, names[0]+".crt"), Key: filepath.Join(dir, names[0]+".key")}
	write(t, files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return files
}

// write puts a new file in the place of the old one, as certbot and the like do:
// nobody sees half of it.
func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// shown is the subject of the certificate that a client sees.
func shown(t *testing.T, addr, name string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestCertificateFollowsTheName(t *testing.T) {
	dir := t.TempDir()
	addr, _, _ := start(t, listen.Config{Certificate: []listen.Certificate{
		newPair(t, dir, "first", "a.example"),
		newPair(t, dir, "second", "b.example", "*.c.example"),
	}}, func(http.ResponseWriter, *http.Request) {})
	for name, want := range map[string]string{
		"a.example": "first", "b.example": "second", "x.c.example": "second", "unknown.example": "first", "": "first",
	} {
		if got := shown(t, addr, name); got != want {
			t.Errorf("%q is shown %q, want %q", name, got, want)
		}
	}
}

func TestRenewedCertificateIsTakenAndABrokenOneIsNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := newPair(t, dir, "old", "a.example")
	addr, log, _ := start(t, listen.Config{Certificate: []listen.Certificate{files}}, func(http.ResponseWriter, *http.Request) {})

	write(t, files.Cert, []byte("half a renewal"))
	eventually(t, "the log tells of the broken file", func() bool {
		return shown(t, addr, "a.example") == "old" && strings.Contains(log.String(), "the old one stays in use")
	})
	if n := strings.Count(log.String(), "the old one stays in use"); n != 1 {
		t.Errorf("told %d times, want once a change", n)
	}
	newPair(t, dir, "new", "a.example")
	eventually(t, "the new certificate is shown", func() bool { return shown(t, addr, "a.example") == "new" })
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, addr, "a.example"); got != "new" {
		t.Errorf("without its key file %q is shown, want what was loaded", got)
	}
}

func TestMissingAndMismatchedFilesAreErrorsOfNew(t *testing.T) {
	dir := t.TempDir()
	one, two := newPair(t, dir, "one", "a.example"), newPair(t, dir, "two", "b.example")
	tests := map[string]struct {
		files []listen.Certificate
		want  []string
	}{
		"missing":  {[]listen.Certificate{{Cert: "none.crt", Key: one.Key}}, []string{"certificate: stat none.crt"}},
		"mismatch": {[]listen.Certificate{{Cert: one.Cert, Key: two.Key}}, []string{"private key does not match public key"}},
		"several":  {[]listen.Certificate{{Cert: "none.crt", Key: one.Key}, one, {Cert: two.Cert, Key: "none.key"}}, []string{"none.crt", "none.key"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := listen.New(t.Context(), listen.Config{Address: "127.0.0.1:0", Certificate: tt.files}, nil, slog.New(slog.DiscardHandler))
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want it to contain %q", err, want)
				}
			}
		})
	}
}
