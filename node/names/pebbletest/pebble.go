//go:build system

package pebbletest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// version is what is built.
const version = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"

// Life is how long its certificates are good.
const Life = 30 * time.Second

// resolve serves an authority: every name is on this machine, and has the texts
// that are asked for by name, without the dot at its end.
type resolve struct {
	text func(name string) (string, bool)
}

// ServeDNS implements dns.Handler.
func (z resolve) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(m)
	q := m.Question[0]
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	text, ok := z.text(strings.TrimSuffix(dns.CanonicalName(q.Name), "."))
	switch {
	case q.Qtype == dns.TypeTXT && ok:
		answer.Answer = append(answer.Answer, &dns.TXT{Hdr: head, Txt: []string{text}})
	case q.Qtype == dns.TypeA:
		answer.Answer = append(answer.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
	}
	if err := w.WriteMsg(answer); err != nil {
		return // the other end asks again
	}
}

func serveDNS(t *testing.T, z dns.Handler) string {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, srv := range []*dns.Server{{PacketConn: conn, Handler: z}, {Listener: ln, Handler: z}} {
		started, done := make(chan struct{}), make(chan error, 1)
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { done <- srv.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := errors.Join(srv.ShutdownContext(context.WithoutCancel(t.Context())), <-done); err != nil {
				t.Error(err)
			}
		})
	}
	return conn.LocalAddr().String()
}

func port(t *testing.T) int {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port //nolint:errcheck,forcetypeassert // it is one
}

// Pebble is an authority that runs.
type Pebble struct {
	Directory string
	CAFile    string         // vouches for the directory
	HTTP      int            // the port on which it looks for pages
	Roots     *x509.CertPool // of what it issues
	// Stop ends it. The test's end does so too.
	Stop func()
}

// Start builds and runs the authority. To it every name is this machine's, and has
// the TXT record that text says.
func Start(t *testing.T, text func(name string) (string, bool)) *Pebble {
	t.Helper()
	resolver := serveDNS(t, resolve{text})
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "install", version)
	build.Env, build.Dir = append(os.Environ(), "GOBIN="+dir, "GOFLAGS="), dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s, which needs the Go module proxy: %v\n%s", version, err, out)
	}
	p := &Pebble{HTTP: port(t), CAFile: filepath.Join(dir, "ca.pem")}
	at, management := fmt.Sprintf("127.0.0.1:%d", port(t)), fmt.Sprintf("127.0.0.1:%d", port(t))
	own := selfSigned(t, "localhost")
	if err := os.WriteFile(p.CAFile, own, 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": at, "managementListenAddress": management, "certificate": p.CAFile, "privateKey": p.CAFile, "httpPort": p.HTTP, "tlsPort": port(t),
		"ocspResponderURL": "", "externalAccountBindingRequired": false, "domainBlocklist": []string{},
		"profiles": map[string]any{"default": map[string]any{"description": "short", "validityPeriod": int(Life / time.Second)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "pebble"), "-config", file, "-dnsserver", resolver)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	p.Stop = func() {
		once.Do(func() {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the authority has ended by itself")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
	t.Cleanup(p.Stop)
	_, number, _ := strings.Cut(at, ":")
	p.Directory = "https://localhost:" + number + "/dir"
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(own)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}, DisableKeepAlives: true}}
	p.Roots = x509.NewCertPool()
	eventually(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+management+"/roots/0", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		root, err := io.ReadAll(resp.Body)
		if err == nil && !p.Roots.AppendCertsFromPEM(root) {
			err = fmt.Errorf("its root is %q", root)
		}
		return err
	})
	return p
}

func eventually(t *testing.T, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		if err = fn(); err == nil {
			return
		}
	}
	t.Fatalf("still: %v", err)
}

// selfSigned is a certificate and its key.
func selfSigned(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}
