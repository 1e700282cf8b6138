// Package provider signs people in with an OpenID Connect provider: the code
// flow (OpenID Connect Core §3.1) with PKCE (RFC 7636), state, nonce and the
// check of who answers (RFC 9207).
//
// Nothing is asked of the provider before somebody signs in, and what it says of
// itself is asked again until it answers: a box starts without a line. Its keys
// are not kept on the disk, as a code can't be exchanged without the provider
// anyway; who is signed in already does not need it. Sessions, cookies and roles
// are not for this package.
package provider

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Errors that pages tell apart.
var (
	// ErrAway is a provider that does not answer as one.
	ErrAway = errors.New("the sign-in provider can't be reached")
	// ErrClock is a provider whose dates and this box's clock can't both be right.
	ErrClock = errors.New("this box's clock is wrong")
	// ErrDenied is somebody who does not want to, or may not.
	ErrDenied = errors.New("the provider refused")
	// ErrLogin is somebody who has to sign in at the provider first.
	ErrLogin = errors.New("the provider wants to be asked again")
	// ErrUntrue is an answer that is not what it should be: forged, old, for
	// somebody else, or made by a provider that is set up in another way.
	ErrUntrue = errors.New("the provider's answer is not valid")
)

// Config says which provider, and who this box is to it.
type Config struct {
	Issuer   string
	ClientID string
	Secret   string // empty: a public client, which PKCE alone protects
	Scopes   []string
	ACR      []string // what to ask for where a second factor is wanted
	Needs    []string // claims that are asked of userinfo if the ID token lacks them
}

// How long what the provider says of itself holds, and how soon one that was
// away is asked again.
const (
	described = 12 * time.Hour
	again     = time.Second
	patience  = 15 * time.Second // for one sign-in, from code to claims
)

// Client is one box at one provider. Its methods may be called at the same time.
type Client struct {
	cfg  Config
	log  *slog.Logger
	http *http.Client
	line *line

	asking chan struct{} // holds one: only one asks at a time

	mu     sync.Mutex
	now    *description
	failed time.Time
	why    error
}

// description is what the provider says of itself.
type description struct {
	at         time.Time
	provider   *oidc.Provider
	verifier   *oidc.IDTokenVerifier
	endpoint   oauth2.Endpoint
	endSession string
	saysIssuer bool // RFC 9207 §3
}

// New makes a client that asks nothing yet. transport is the school's way out.
func New(cfg Config, transport http.RoundTripper, log *slog.Logger) *Client {
	l := newLine(transport)
	return &Client{
		cfg: cfg, log: log, line: l, asking: make(chan struct{}, 1),
		http: &http.Client{Transport: l, Timeout: 10 * time.Second, CheckRedirect: l.redirect},
	}
}

// Close gives up what is asked of the provider now.
func (c *Client) Close() { c.line.close() }

// metadata is what go-oidc leaves aside.
type metadata struct {
	EndSession string   `json:"end_session_endpoint"`
	SaysIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	Methods    []string `json:"token_endpoint_auth_methods_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
	JWKS       string   `json:"jwks_uri"`
}

// signatures are those with a key pair. With "none" or HS256 whoever knows the
// public key, or nothing, could sign (RFC 8725 §2.1).
var signatures = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// describe finds out what the provider is, or remembers it.
func (c *Client) describe(ctx context.Context) (*description, error) {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrAway, context.Cause(ctx))
	}
	c.mu.Lock()
	known, failed, why := c.now, c.failed, c.why
	c.mu.Unlock()
	now := time.Now()
	switch {
	case known != nil && now.Sub(known.at).Abs() < described:
		return known, nil
	case why != nil && now.Sub(failed).Abs() < again:
		if known != nil {
			return known, nil
		}
		return nil, why
	}
	d, err := c.discover(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed, c.why = time.Now(), err
		if known != nil {
			return known, nil // it may have changed nothing
		}
		return nil, err
	}
	c.now, c.why = d, nil
	return d, nil
}

// Answers asks the provider anew, whatever is known of it: a browser that is sent to
// where nobody answers shows nothing that helps. Errors: ErrAway, ErrClock.
func (c *Client) Answers(ctx context.Context) error {
	d, err := c.discover(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.why = d, nil
	return nil
}

func (c *Client) discover(ctx context.Context) (*description, error) {
	ctx = oidc.ClientContext(ctx, c.http)
	p, err := oidc.NewProvider(ctx, c.cfg.Issuer)
	if err != nil {
		return nil, c.explain("ask the provider what it is", err, ErrAway)
	}
	var m metadata
	if err := p.Claims(&m); err != nil {
		return nil, fmt.Errorf("%w: read what the provider is: %w", ErrAway, err)
	}
	e := p.Endpoint()
	for _, u := range []string{e.AuthURL, e.TokenURL, m.JWKS, cmp.Or(p.UserInfoEndpoint(), c.cfg.Issuer)} {
		if !Safe(u, c.cfg.Issuer) {
			return nil, fmt.Errorf("%w: it names %q, which is no https address", ErrAway, printable(u))
		}
	}
	var algorithms []string
	for _, a := range m.Algorithms {
		if slices.Contains(signatures, a) {
			algorithms = append(algorithms, a)
		}
	}
	if len(algorithms) == 0 {
		algorithms = []string{oidc.RS256} // what every provider has (OpenID Connect Discovery §3)
	}
	// Never by trying: a code that was refused once is used up.
	e.AuthStyle = oauth2.AuthStyleInHeader
	if c.cfg.Secret == "" || len(m.Methods) > 0 && !slices.Contains(m.Methods, "client_secret_basic") {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	d := &description{
		at: time.Now(), provider: p, endpoint: e, saysIssuer: m.SaysIssuer,
		verifier: p.VerifierContext(ctx, &oidc.Config{ClientID: c.cfg.ClientID, SupportedSigningAlgs: algorithms}),
	}
	if Safe(m.EndSession, c.cfg.Issuer) {
		d.endSession = m.EndSession
	}
	return d, nil
}

// Safe reports whether an address is https; or http where the provider itself
// is, as in tests on one machine.
func Safe(address, issuer string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(issuer, "http://")
}

// Attempt is a sign-in that is under way, for whoever keeps it until the browser
// comes back.
type Attempt struct {
	State, nonce, verifier string
	redirect               string
}

// Ask is what somebody has to show at the provider.
type Ask int

// What is asked for.
const (
	Known  Ask = iota // who is signed in there already need do nothing
	Anew              // the password again: on a computer that is shared, another may be signed in there
	Strong            // a second factor
)

// Begin gives the address at the provider that a browser is sent to, which comes
// back to redirect. Errors: ErrAway, ErrClock.
func (c *Client) Begin(ctx context.Context, redirect string, ask Ask) (address string, a Attempt, err error) {
	d, err := c.describe(ctx)
	if err != nil {
		return "", a, err
	}
	a = Attempt{verifier: oauth2.GenerateVerifier(), redirect: redirect}
	for _, secret := range []*string{&a.State, &a.nonce} {
		var p [32]byte
		if _, err := rand.Read(p[:]); err != nil {
			return "", a, fmt.Errorf("begin a sign-in: %w", err)
		}
		*secret = base64.RawURLEncoding.EncodeToString(p[:])
	}
	opts := []oauth2.AuthCodeOption{oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier)}
	if ask == Strong && len(c.cfg.ACR) > 0 {
		opts = append(opts, oauth2.SetAuthURLParam("acr_values", strings.Join(c.cfg.ACR, " ")))
	}
	if ask != Known {
		opts = append(opts, oauth2.SetAuthURLParam("prompt", "login"))
	}
	return c.oauth(d, redirect).AuthCodeURL(a.State, opts...), a, nil
}

func (c *Client) oauth(d *description, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: c.cfg.ClientID, ClientSecret: c.cfg.Secret, Endpoint: d.endpoint, RedirectURL: redirect, Scopes: c.cfg.Scopes}
}

// EndSession is where a browser signs out of the provider, if that is offered
// (OpenID Connect RP-Initiated Logout §2); back is where it comes back to. Only
// what is known already counts: nobody waits to sign out.
func (c *Client) EndSession(back string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || c.now.endSession == "" {
		return "", false
	}
	u, err := url.Parse(c.now.endSession)
	if err != nil {
		return "", false
	}
	q := u.Query()
	q.Set("client_id", c.cfg.ClientID)
	if back != "" {
		q.Set("post_logout_redirect_uri", back)
	}
	u.RawQuery = q.Encode()
	return u.String(), true
}
