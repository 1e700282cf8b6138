package upstream

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustURL(tb testing.TB, s string) *url.URL {
	tb.Helper()
	u, err := url.Parse(s)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func mustNew(t *testing.T, cfg Config, dial dialFunc) *Upstream {
	t.Helper()
	u, err := newUpstream(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil, dial)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// patient is a configuration for a line that is as good as it can be: it is the
// machine that may be slow. How soon a dead line is found is claimed where time
// is the bubble's.
func patient() Config {
	cfg := DefaultConfig()
	cfg.SilenceAfter, cfg.ProbeTimeout, cfg.ConnectTimeout, cfg.BodyStall, cfg.HeaderTimeout = time.Minute, time.Minute, time.Minute, time.Minute, time.Minute
	return cfg
}

// startReal runs an Upstream over the network.
func startReal(t *testing.T, origin string, change ...func(*Config)) *Upstream {
	t.Helper()
	cfg := patient()
	cfg.Name, cfg.URL = "library", mustURL(t, origin)
	for _, f := range change {
		f(&cfg)
	}
	u, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	run(t, u)
	return u
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// inTime waits for the line to go up or down, for so long that only what would
// never happen fails.
func inTime(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatal("not found in time")
	}
}

func TestAClosedPortIsRefused(t *testing.T) {
	l := listen(t)
	_ = l.Close()
	u := startReal(t, "http://"+l.Addr().String())
	if _, _, err := get(t, u, "/a"); !errors.Is(err, ErrLineDown) {
		t.Fatalf("err = %v, want ErrLineDown", err)
	}
	wantDown(t, u, CauseRefused)
}

func TestANameThatDoesNotResolveIsDNS(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Name, cfg.URL = "library", mustURL(t, "http://library.invalid")
	u := mustNew(t, cfg, func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "library.invalid", IsNotFound: true}}
	})
	run(t, u)
	if _, _, err := get(t, u, "/a"); !errors.Is(err, ErrLineDown) {
		t.Fatalf("err = %v, want ErrLineDown", err)
	}
	wantDown(t, u, CauseDNS)
}

// The kernel completes handshakes for a listener that never accepts.
func TestAnOriginThatAcceptsAndIsSilent(t *testing.T) {
	t.Parallel()
	u := startReal(t, "http://"+listen(t).Addr().String(), func(c *Config) {
		c.SilenceAfter, c.ProbeTimeout = 200*time.Millisecond, 200*time.Millisecond
	})
	begin := time.Now()
	if _, _, err := get(t, u, "/a"); !errors.Is(err, ErrLineDown) {
		t.Fatalf("err = %v, want ErrLineDown", err)
	}
	if d := time.Since(begin); d > u.cfg.HeaderTimeout/2 {
		t.Errorf("took %v, as if nobody had looked at the line", d)
	}
	wantDown(t, u, CauseSilent)
}

func TestAnOriginThatDiesInTheMiddleOfABodyAndComesBack(t *testing.T) {
	t.Parallel()
	die := make(chan struct{})
	l := listen(t)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		<-die
		if err := c.(*net.TCPConn).SetLinger(0); err != nil { // close with a reset
			t.Error(err)
		}
		_ = c.Close()
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()

	u := startReal(t, "http://"+l.Addr().String())
	resp, err := u.Fetch(request(t, u, "/film"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, buf); err != nil {
		t.Fatal(err)
	}
	_ = srv.Close()
	<-served
	down := u.Down()
	close(die)
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a body of 4 bytes out of 100 ended without an error")
	}
	inTime(t, down)
	wantDown(t, u, CauseRefused)

	up := u.Up()
	l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	back := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(hello)}}
	back.Start()
	defer back.Close()
	inTime(t, up)
	if _, body, err := get(t, u, "/film"); err != nil || body != "hello" {
		t.Errorf("body = %q, err = %v", body, err)
	}
}

func TestBytesAreCountedAsTheLineCarriesThem(t *testing.T) {
	body := strings.Repeat("a", 1<<20)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("asked for a compression that nobody asked for")
		}
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	u := startReal(t, srv.URL)
	if _, got, err := get(t, u, "/a"); err != nil || got != body {
		t.Fatalf("%d bytes, err = %v", len(got), err)
	}
	if n := u.ReceivedBytes(); n < 1<<20 || n > 1<<20+16<<10 {
		t.Errorf("received = %d for a body of 1 MiB", n)
	}
	if n := u.SentBytes(); n < 30 || n > 300 {
		t.Errorf("sent = %d for one GET", n)
	}
}

func TestRedirectsAreHandedOn(t *testing.T) {
	srv := httptest.NewServer(http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound))
	defer srv.Close()
	u := startReal(t, srv.URL)
	if code, _, err := get(t, u, "/a"); err != nil || code != http.StatusFound {
		t.Errorf("code = %d, err = %v", code, err)
	}
}

func TestTLSNeedsAnAuthorityThatIsTrusted(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()

	t.Run("unknown", func(t *testing.T) {
		u := startReal(t, srv.URL)
		down := u.Down()
		if _, _, err := get(t, u, "/a"); err == nil {
			t.Error("an unknown authority was trusted")
		}
		inTime(t, down)
		wantDown(t, u, CauseTLS)
	})
	t.Run("in the file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "ca.pem")
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		if err := os.WriteFile(file, ca, 0o600); err != nil {
			t.Fatal(err)
		}
		u := startReal(t, srv.URL, func(c *Config) { c.RootCAFile = file })
		if _, proto, err := get(t, u, "/a"); err != nil || proto != "HTTP/2.0" {
			t.Errorf("proto = %q, err = %v", proto, err)
		}
		wantUp(t, u)
	})
}

// The environment is read once per process, so the fetch runs in a child.
func TestTheProxyOfTheEnvironmentIsObeyed(t *testing.T) {
	const marker = "PREAU_UPSTREAM_PROXY_CHILD"
	if os.Getenv(marker) != "" {
		u := startReal(t, "http://library.example")
		if _, body, err := get(t, u, "/a%2Fb"); err != nil || body != "by proxy" {
			t.Errorf("body = %q, err = %v", body, err)
		}
		return
	}
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		_, _ = io.WriteString(w, "by proxy")
	}))
	defer proxy.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = []string{"HTTP_PROXY=" + proxy.URL, marker + "=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := <-asked; got != "http://library.example/a%2Fb" {
		t.Errorf("the proxy was asked for %s", got)
	}
}

func TestAProxyThatCannotReachTheOriginIsAnOutage(t *testing.T) {
	tests := map[string]struct {
		status int
		want   Cause
	}{
		"gateway error": {http.StatusBadGateway, CauseServerError},
		"forbidden":     {http.StatusForbidden, CauseRefused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
			}))
			defer proxy.Close()
			cfg := patient()
			cfg.Name, cfg.URL = "library", mustURL(t, "https://library.example")
			u := mustNew(t, cfg, (&net.Dialer{}).DialContext)
			u.proxy = mustURL(t, proxy.URL)
			u.transport = u.newTransport(u.dialObserved)
			run(t, u)
			down := u.Down()
			if _, _, err := get(t, u, "/a"); err == nil {
				t.Error("the fetch went through")
			}
			inTime(t, down)
			wantDown(t, u, tt.want)
		})
	}
}
