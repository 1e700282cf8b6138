package names

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// authority is who issues certificates.
type authority struct {
	cfg   ACME
	files files
	names []string
	acme  *acmez.Client
}

func newAuthority(cfg ACME, f files, s *solver, names []string, log *slog.Logger) (*authority, error) {
	roots, err := rootsOf(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	way := &http.Transport{
		Proxy:               http.ProxyFromEnvironment, // the school's
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: time.Minute, ForceAttemptHTTP2: true,
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second,
	}
	return &authority{cfg: cfg, files: f, names: names, acme: &acmez.Client{
		Client: &acme.Client{
			Directory: cfg.Directory, HTTPClient: &http.Client{Transport: way, Timeout: 2 * time.Minute},
			UserAgent: "preau", Logger: slog.New(quiet{log.Handler()}),
		},
		ChallengeSolvers: map[string]acmez.Solver{cfg.Challenge: s},
	}}, nil
}

func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // the system's
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read who vouches for the authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return roots, nil
}

// order gets a certificate with a new key.
func (a *authority) order(ctx context.Context) (*tls.Certificate, error) {
	defer a.acme.HTTPClient.CloseIdleConnections() // weeks pass until the next
	account, err := a.account(ctx)
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	chains, err := a.acme.ObtainCertificateForSANs(ctx, account, key, a.names)
	if err != nil {
		return nil, fmt.Errorf("ask %s for a certificate: %w", a.cfg.Directory, err)
	}
	if len(chains) == 0 {
		return nil, fmt.Errorf("%s gives no certificate", a.cfg.Directory)
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chains[0].ChainPEM, text)
	if err != nil {
		return nil, fmt.Errorf("what %s gives is no certificate for our key: %w", a.cfg.Directory, err)
	}
	for _, name := range a.names {
		if err := cert.Leaf.VerifyHostname(name); err != nil {
			return nil, fmt.Errorf("what %s gives is no certificate for %s: %w", a.cfg.Directory, name, err)
		}
	}
	return &cert, nil
}

// account is the box's account, which asking for it makes if need be (RFC 8555
// §7.3.1).
func (a *authority) account(ctx context.Context) (acme.Account, error) {
	key, err := a.files.account()
	if err != nil {
		return acme.Account{}, fmt.Errorf("key of the account at the authority: %w", err)
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if a.cfg.Email != "" {
		account.Contact = []string{"mailto:" + a.cfg.Email}
	}
	if a.cfg.EABFile != "" {
		raw, err := os.ReadFile(a.cfg.EABFile)
		if err != nil {
			return account, fmt.Errorf("read the account's binding: %w", err)
		}
		words := strings.Fields(string(raw))
		if len(words) != 2 {
			return account, fmt.Errorf("%s must have the key's name and the key, and nothing else", a.cfg.EABFile)
		}
		if err := account.SetExternalAccountBinding(ctx, a.acme.Client, acme.EAB{KeyID: words[0], MACKey: words[1]}); err != nil {
			return account, errors.New("the account's binding can't be used: " + err.Error())
		}
	}
	account, err = a.acme.NewAccount(ctx, account)
	if err != nil {
		return account, fmt.Errorf("account at %s: %w", a.cfg.Directory, err)
	}
	return account, nil
}

// quiet makes the library's words those of debugging: what matters is said here.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
