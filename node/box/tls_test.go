package box

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issue writes a certificate for names, with the given serial number, and its
// key.
func issue(t *testing.T, certFile, keyFile string, serial int64, names ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		// As certbot and the like do: a new file in the place of the old one.
		if err := os.WriteFile(file+".new", pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}

// visitor asks for a host wherever it is, and trusts cert.
func visitor(t *testing.T, addr string, cert *x509.Certificate) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func fetch(ctx context.Context, c *http.Client, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// TestTwoSitesFromAFile runs a box from a configuration file: two sites with
// names of their own and one without, over HTTP and HTTPS, with a certificate
// that is renewed meanwhile.
func TestTwoSitesFromAFile(t *testing.T) {
	t.Parallel()
	site := func(name string) string {
		return newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			fmt.Fprintf(w, "%s says %s", name, r.URL.Path)
		}))
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "school.crt"), filepath.Join(dir, "school.key")
	names := []string{"library.example.org", "maths.example.org"}
	old := issue(t, certFile, keyFile, 1, names...)
	file := filepath.Join(dir, "box.toml")
	text := fmt.Sprintf(`
data = %q
budget = "64MiB"
[admin]
listen = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
[[listen.certificate]]
cert = %q
key = %q
[[site]]
name = "library"
upstream = %q
hosts = ["library.example.org"]
[[site]]
name = "maths"
upstream = %q
hosts = ["maths.example.org"]
[[site]]
name = "maps"
upstream = %q
hosts = []
`, filepath.Join(dir, "data"), certFile, keyFile, site("library"), site("maths"), site("maps"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(file, Profiles())
	if err != nil {
		t.Fatal(err)
	}
	box := begin(t, cfg)
	plain, secure := visitor(t, box.Doors[0], old), visitor(t, box.Doors[1], old)

	for _, tt := range []struct {
		url   string
		proto int
		says  string
		hit   bool
	}{
		{"http://library.example.org/a", 1, "library says /a", false},
		{"https://library.example.org/a", 2, "library says /a", true},
		{"https://maths.example.org/a", 2, "maths says /a", false},
		{"http://maths.example.org/a", 1, "maths says /a", true},
		{"http://127.0.0.1/o/maps/a/b", 1, "maps says /a/b", false},
		{"http://127.0.0.1/o/maps/a/b", 1, "maps says /a/b", true},
		{"http://127.0.0.1/o/library/a", 1, "library says /a", true},
		{"https://library.example.org/o/library/a", 2, "library says /a", true},
		// Another site's pages under a site's own name would read its cookies.
		{"https://library.example.org/o/maps/a/b", 2, "library says /o/maps/a/b", false},
	} {
		c := plain
		if strings.HasPrefix(tt.url, "https:") {
			c = secure
		}
		resp, body, err := fetch(t.Context(), c, tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if resp.StatusCode != http.StatusOK || body != tt.says || resp.ProtoMajor != tt.proto {
			t.Errorf("%s: %s over %s: %q, want %q over HTTP/%d", tt.url, resp.Status, resp.Proto, body, tt.says, tt.proto)
		}
		status := resp.Header.Get("Cache-Status")
		if hit := strings.Contains(status, "; hit"); hit != tt.hit {
			t.Errorf("%s: Cache-Status %q, want a hit: %v", tt.url, status, tt.hit)
		}
	}
	if resp, body, err := fetch(t.Context(), plain, "http://other.example.org/"); err != nil || resp.Header.Get("Cache-Status") != "" || !strings.Contains(body, "Préau") {
		t.Errorf("a host that is no site's gets more than the box's own pages: %v, %v", resp, err)
	}

	renewed := issue(t, certFile, keyFile, 2, names...)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		resp, _, err := fetch(t.Context(), visitor(t, box.Doors[1], renewed), "https://library.example.org/a")
		if err == nil && resp.TLS.PeerCertificates[0].SerialNumber.Int64() == 2 {
			t.Logf("renewed after %v", time.Since(began).Round(time.Millisecond))
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("the renewed certificate is not used: %v", err)
		}
	}
	// Those who were connected are not cut off by it.
	if resp, _, err := fetch(t.Context(), secure, "https://library.example.org/a"); err != nil || resp.TLS.PeerCertificates[0].SerialNumber.Int64() != 1 {
		t.Errorf("an open connection after the renewal: %v", err)
	}
	plain.CloseIdleConnections()
	secure.CloseIdleConnections()
	box.stop(t)
}
