package enrol

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

// exchangeTimeout bounds one request of a node, from dialling to the last byte.
const exchangeTimeout = 30 * time.Second

func keyOfRequest(csr *x509.CertificateRequest) identity.Key {
	return sha256.Sum256(csr.RawSubjectPublicKeyInfo)
}

// newRequest makes a signing request. It asks for no names: the region knows.
func newRequest(key crypto.Signer) (string, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", fmt.Errorf("make a signing request: %w", err)
	}
	return string(encodePEM(pemRequest, der)), nil
}

// exchange sends one request to one server and decodes its reply, or turns the
// code of a refusal into its sentinel.
func exchange(ctx context.Context, server http.RoundTripper, method, path string, send, reply any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, exchangeTimeout, errors.New("the server took too long"))
	defer cancel()
	var body []byte
	if send != nil {
		var err error
		if body, err = json.Marshal(send); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://region"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := server.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the server's reply: %w", err)
	case len(got) > maxReply:
		return fmt.Errorf("the server's reply is longer than %d bytes", maxReply)
	case resp.StatusCode == http.StatusOK:
		if err := json.Unmarshal(got, reply); err != nil {
			return fmt.Errorf("read the server's reply: %w", err)
		}
		return nil
	}
	var refused refusalBody
	if json.Unmarshal(got, &refused) == nil {
		for _, c := range codes {
			if c.code == refused.Code {
				if refused.Detail != "" {
					return fmt.Errorf("%w (%q)", c.err, refused.Detail[:min(len(refused.Detail), 200)])
				}
				return c.err
			}
		}
	}
	if resp.StatusCode == http.StatusNotFound {
		return ErrOlder
	}
	return fmt.Errorf("the server answered %s", resp.Status)
}

// final says that another server would answer the same.
func final(err error) bool {
	for _, c := range codes {
		if errors.Is(err, c.err) && c.err != ErrUnavailable && c.err != ErrTooMany { //nolint:errorlint // which of the list it is
			return true
		}
	}
	return false
}

// eachServer asks one server after the other until one gives an answer that
// counts.
func eachServer(ctx context.Context, dialer *wire.Dialer, servers []wire.Target, ask func(http.RoundTripper) error) error {
	if len(servers) == 0 {
		return errors.New("no server of the region is known")
	}
	var errs []error
	for _, target := range servers {
		transport := dialer.Transport(target)
		err := ask(transport)
		if closing := transport.Close(); closing != nil && err != nil {
			err = errors.Join(err, closing) // after an answer it does not matter
		}
		if err == nil || final(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// accept checks a grant, for the key we have sent, and returns who we are now.
// The dates are not looked at: our clock may be wrong, and the server's is what
// counts.
func (g Grant) accept(key crypto.PublicKey, pin wire.Pin, region identity.Region) (*x509.Certificate, *x509.Certificate, identity.Identity, error) {
	none := func(err error) (*x509.Certificate, *x509.Certificate, identity.Identity, error) {
		return nil, nil, identity.Identity{}, fmt.Errorf("what the region sent is not right: %w", err)
	}
	authority, err := readCertificate([]byte(g.Authority))
	if err != nil {
		return none(fmt.Errorf("its authority: %w", err))
	}
	if of, err := regionOf(authority); err != nil || of != region || g.Region != region || wire.PinOf(authority) != pin {
		return none(errors.New("it is from another authority than the token names"))
	}
	cert, err := readCertificate([]byte(g.Certificate))
	if err != nil {
		return none(fmt.Errorf("the certificate: %w", err))
	}
	if err := cert.CheckSignatureFrom(authority); err != nil {
		return none(fmt.Errorf("the certificate: %w", err))
	}
	id, err := identity.FromCertificate(cert)
	if err != nil {
		return none(err)
	}
	if id.Region != region {
		return none(fmt.Errorf("the certificate speaks for %s", id))
	}
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key) {
		return none(errors.New("the certificate is for another key than ours"))
	}
	if len(g.Servers) > maxServers {
		return none(fmt.Errorf("%d servers are too many", len(g.Servers)))
	}
	return cert, authority, id, nil
}
