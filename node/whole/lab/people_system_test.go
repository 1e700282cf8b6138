//go:build system && linux

package lab_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"preau/node/whole/ministry"
)

// certificate is the one that all boxes show, which devices trust.
type certificate struct {
	cert, key []byte // PEM
	pool      *x509.CertPool
}

const boxName = "preau.local"

func newCertificate(t *testing.T) *certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: boxName}, DNSNames: []string{boxName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificate{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), pool: x509.NewCertPool(),
	}
	if !c.pool.AppendCertsFromPEM(c.cert) {
		t.Fatal("the certificate is none")
	}
	dir := os.Getenv(insideEnv)
	if err := errors.Join(os.WriteFile(c.file(dir, "cert.pem"), c.cert, 0o600), os.WriteFile(c.file(dir, "key.pem"), c.key, 0o600)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *certificate) file(dir, name string) string { return filepath.Join(dir, name) }

// device is a pupil's: the n-th of the school, with an address of its own.
func (s *school) device(c *country, n int) *http.Client {
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s.addr(1, 1+n%devices)), 0))
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: from}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.rooms.Dial(ctx, d, network, address)
		},
		TLSClientConfig:    &tls.Config{RootCAs: c.cert.pool, ServerName: boxName, MinVersion: tls.VersionTLS12},
		DisableCompression: true, ReadBufferSize: 64 << 10, IdleConnTimeout: 10 * time.Second,
	}}
}

// file is one that somebody has made, and what its bytes must be.
type file struct {
	name    string
	content []byte
	sum     [sha256.Size]byte
}

func newFile(name string, size int) *file {
	f := &file{name: name, content: make([]byte, size)}
	// Read of crypto/rand never fails.
	_, _ = rand.Read(f.content)
	f.sum = sha256.Sum256(f.content)
	return f
}

// download gets a path of a box and compares every byte of it with the file.
func (f *file) download(ctx context.Context, client *http.Client, b *ministry.Box, path string) (took time.Duration, err error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return time.Since(began), err
	}
	defer resp.Body.Close()
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, resp.Body, make([]byte, 256<<10))
	took = time.Since(began)
	switch {
	case err != nil:
		return took, fmt.Errorf("%s at %s, after %d bytes and %v: %w", f.name, b.Name, n, took, err)
	case resp.StatusCode != http.StatusOK:
		return took, fmt.Errorf("%s at %s: %s", f.name, b.Name, resp.Status)
	case n != int64(len(f.content)) || [sha256.Size]byte(sum.Sum(nil)) != f.sum:
		return took, fmt.Errorf("%s at %s: other bytes, %d of %d", f.name, b.Name, n, len(f.content))
	}
	return took, nil
}

// class has so many of the school's devices download a file at once, from boxes
// in turn, and returns how long each took.
func (s *school) class(ctx context.Context, c *country, size int, f *file, path string, boxes ...*ministry.Box) (times []time.Duration, all time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	began := time.Now()
	for n := range size {
		wg.Go(func() {
			client := s.device(c, n)
			defer client.CloseIdleConnections()
			took, err := f.download(ctx, client, boxes[n%len(boxes)], path)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, took)
			if err != nil {
				errs = append(errs, fmt.Errorf("device %d: %w", n+1, err))
			}
		})
	}
	wg.Wait()
	return times, time.Since(began), errors.Join(errs...)
}

// look reads from a process's face for operators.
func (c *country) look(ctx context.Context, name, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Host = "localhost" // the only name to which this face answers
	tr := &http.Transport{DialContext: c.admin, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s: %.300s", path, name, resp.Status, text)
	}
	return text, err
}

// admin connects to the face for operators of the process of that name, which
// is to be had in its namespace alone.
func (c *country) admin(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	at := c.place(name)
	switch number := int(name[len(name)-1] - '1'); name[:1] {
	case "s":
		return c.servers[number].Dial(ctx, d, network, at.Admin)
	case "b":
		return c.schools[number/each].hosts[number%each].Dial(ctx, d, network, at.Admin)
	}
	return c.gateway.Dial(ctx, d, network, at.Admin)
}
