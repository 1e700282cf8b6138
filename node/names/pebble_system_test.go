//go:build system

package names_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/names"
	"preau/node/names/pebbletest"
	"preau/node/names/records"
)

const public = "school-1.boxes.example.org"

// zone holds the records that were written. It implements names.Region.
type zone struct {
	mu      sync.Mutex
	texts   map[string]string
	written int
}

func (z *zone) Record(_ context.Context, r records.Record) (time.Duration, error) {
	if err := r.Check(public); err != nil {
		return 0, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if r.Remove {
		delete(z.texts, r.Name)
		return 0, nil
	}
	z.texts[r.Name] = r.Value
	z.written++
	return time.Second, nil
}

func (z *zone) text(name string) (string, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	text, ok := z.texts[name]
	return text, ok
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

// run runs a keeper until stop is called.
func run(t *testing.T, k *names.Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// shown is the certificate that a device is shown, as one checks it.
func shown(k *names.Keeper, roots *x509.CertPool, hosts []string) (*tls.Certificate, error) {
	cert, err := k.Certificate(&tls.ClientHelloInfo{ServerName: public})
	if err != nil {
		return nil, err
	}
	chain := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain.AddCert(c)
	}
	for _, host := range hosts {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: chain, CurrentTime: cert.Leaf.NotBefore}); err != nil {
			return nil, err
		}
	}
	return cert, nil
}

func TestCertificatesComeFromAnAuthorityAndAreRenewedAtHalfOfTheirLife(t *testing.T) {
	zone := &zone{texts: map[string]string{}}
	p := pebbletest.Start(t, zone.text)
	for _, challenge := range []string{names.DNS01, names.HTTP01} {
		t.Run(challenge, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certificates")
			cfg := names.DefaultConfig().ACME
			cfg.Listen, cfg.Directory, cfg.CAFile, cfg.Challenge = ":443", p.Directory, p.CAFile, challenge
			hosts := []string{public, "cloud." + public}
			open := func() *names.Keeper {
				k, err := names.New(cfg, dir, hosts, zone, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewRegistry())
				if err != nil {
					t.Fatal(err)
				}
				return k
			}
			k := open()
			ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", p.HTTP))
			if err != nil {
				t.Fatal(err)
			}
			web := &http.Server{Handler: k.Challenges(http.NotFoundHandler()), ReadHeaderTimeout: 10 * time.Second}
			served := make(chan error, 1)
			go func() { served <- web.Serve(ln) }()
			defer func() {
				if err := web.Close(); err != nil {
					t.Error(err)
				}
				<-served
			}()
			stop := run(t, k)
			var first, second *tls.Certificate
			eventually(t, func() (err error) {
				first, err = shown(k, p.Roots, hosts)
				return err
			})
			eventually(t, func() (err error) {
				second, err = shown(k, p.Roots, hosts)
				if err == nil && second.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
					err = errors.New("it was not renewed")
				}
				return err
			})
			if from, half := second.Leaf.NotBefore, first.Leaf.NotBefore.Add(pebbletest.Life/2); from.Before(half.Add(-2 * time.Second)) {
				t.Errorf("renewed at %v, half of its life was over at %v", from, half)
			}
			if bytes.Equal(first.Leaf.RawSubjectPublicKeyInfo, second.Leaf.RawSubjectPublicKeyInfo) {
				t.Error("a renewed certificate has the old key")
			}
			stop()
			zone.mu.Lock()
			left, written := len(zone.texts), zone.written
			zone.mu.Unlock()
			if left != 0 || challenge == names.DNS01 && written < 4 {
				t.Errorf("%d records are left of %d", left, written)
			}
			// After a start it is there at once, whoever answers.
			last, err := shown(open(), p.Roots, hosts)
			if err != nil || last.Leaf.SerialNumber.Sign() == 0 {
				t.Errorf("after another start: %v", err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, e := range entries {
				info, err := e.Info()
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s can be read by others: %v, %v", e.Name(), info, err)
				}
				files = append(files, e.Name())
			}
			if want := []string{"account.pem", "public.pem"}; !slices.Equal(files, want) {
				t.Errorf("the folder has %q, want %q", files, want)
			}
			raw, err := os.ReadFile(filepath.Join(dir, "public.pem"))
			if block, _ := pem.Decode(raw); err != nil || block == nil || block.Type != "CERTIFICATE" {
				t.Errorf("the file is %.40q, %v", raw, err)
			}
		})
	}
	// A box that no authority answers goes on with what it has, and says so.
	p.Stop()
	k := keeper(t, t.TempDir())
	stop := run(t, k)
	eventually(t, func() error {
		if k.State().Problem == "" {
			return errors.New("it has not tried yet")
		}
		return nil
	})
	stop()
}
