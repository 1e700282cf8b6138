package auth_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/node/auth"
	"preau/node/auth/authtest"
	"preau/node/portal/look"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is a box with a portal of two pages, and a sign-in.
type box struct {
	t    *testing.T
	dir  string
	cfg  auth.Config
	line line
	home string
	log  lockedBuffer
	reg  *prometheus.Registry
	auth *auth.Auth
	now  atomic.Pointer[http.Handler]
	tls  *httptest.Server
	http *httptest.Server
	way  *http.Transport
	out  http.RoundTripper

	joined []string // as it was told
}

type line struct{ cut atomic.Bool }

func (l *line) Lineless() bool { return l.cut.Load() }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newBox starts a box that knows the provider; nil: none.
func newBox(t *testing.T, p *authtest.Provider, change ...func(*auth.Config)) *box {
	t.Helper()
	return newBoxBehind(t, p, func(way http.RoundTripper) http.RoundTripper { return way }, change...)
}

// newBoxBehind has something on the way to the provider.
func newBoxBehind(t *testing.T, p *authtest.Provider, behind func(http.RoundTripper) http.RoundTripper, change ...func(*auth.Config)) *box {
	t.Helper()
	b := &box{t: t, dir: filepath.Join(t.TempDir(), "auth"), cfg: auth.DefaultConfig(), way: &http.Transport{}}
	b.out = behind(b.way)
	if p != nil {
		b.cfg.Issuer, b.cfg.ClientID = p.URL, authtest.Client
		b.cfg.ACR = []string{"strong"}
	}
	for _, c := range change {
		c(&b.cfg)
	}
	b.restart()
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*b.now.Load()).ServeHTTP(w, r) })
	b.tls, b.http = httptest.NewUnstartedServer(serve), httptest.NewServer(serve)
	// Browsers complain of its certificate before they are told not to.
	b.tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	b.tls.StartTLS()
	t.Cleanup(func() {
		b.tls.Close()
		b.http.Close()
		b.way.CloseIdleConnections()
	})
	return b
}

// restart makes the box anew from what lies on its disk.
func (b *box) restart() {
	b.t.Helper()
	b.reg = prometheus.NewRegistry()
	a, err := auth.New(b.cfg, auth.Parts{
		Dir: b.dir, Line: &b.line, Home: func() string { return b.home }, Transport: b.out, Console: &b.log,
		Joined: func(from, to string) { b.joined = append(b.joined, from+" "+to) },
	}, slog.New(slog.NewTextHandler(&b.log, nil)), b.reg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.auth = a
	h := portal(a)
	b.now.Store(&h)
}

// portal is as small as one can be.
func portal(a *auth.Auth) http.Handler {
	page := func(w http.ResponseWriter, r *http.Request) {
		p, ok := a.Who(r)
		_, _ = fmt.Fprintf(w, "in: %v %q %v strong=%v by=%s token=%s", ok, p.Name, p.Roles, p.Strong, p.Subject, a.Token(r))
	}
	mux := http.NewServeMux()
	mux.Handle("/sign-in", a.Handler())
	mux.Handle("/sign-in/", a.Handler())
	mux.Handle("/sign-out", a.Handler())
	mux.Handle("/sign-out/", a.Handler())
	mux.Handle("/claim", a.Handler())
	mux.HandleFunc("/", page)
	mux.Handle("/teach/", a.Need(auth.Teacher, http.HandlerFunc(page)))
	mux.Handle("/school/", a.Need(auth.School, http.HandlerFunc(page)))
	mux.Handle("/it/", a.Need(auth.IT, http.HandlerFunc(page)))
	return look.Spoken(look.In(look.House{Person: a.Shown}, mux))
}

// browser has cookies, and goes only where it is sent by a test.
type browser struct {
	t    *testing.T
	http *http.Client
	lang string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	way := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	t.Cleanup(way.CloseIdleConnections)
	return &browser{t: t, lang: "en", http: &http.Client{Transport: way, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// answer is what a browser got.
type answer struct {
	status int
	header http.Header
	body   string
	to     string // where it is sent
}

func (b *browser) do(method, address string, form url.Values, fields ...string) answer {
	b.t.Helper()
	var body io.Reader = http.NoBody
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", b.lang)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(p)}
	if to, err := resp.Location(); err == nil {
		a.to = to.String()
	}
	return a
}

func (b *browser) get(address string, fields ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, address, nil, fields...)
}

func (b *browser) post(address string, form url.Values, fields ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, address, form, fields...)
}

// follow goes where it is sent until there is a page.
func (b *browser) follow(address string) answer {
	b.t.Helper()
	for range 10 {
		a := b.get(address)
		if a.to == "" {
			return a
		}
		address = a.to
	}
	b.t.Fatalf("sent round in circles, at last to %s", address)
	return answer{}
}

var tokenIn = regexp.MustCompile(`token=([\w-]*)|name="token" value="([\w-]+)"`)

// token finds the token on a page.
func (a answer) token(t *testing.T) string {
	t.Helper()
	m := tokenIn.FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no token on the page:\n%s", a.body)
	}
	return m[1] + m[2]
}

// must fails unless the status is as wanted and the page has all the texts.
func (a answer) must(t *testing.T, status int, has ...string) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d; to %q:\n%s", a.status, status, a.to, a.body)
	}
	for _, text := range has {
		if !strings.Contains(html.UnescapeString(a.body), text) {
			t.Fatalf("%q is not on the page:\n%s", text, a.body)
		}
	}
	return a
}

// session is the value of the session's cookie, or nothing.
func (b *browser) session(at string) string {
	b.t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == "__Host-preau" || c.Name == "preau" {
			return c.Value
		}
	}
	return ""
}

// onDisk is all that lies in a folder, in one text.
func onDisk(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		p, err := os.ReadFile(path)
		all.WriteString(path + "\n")
		all.Write(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
