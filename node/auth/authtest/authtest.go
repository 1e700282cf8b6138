// Package authtest is an OpenID Connect provider for tests, in the same process:
// it signs in whoever comes as the person that it was told, without a page, and
// can be told to answer as a provider that is wrong, forged or away would.
//
// It is no measure of whether real providers are understood: the system tests of
// node/auth have one of those.
package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Client is the id of the one client that the provider knows.
const Client = "box"

// Provider is a provider that runs until its test ends.
type Provider struct {
	URL string // the issuer

	key  *ecdsa.PrivateKey
	keep *httptest.Server

	mu    sync.Mutex
	what  Behaviour
	codes map[string]grant
	seen  []url.Values
}

// Behaviour is what the provider does.
type Behaviour struct {
	// Claims of who signs in, besides those that every ID token has. They go
	// before those.
	Claims map[string]any
	// Strong are claims that are added where acr_values were asked for.
	Strong map[string]any
	// Info is what userinfo says; nil: the provider has none.
	Info map[string]any
	// Algorithm is ES256 if empty. "none" and "HS256" are signed as somebody would
	// who has the public key only, "other" with a key that is not the provider's.
	Algorithm string
	// Error is what an authorisation ends with instead of a code.
	Error string
	// Answer changes what the browser comes back with.
	Answer func(url.Values)
	// Token changes what the token endpoint answers.
	Token func(map[string]any)
	// Broken answers everything with this status; 0: it works.
	Broken int
	// Silent: it does not say that it names itself in answers, and does not.
	Silent bool
	// Describe changes what the provider says of itself.
	Describe func(map[string]any)
	// Date is what its clock says; zero: the right time.
	Date time.Time
}

type grant struct{ challenge, nonce, redirect, acr string }

// New starts a provider.
func New(tb testing.TB) *Provider {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	p := &Provider{key: key, codes: map[string]grant{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.describe)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /me", p.info)
	p.keep = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := p.behaviour()
		if !what.Date.IsZero() {
			w.Header().Set("Date", what.Date.UTC().Format(http.TimeFormat))
		}
		if what.Broken != 0 {
			http.Error(w, "broken", what.Broken)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	tb.Cleanup(p.keep.Close)
	p.URL = p.keep.URL
	return p
}

// Behave changes what the provider does from now on.
func (p *Provider) Behave(b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = b
}

func (p *Provider) behaviour() Behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.what
}

// Asked gives the queries with which browsers came, the oldest first.
func (p *Provider) Asked() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]url.Values(nil), p.seen...)
}

func (p *Provider) describe(w http.ResponseWriter, _ *http.Request) {
	what := p.behaviour()
	d := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"end_session_endpoint": p.URL + "/end", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		// More than anybody should take.
		"id_token_signing_alg_values_supported":          []string{"ES256", "HS256", "none"},
		"authorization_response_iss_parameter_supported": !what.Silent,
	}
	if what.Info != nil {
		d["userinfo_endpoint"] = p.URL + "/me"
	}
	if what.Describe != nil {
		what.Describe(d)
	}
	answer(w, http.StatusOK, d)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	pub, err := p.key.PublicKey.Bytes()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "one", "x": b64(pub[1:33]), "y": b64(pub[33:]),
	}}})
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.mu.Lock()
	p.seen = append(p.seen, q)
	p.mu.Unlock()
	what := p.behaviour()
	if q.Get("client_id") != Client || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		q.Get("code_challenge") == "" || !strings.Contains(q.Get("scope"), "openid") {
		http.Error(w, "not as it should be", http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}}
	if !what.Silent {
		back.Set("iss", p.URL)
	}
	if what.Error != "" {
		back.Set("error", what.Error)
	} else {
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = grant{q.Get("code_challenge"), q.Get("nonce"), q.Get("redirect_uri"), q.Get("acr_values")}
		p.mu.Unlock()
		back.Set("code", code)
	}
	if what.Answer != nil {
		what.Answer(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusSeeOther)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	code := r.PostFormValue("code")
	p.mu.Lock()
	g, ok := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || b64(sum[:]) != g.challenge || r.PostFormValue("redirect_uri") != g.redirect {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	what := p.behaviour()
	now := time.Now()
	if !what.Date.IsZero() {
		now = what.Date
	}
	claims := map[string]any{"iss": p.URL, "aud": Client, "sub": "anne", "nonce": g.nonce, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	add(claims, what.Claims)
	if g.acr != "" {
		add(claims, what.Strong)
	}
	t := map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 300, "id_token": p.sign(what.Algorithm, claims)}
	if what.Token != nil {
		what.Token(t)
	}
	answer(w, http.StatusOK, t)
}

func (p *Provider) info(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer access" {
		http.Error(w, "who?", http.StatusUnauthorized)
		return
	}
	claims := map[string]any{"sub": "anne"}
	add(claims, p.behaviour().Info)
	answer(w, http.StatusOK, claims)
}

// add puts claims with others; nil takes one away.
func add(claims, more map[string]any) {
	for name, v := range more {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
}

// sign makes a JWT (RFC 7515 §3.1).
func (p *Provider) sign(algorithm string, claims map[string]any) string {
	header := map[string]any{"alg": "ES256", "kid": "one", "typ": "JWT"}
	if algorithm == "none" || algorithm == "HS256" {
		header["alg"] = algorithm
	}
	text := b64(encode(header)) + "." + b64(encode(claims))
	sum := sha256.Sum256([]byte(text))
	switch algorithm {
	case "none":
		return text + "."
	case "HS256":
		pub, err := p.key.PublicKey.Bytes()
		if err != nil {
			return ""
		}
		h := hmac.New(sha256.New, pub)
		h.Write([]byte(text))
		return text + "." + b64(h.Sum(nil))
	}
	key := p.key
	if algorithm == "other" {
		other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return ""
		}
		key = other
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return ""
	}
	return text + "." + b64(append(fixed(r), fixed(s)...))
}

func fixed(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

func b64(p []byte) string { return base64.RawURLEncoding.EncodeToString(p) }

func encode(v any) []byte {
	p, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return p
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v)) // nobody to tell
}
