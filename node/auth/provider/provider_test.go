package provider_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/node/auth/authtest"
	"preau/node/auth/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const back = "https://box.example.org/sign-in/return"

func client(t *testing.T, issuer string, change ...func(*provider.Config)) *provider.Client {
	t.Helper()
	cfg := provider.Config{Issuer: issuer, ClientID: authtest.Client, Scopes: []string{"openid"}, ACR: []string{"strong"}, Needs: []string{"roles"}}
	for _, c := range change {
		c(&cfg)
	}
	way := &http.Transport{}
	c := provider.New(cfg, way, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		c.Close()
		way.CloseIdleConnections()
	})
	return c
}

// visit is a browser that goes to the provider and says where it comes back to.
func visit(t *testing.T, address string) url.Values {
	t.Helper()
	way := &http.Transport{}
	defer way.CloseIdleConnections()
	browser := &http.Client{Transport: way, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	if !strings.HasPrefix(to.String(), back+"?") {
		t.Fatalf("sent to %s", to)
	}
	return to.Query()
}

func signIn(t *testing.T, c *provider.Client, ask provider.Ask) (provider.Identity, error) {
	t.Helper()
	to, a, err := c.Begin(t.Context(), back, ask)
	if err != nil {
		return provider.Identity{}, err
	}
	return c.Finish(t.Context(), a, visit(t, to))
}

func TestSomebodySignsIn(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: map[string]any{"name": " Anne Martin ", "roles": []string{"teacher"}, "amr": []string{"pwd", "mfa"}, "acr": "gold"}})
	id, err := signIn(t, client(t, p.URL), provider.Known)
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != "anne" || id.Name != "Anne Martin" || id.ACR != "gold" || !slices.Equal(id.AMR, []string{"pwd", "mfa"}) {
		t.Errorf("%+v", id)
	}
	asked := p.Asked()[0]
	if len(asked.Get("state")) != 43 || len(asked.Get("nonce")) != 43 || asked.Get("acr_values") != "" || asked.Get("redirect_uri") != back {
		t.Errorf("asked with %v", asked)
	}
}

func TestASecondFactorIsAskedFor(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: map[string]any{"roles": "it"}, Strong: map[string]any{"acr": "strong"}})
	id, err := signIn(t, client(t, p.URL), provider.Strong)
	if err != nil || id.ACR != "strong" {
		t.Errorf("%+v %v", id, err)
	}
	if asked := p.Asked()[0]; asked.Get("acr_values") != "strong" || asked.Get("prompt") != "login" {
		t.Errorf("asked with %v", asked)
	}
}

func TestClaimsComeFromUserinfoWhereTheTokenHasNone(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Info: map[string]any{"roles": []string{"teacher"}, "acr": "strong", "amr": []string{"mfa"}, "name": "Anne"}})
	id, err := signIn(t, client(t, p.URL), provider.Known)
	if err != nil {
		t.Fatal(err)
	}
	if roles, _ := provider.Claim(id.Claims, "roles"); !slices.Equal(provider.Texts(roles), []string{"teacher"}) || id.Name != "Anne" {
		t.Errorf("%+v", id)
	}
	if id.ACR != "" || id.AMR != nil {
		t.Errorf("userinfo is taken for a proof: %+v", id)
	}
	p.Behave(authtest.Behaviour{Info: map[string]any{"sub": "somebody else", "roles": []string{"it"}}})
	if _, err := signIn(t, client(t, p.URL), provider.Known); !errors.Is(err, provider.ErrUntrue) {
		t.Errorf("somebody else's claims: %v", err)
	}
}

func TestWhatIsNotBelieved(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, tt := range map[string]struct {
		b    authtest.Behaviour
		want error
	}{
		"made for another client":           {authtest.Behaviour{Claims: map[string]any{"aud": "other"}}, provider.ErrUntrue},
		"made for two, and for the other":   {authtest.Behaviour{Claims: map[string]any{"aud": []string{"box", "other"}, "azp": "other"}}, provider.ErrUntrue},
		"made for two, and for nobody":      {authtest.Behaviour{Claims: map[string]any{"aud": []string{"box", "other"}}}, provider.ErrUntrue},
		"made for another party":            {authtest.Behaviour{Claims: map[string]any{"azp": "other"}}, provider.ErrUntrue},
		"of another issuer":                 {authtest.Behaviour{Claims: map[string]any{"iss": "https://other.example.org"}}, provider.ErrUntrue},
		"expired":                           {authtest.Behaviour{Claims: map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}}, provider.ErrUntrue},
		"without an end":                    {authtest.Behaviour{Claims: map[string]any{"exp": nil}}, provider.ErrUntrue},
		"not yet valid":                     {authtest.Behaviour{Claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}}, provider.ErrUntrue},
		"made in the future":                {authtest.Behaviour{Claims: map[string]any{"iat": time.Now().Add(time.Hour).Unix()}}, provider.ErrUntrue},
		"of another sign-in":                {authtest.Behaviour{Claims: map[string]any{"nonce": "other"}}, provider.ErrUntrue},
		"of no sign-in":                     {authtest.Behaviour{Claims: map[string]any{"nonce": nil}}, provider.ErrUntrue},
		"of nobody":                         {authtest.Behaviour{Claims: map[string]any{"sub": nil}}, provider.ErrUntrue},
		"of somebody with a very long name": {authtest.Behaviour{Claims: map[string]any{"sub": long}}, provider.ErrUntrue},
		"for another access token":          {authtest.Behaviour{Claims: map[string]any{"at_hash": "AAAA"}}, provider.ErrUntrue},
		"not signed":                        {authtest.Behaviour{Algorithm: "none"}, provider.ErrUntrue},
		"signed with the public key":        {authtest.Behaviour{Algorithm: "HS256"}, provider.ErrUntrue},
		"signed by somebody else":           {authtest.Behaviour{Algorithm: "other"}, provider.ErrUntrue},
		"no ID token":                       {authtest.Behaviour{Token: func(t map[string]any) { delete(t, "id_token") }}, provider.ErrUntrue},
		"an ID token that is none":          {authtest.Behaviour{Token: func(t map[string]any) { t["id_token"] = "a.b.c" }}, provider.ErrUntrue},
		"an ID token without end":           {authtest.Behaviour{Token: func(t map[string]any) { t["id_token"] = strings.Repeat("a", 2<<20) }}, provider.ErrAway},
		"a code of another provider":        {authtest.Behaviour{Answer: func(v url.Values) { v.Set("iss", "https://other.example.org") }}, provider.ErrUntrue},
		"a code of no provider":             {authtest.Behaviour{Answer: func(v url.Values) { v.Del("iss") }}, provider.ErrUntrue},
		"another code":                      {authtest.Behaviour{Answer: func(v url.Values) { v.Set("code", "x") }}, provider.ErrUntrue},
		"no code":                           {authtest.Behaviour{Answer: func(v url.Values) { v.Del("code") }}, provider.ErrUntrue},
		"another state":                     {authtest.Behaviour{Answer: func(v url.Values) { v.Set("state", "x") }}, provider.ErrUntrue},
		"an error of another provider":      {authtest.Behaviour{Error: "access_denied", Answer: func(v url.Values) { v.Set("iss", "https://other.example.org") }}, provider.ErrUntrue},
		"somebody who does not want to":     {authtest.Behaviour{Error: "access_denied"}, provider.ErrDenied},
		"somebody who is not signed in":     {authtest.Behaviour{Error: "login_required"}, provider.ErrLogin},
		"somebody who must do something":    {authtest.Behaviour{Error: "interaction_required"}, provider.ErrLogin},
		"a provider that is busy":           {authtest.Behaviour{Error: "temporarily_unavailable"}, provider.ErrAway},
		"an error that nobody knows":        {authtest.Behaviour{Error: "\r\nevil\x00"}, provider.ErrUntrue},
	} {
		t.Run(name, func(t *testing.T) {
			p := authtest.New(t)
			p.Behave(tt.b)
			id, err := signIn(t, client(t, p.URL), provider.Known)
			if !errors.Is(err, tt.want) || id.Subject != "" {
				t.Errorf("%+v, %v; want %v", id, err, tt.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\r\x00") {
				t.Errorf("%q", err)
			}
		})
	}
}

// Not even looked at: with the wrong kind of key a library may think otherwise.
func TestAnAlgorithmWithoutAKeyPairIsNoneOfOurs(t *testing.T) {
	for _, algorithm := range []string{"none", "HS256"} {
		p := authtest.New(t)
		p.Behave(authtest.Behaviour{Algorithm: algorithm})
		if _, err := signIn(t, client(t, p.URL), provider.Known); err == nil || !strings.Contains(err.Error(), "unexpected signature algorithm") {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestACodeWorksOnce(t *testing.T) {
	p := authtest.New(t)
	c := client(t, p.URL)
	to, a, err := c.Begin(t.Context(), back, provider.Known)
	if err != nil {
		t.Fatal(err)
	}
	query := visit(t, to)
	if _, err := c.Finish(t.Context(), a, query); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Finish(t.Context(), a, query); !errors.Is(err, provider.ErrUntrue) {
		t.Errorf("again: %v", err)
	}
	_, other, err := c.Begin(t.Context(), back, provider.Known)
	if err != nil {
		t.Fatal(err)
	}
	query = visit(t, to)
	query.Set("state", other.State)
	if _, err := c.Finish(t.Context(), other, query); !errors.Is(err, provider.ErrUntrue) {
		t.Errorf("the code of one sign-in in another: %v", err)
	}
}

func TestAProviderThatDoesNotNameItselfIsTaken(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Silent: true})
	if _, err := signIn(t, client(t, p.URL), provider.Known); err != nil {
		t.Error(err)
	}
}

func TestAWrongClockIsSaid(t *testing.T) {
	for name, date := range map[string]time.Time{"the box is behind": time.Now().AddDate(50, 0, 0), "the box is ahead": time.Unix(1e9, 0)} {
		t.Run(name, func(t *testing.T) {
			p := authtest.New(t)
			p.Behave(authtest.Behaviour{Date: date, Claims: map[string]any{"nbf": date.Unix()}})
			_, err := signIn(t, client(t, p.URL), provider.Known)
			if !errors.Is(err, provider.ErrClock) || !strings.Contains(err.Error(), time.Now().UTC().Format("2006-01-02")) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestACertificateOfAnotherTimeIsSaidToBeTheClocks(t *testing.T) {
	way := transport(func(*http.Request) (*http.Response, error) {
		return nil, x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired, Detail: "not yet valid"}
	})
	c := provider.New(provider.Config{Issuer: "https://login.example.org", ClientID: "box"}, way, slog.New(slog.DiscardHandler))
	defer c.Close()
	if _, _, err := c.Begin(t.Context(), back, provider.Known); !errors.Is(err, provider.ErrClock) || !strings.Contains(err.Error(), "it says "+time.Now().UTC().Format("2006-")) {
		t.Errorf("%v", err)
	}
}

func TestAProviderThatIsAwayIsAskedAgain(t *testing.T) {
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Broken: http.StatusBadGateway})
	c := client(t, p.URL)
	if _, _, err := c.Begin(t.Context(), back, provider.Known); !errors.Is(err, provider.ErrAway) {
		t.Fatalf("%v", err)
	}
	p.Behave(authtest.Behaviour{})
	deadline := time.Now().Add(time.Minute)
	for {
		_, _, err := c.Begin(t.Context(), back, provider.Known)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("never again: %v", err)
		}
		wait(t, 100*time.Millisecond)
	}
	p.Behave(authtest.Behaviour{Broken: http.StatusServiceUnavailable})
	to, a, err := c.Begin(t.Context(), back, provider.Known)
	if err != nil {
		t.Fatalf("what it is was known: %v", err)
	}
	p.Behave(authtest.Behaviour{})
	query := visit(t, to)
	p.Behave(authtest.Behaviour{Broken: http.StatusServiceUnavailable})
	if _, err := c.Finish(t.Context(), a, query); !errors.Is(err, provider.ErrAway) {
		t.Errorf("%v", err)
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}

func TestWhatNoProviderIs(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"another issuer":       func(d map[string]any) { d["issuer"] = "https://other.example.org" },
		"a token of no place":  func(d map[string]any) { d["token_endpoint"] = "" },
		"a page of no place":   func(d map[string]any) { d["authorization_endpoint"] = "javascript:alert(1)" },
		"keys of no place":     func(d map[string]any) { delete(d, "jwks_uri") },
		"a very long document": func(d map[string]any) { d["more"] = strings.Repeat("x", 2<<20) },
	} {
		p := authtest.New(t)
		p.Behave(authtest.Behaviour{Describe: change})
		if _, _, err := client(t, p.URL).Begin(t.Context(), back, provider.Known); !errors.Is(err, provider.ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASecretGoesInTheHeader(t *testing.T) {
	p := authtest.New(t)
	c := client(t, p.URL, func(cfg *provider.Config) { cfg.Secret = "s e" })
	if _, err := signIn(t, c, provider.Known); err != nil {
		t.Error(err)
	}
}

func TestSigningOutOfTheProvider(t *testing.T) {
	p := authtest.New(t)
	c := client(t, p.URL)
	if to, ok := c.EndSession("https://box.example.org/"); ok {
		t.Errorf("nothing is known of it: %s", to)
	}
	if _, _, err := c.Begin(t.Context(), back, provider.Known); err != nil {
		t.Fatal(err)
	}
	to, ok := c.EndSession("https://box.example.org/")
	u, err := url.Parse(to)
	if !ok || err != nil || !strings.HasPrefix(to, p.URL+"/end?") || u.Query().Get("client_id") != "box" || u.Query().Get("post_logout_redirect_uri") != "https://box.example.org/" {
		t.Errorf("%q %v", to, ok)
	}
}

func TestWhoIsStoppedWaitsForNobody(t *testing.T) {
	held := make(chan struct{})
	asked := make(chan struct{}, 1)
	way := transport(func(r *http.Request) (*http.Response, error) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		case <-held:
			return nil, errors.New("held")
		}
	})
	defer close(held)
	c := provider.New(provider.Config{Issuer: "https://login.example.org", ClientID: "box"}, way, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() {
		_, _, err := c.Begin(context.Background(), back, provider.Known)
		done <- err
	}()
	<-asked
	c.Close()
	if err := <-done; !errors.Is(err, provider.ErrAway) {
		t.Errorf("%v", err)
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func FuzzClaim(f *testing.F) {
	f.Add("roles", "teacher")
	f.Add("realm_access.roles", "")
	f.Add("...", ".")
	f.Fuzz(func(t *testing.T, name, value string) {
		claims := map[string]any{name: value, "a": map[string]any{name: []any{value, 1, nil, map[string]any{}}}}
		if v, ok := provider.Claim(claims, name); !ok || !slices.Equal(provider.Texts(v), []string{value}) && name != "a" {
			t.Errorf("%q: %v", name, v)
		}
		if v, ok := provider.Claim(claims, "a."+name); name != "a" && (!ok || !slices.Equal(provider.Texts(v), []string{value})) {
			t.Errorf("a.%q: %v", name, v)
		}
	})
}
