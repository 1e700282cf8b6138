//go:build system

package auth_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/auth"
	"preau/node/webtest"
)

// theProvider is a certified one. It runs until the test ends, or stop is called.
type theProvider struct {
	url string
	cmd *exec.Cmd
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func startProvider(t *testing.T, issuer, back string) *theProvider {
	t.Helper()
	var errs bytes.Buffer
	p := &theProvider{url: issuer, cmd: exec.Command("node", "--no-warnings", filepath.Join("testdata", "provider.mjs"), webtest.Installed(t, webtest.OIDCProvider), issuer, back)}
	p.cmd.Stderr = &errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the provider said:\n%s", errs.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return p
		}
	}
	p.stop()
	t.Fatalf("the provider does not start:\n%s", errs.String())
	return nil
}

func (p *theProvider) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// tamper stands between the box and the provider, and changes the tokens.
type tamper struct {
	next http.RoundTripper
	mu   sync.Mutex
	with func(token string) string
	last string
}

func (m *tamper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.next.RoundTrip(r)
	if err != nil || r.Method != http.MethodPost {
		return resp, err
	}
	var answer map[string]any
	err = json.NewDecoder(resp.Body).Decode(&answer)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if token, ok := answer["id_token"].(string); ok {
		m.last = token
		if m.with != nil {
			answer["id_token"] = m.with(token)
		}
	}
	p, err := json.Marshal(answer)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(p)), int64(len(p))
	resp.Header.Del("Content-Length")
	return resp, err
}

func (m *tamper) change(with func(string) string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.with = with
}

func (m *tamper) token() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// loggingIn goes through the provider's pages as somebody, and gives the way back
// to the box, not yet followed.
func (b *browser) loggingIn(from, box, login string, factor func(page string) string) string {
	b.t.Helper()
	at := from
	for range 20 {
		a := b.get(at)
		if a.to != "" {
			if at = a.to; strings.HasPrefix(at, box+"/sign-in/return") {
				return at
			}
			continue
		}
		if !strings.Contains(at, "/interaction/") {
			b.t.Fatalf("stopped at %s: %d\n%s", at, a.status, a.body)
		}
		a = b.post(at, url.Values{"login": {login}, "factor": {factor(a.body)}})
		if at = a.to; at == "" {
			b.t.Fatalf("the provider does not go on: %d\n%s", a.status, a.body)
		}
	}
	b.t.Fatalf("no way back, at last %s", at)
	return ""
}

func always(string) string { return "yes" }
func never(string) string  { return "no" }

// asked has a second factor where the provider is asked for it.
func asked(page string) string {
	if strings.Contains(page, "urn:example:mfa") {
		return "yes"
	}
	return "no"
}

type realWorld struct {
	*box
	provider *theProvider
	between  *tamper
}

func newRealWorld(t *testing.T, client string) *realWorld {
	t.Helper()
	issuer := freeAddress(t)
	between := &tamper{}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of the box, long enough\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBoxBehind(t, nil, func(next http.RoundTripper) http.RoundTripper {
		between.next = next
		return between
	}, func(c *auth.Config) {
		c.Issuer, c.ClientID, c.ACR, c.AMR = issuer, client, []string{"urn:example:mfa"}, []string{}
		if client == "box" {
			c.ClientSecretFile = secret
		}
	})
	return &realWorld{b, startProvider(t, issuer, b.tls.URL), between}
}

func TestARealProvider(t *testing.T) {
	w := newRealWorld(t, "box")
	t.Run("a teacher signs in, and out again", func(t *testing.T) {
		u := newBrowser(t)
		way := u.loggingIn(w.tls.URL+"/sign-in/go?return=/teach/x", w.tls.URL, "anne", never)
		if a := u.get(way).must(t, http.StatusSeeOther); a.to != w.tls.URL+"/teach/x" {
			t.Errorf("sent to %s", a.to)
		}
		token := u.get(w.tls.URL+"/teach/").must(t, 200, `in: true "Anne Martin" [teacher] strong=false`).token(t)
		newBrowser(t).get(way).must(t, http.StatusBadRequest, "not valid any more")
		u.get(way).must(t, http.StatusBadRequest, "not valid any more")
		done := u.get(u.post(w.tls.URL+"/sign-out", url.Values{"token": {token}}).to).must(t, 200, w.provider.url+"/session/end?client_id=box")
		_, link, _ := strings.Cut(done.body, `href="`+w.provider.url)
		link, _, _ = strings.Cut(link, `"`)
		u.get(w.provider.url+strings.ReplaceAll(link, "&amp;", "&")).must(t, 200)
	})
	t.Run("an admin with a second factor, which is asked for", func(t *testing.T) {
		u := newBrowser(t)
		way := u.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, "paul", asked)
		again := u.get(way).must(t, http.StatusSeeOther)
		if !strings.Contains(again.to, "acr_values=urn%3Aexample%3Amfa") {
			t.Fatalf("sent to %s", again.to)
		}
		u.get(u.loggingIn(again.to, w.tls.URL, "paul", asked)).must(t, http.StatusSeeOther)
		u.get(w.tls.URL+"/school/").must(t, 200, `in: true "Paul Durand" [teacher school] strong=true`)
		u.get(w.tls.URL+"/it/").must(t, 403)
	})
	t.Run("the region's IT without a second factor", func(t *testing.T) {
		u := newBrowser(t)
		again := u.get(u.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, "ines", never)).must(t, http.StatusSeeOther)
		u.follow(u.loggingIn(again.to, w.tls.URL, "ines", never)).must(t, 200, "You are signed in as a teacher")
		u.get(w.tls.URL+"/teach/").must(t, 200)
		u.get(w.tls.URL+"/it/").must(t, 403, "A second factor is needed")
	})
	t.Run("a pupil", func(t *testing.T) {
		u := newBrowser(t)
		u.get(u.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, "leo", always)).must(t, 403, "no role in this school")
		if u.session(w.tls.URL) != "" {
			t.Error("has a session")
		}
	})
	t.Run("somebody who cancels", func(t *testing.T) {
		u := newBrowser(t)
		u.get(u.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, "", never)).must(t, 403, "refused")
	})
	t.Run("the provider goes away, and the line is cut", func(t *testing.T) {
		u := newBrowser(t)
		u.get(u.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, "anne", never)).must(t, 303)
		late := newBrowser(t)
		way := late.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, "anne", never)
		w.provider.stop()
		late.get(way).must(t, http.StatusServiceUnavailable, "does not answer")
		w.line.cut.Store(true)
		// What is known of it would lead a browser to where nobody answers.
		newBrowser(t).get(w.tls.URL+"/sign-in/go").must(t, http.StatusServiceUnavailable, "does not answer")
		w.restart()
		u.get(w.tls.URL+"/teach/").must(t, 200, "Anne Martin")
		newBrowser(t).get(w.tls.URL+"/sign-in/go").must(t, http.StatusServiceUnavailable, "does not answer")
	})
}

func TestForgedTokensOfARealProvider(t *testing.T) {
	w := newRealWorld(t, "public")
	signIn := func(t *testing.T, login string) answer {
		t.Helper()
		u := newBrowser(t)
		return u.get(u.loggingIn(w.tls.URL+"/sign-in/go", w.tls.URL, login, always))
	}
	signIn(t, "anne").must(t, 303)
	genuine := w.between.token()
	keys := fetch(t, w.provider.url+"/jwks")

	w.cfg.ClientID = "brief"
	w.restart()
	signIn(t, "paul")
	other := w.between.token()

	expired := func(token string) string {
		for !time.Now().After(time.Unix(int64(claimsOf(t, token)["exp"].(float64)), 0).Add(time.Second)) {
			pass(100 * time.Millisecond) // the provider's own time
		}
		return token
	}
	for name, tt := range map[string]struct {
		client string
		with   func(string) string
		log    string
	}{
		"made for another client":    {"public", func(string) string { return other }, "expected audience"},
		"of another sign-in":         {"public", func(string) string { return genuine }, "belongs to another sign-in"},
		"expired":                    {"brief", expired, "token is expired"},
		"without a signature":        {"public", func(token string) string { return forge(t, token, "none", nil) }, "malformed jwt"},
		"signed with the public key": {"public", func(token string) string { return forge(t, token, "HS256", keys) }, "malformed jwt"},
		"with other claims":          {"public", func(token string) string { return swap(t, token) }, "failed to verify"},
		"of no kind":                 {"public", func(string) string { return "x" }, "malformed jwt"},
	} {
		t.Run(name, func(t *testing.T) {
			w.cfg.ClientID = tt.client
			w.restart()
			w.between.change(tt.with)
			before := len(w.log.String())
			signIn(t, "anne").must(t, http.StatusBadGateway, "answer is not valid")
			if said := w.log.String()[before:]; !strings.Contains(said, tt.log) {
				t.Errorf("the log does not say %q:\n%s", tt.log, said)
			}
		})
	}
	w.between.change(nil)
	w.cfg.ClientID = "public"
	w.restart()
	signIn(t, "anne").must(t, 303)
}

func fetch(t *testing.T, address string) []byte {
	t.Helper()
	a := newBrowser(t).get(address).must(t, 200)
	return []byte(a.body)
}

func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	p, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Error(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(p, &claims); err != nil {
		t.Error(err)
	}
	return claims
}

// forge signs a token anew, with a key that everybody has or with none.
func forge(t *testing.T, token, algorithm string, key []byte) string {
	t.Helper()
	kid := map[string]any{}
	p, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil || json.Unmarshal(p, &kid) != nil {
		t.Errorf("%q: %v", p, err)
	}
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, algorithm, kid["kid"])
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + strings.Split(token, ".")[1]
	if key == nil {
		return text + "."
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// swap makes somebody IT.
func swap(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	claims := claimsOf(t, token)
	claims["roles"] = []string{"it"}
	p, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(p)
	return strings.Join(parts, ".")
}
