package upstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// filter is a school's proxy: it wants a password, opens tunnels, passes plain
// HTTP on, and leads every name to one server.
type filter struct {
	*httptest.Server
	onward         *http.Transport
	user, password string
	to             string // where every name leads
	deny           bool   // tunnels are forbidden

	mu    sync.Mutex
	over  bool
	asked []string // "METHOD target", with "+Upgrade" for what asks for one
	wg    sync.WaitGroup
}

func newFilter(t *testing.T, to string) *filter {
	t.Helper()
	f := &filter{onward: &http.Transport{DisableKeepAlives: true}, user: "school", password: "s3cr3t/:é", to: to}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
		f.mu.Lock()
		f.over = true // a handler whose connection is its own is not waited for
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// url is where the filter is, with its password.
func (f *filter) url(t *testing.T) *url.URL {
	t.Helper()
	u := mustURL(t, f.URL)
	u.User = url.UserPassword(f.user, f.password)
	return u
}

func (f *filter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.Method + " " + r.RequestURI
	if r.Header.Get("Upgrade") != "" {
		target += " +Upgrade"
	}
	f.mu.Lock()
	f.asked = append(f.asked, target)
	f.mu.Unlock()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(f.user+":"+f.password))
	switch {
	case r.Header.Get("Proxy-Authorization") != want:
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect && f.deny:
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodConnect:
		f.tunnel(w)
	default:
		out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+f.to+r.URL.RequestURI(), r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		resp, err := f.onward.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}
}

func (f *filter) tunnel(w http.ResponseWriter) {
	far, err := net.Dial("tcp", f.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	end := func() { _ = near.Close(); _ = far.Close() }
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		end()
		return
	}
	_, _ = io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	f.wg.Go(func() { defer end(); _, _ = io.Copy(far, near) })
	f.wg.Go(func() { defer end(); _, _ = io.Copy(near, far) })
}

func (f *filter) was() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// echo upgrades to a connection that gives back a line, and tells others how
// they came.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		_, _ = io.WriteString(w, r.Proto)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	line, _ := rw.ReadString('\n')
	_, _ = io.WriteString(c, "echo "+line)
}

// said is what was logged so far.
type said struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// behind runs an Upstream to site through proxy, and returns its log.
func behind(t *testing.T, proxy *url.URL, site, ca string) (*Upstream, *said) {
	t.Helper()
	cfg := patient()
	cfg.Name, cfg.URL, cfg.RootCAFile = "library", mustURL(t, site), ca
	out := &said{}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	t.Setenv("HTTP_PROXY", proxy.String())
	t.Setenv("HTTPS_PROXY", proxy.String())
	t.Setenv("NO_PROXY", "")
	u, err := New(cfg, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	run(t, u)
	return u, out
}

// upgrade opens a WebSocket's connection and sends a line over it.
func upgrade(t *testing.T, u *Upstream) (string, error) {
	t.Helper()
	req := request(t, u, "/ws")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	resp, err := u.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	rwc, ok := resp.Body.(io.ReadWriter)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		return "", errors.New("no upgrade: " + resp.Status)
	}
	if _, err := io.WriteString(rwc, "hello\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(rwc).ReadString('\n')
}

func TestEverythingGoesThroughTheProxy(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(echo))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		to, site, proto string
		want            []string
	}{
		"http": {plain.Listener.Addr().String(), "http://example.com", "HTTP/1.1", []string{
			"GET http://example.com/a", "CONNECT example.com:80",
		}},
		"https": {secure.Listener.Addr().String(), "https://example.com", "HTTP/2.0", []string{
			"CONNECT example.com:443",
		}},
		// It is the proxy that knows where a name leads, and the operator who
		// wrote an address.
		"an address": {plain.Listener.Addr().String(), "http://10.255.255.1:81", "HTTP/1.1", []string{
			"GET http://10.255.255.1:81/a", "CONNECT 10.255.255.1:81",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFilter(t, tt.to)
			u, _ := behind(t, f.url(t), tt.site, ca)
			if _, body, err := get(t, u, "/a"); err != nil || body != tt.proto {
				t.Errorf("fetch: %q, %v", body, err)
			}
			resp, err := u.RoundTrip(request(t, u, "/a"))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != tt.proto {
				t.Errorf("pass: %q, %v", b, err)
			}
			_ = resp.Body.Close()
			if got, err := upgrade(t, u); err != nil || got != "echo hello\n" {
				t.Errorf("upgrade: %q, %v", got, err)
			}
			for _, a := range f.was() {
				if !slices.Contains(tt.want, a) {
					t.Errorf("the proxy was asked for %s", a)
				}
			}
			for _, a := range tt.want {
				if !slices.Contains(f.was(), a) {
					t.Errorf("the proxy was not asked for %s", a)
				}
			}
			wantUp(t, u)
		})
	}
}

func TestAProxysPasswordIsNowhere(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(echo))
	defer plain.Close()
	for _, site := range []string{"http://example.com", "https://example.com"} {
		t.Run(site, func(t *testing.T) {
			f := newFilter(t, plain.Listener.Addr().String())
			wrong := f.url(t)
			wrong.User = url.UserPassword("school", "wr0ng")
			u, log := behind(t, wrong, site, "")
			down := u.Down()
			_, _, err := get(t, u, "/a")
			if err == nil {
				t.Fatal("the proxy's own answer was taken for the site's")
			}
			if _, more := upgrade(t, u); more == nil {
				t.Error("an upgrade went through")
			} else {
				err = errors.Join(err, more)
			}
			inTime(t, down)
			wantDown(t, u, CauseRefused)
			if !strings.Contains(err.Error(), "407") && !errors.Is(err, ErrLineDown) {
				t.Errorf("err = %v", err)
			}
			said := err.Error() + log.String()
			for _, secret := range []string{"wr0ng", base64.StdEncoding.EncodeToString([]byte("school:wr0ng"))} {
				if strings.Contains(said, secret) {
					t.Errorf("%q is in %s", secret, said)
				}
			}
			if !strings.Contains(said, f.Listener.Addr().String()) {
				t.Errorf("nothing says which proxy is used: %s", said)
			}
		})
	}
}

// A proxy that lets no plain connection be upgraded forbids that, and no more.
func TestATunnelThatIsForbiddenIsNoOutage(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(echo))
	defer plain.Close()
	f := newFilter(t, plain.Listener.Addr().String())
	f.deny = true
	u, _ := behind(t, f.url(t), "http://example.com", "")
	_, err := upgrade(t, u)
	if ce, ok := errors.AsType[*connectError](err); !ok || ce.status != http.StatusForbidden {
		t.Errorf("err = %v, want the proxy's 403", err)
	}
	if _, body, err := get(t, u, "/a"); err != nil || body != "HTTP/1.1" {
		t.Errorf("%q, %v", body, err)
	}
	for _, a := range f.was() {
		if strings.HasPrefix(a, http.MethodHead) {
			t.Error("the line was doubted")
		}
	}
	wantUp(t, u)
}

func TestATunnelIsGivenUpWithItsCaller(t *testing.T) {
	l := listen(t) // accepts, and says nothing
	cfg := patient()
	cfg.Name, cfg.URL = "library", mustURL(t, "http://example.com")
	u := mustNew(t, cfg, (&net.Dialer{}).DialContext)
	u.proxy = &url.URL{Scheme: "http", Host: l.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := u.dialTunnel(ctx, "tcp", "example.com:80")
	if err == nil {
		_ = c.Close()
		t.Fatal("a tunnel was opened by nobody")
	}
}

func TestTheEnvironmentSaysWhichProxy(t *testing.T) {
	tests := map[string]struct {
		http, https, no string
		site            string
		want            string // "" none; "!" an error
	}{
		"none":             {"", "", "", "http://a.example", ""},
		"http":             {"http://p.example:3128", "http://q.example:3128", "", "http://a.example", "p.example:3128"},
		"https":            {"http://p.example:3128", "http://q.example:3128", "", "https://a.example", "q.example:3128"},
		"only https":       {"", "http://q.example:3128", "", "http://a.example", ""},
		"no scheme":        {"p.example:3128", "", "", "http://a.example", "p.example:3128"},
		"socks":            {"socks5://p.example:1080", "", "", "http://a.example", "p.example:1080"},
		"excepted":         {"http://p.example:3128", "", "a.example", "http://a.example", ""},
		"excepted below":   {"http://p.example:3128", "", ".example", "http://a.example", ""},
		"excepted network": {"http://p.example:3128", "", "10.0.0.0/8", "http://10.1.2.3", ""},
		"excepted other":   {"http://p.example:3128", "", "b.example", "http://a.example", "p.example:3128"},
		"loopback":         {"http://p.example:3128", "", "", "http://127.0.0.1:8080", ""},
		"nonsense":         {"http://school:s3cr3t@%zz", "", "", "http://a.example", "!"},
		"nonsense unused":  {"http://school:s3cr3t@%zz", "", "", "https://a.example", ""},
		"another kind":     {"ftp://school:s3cr3t@p.example", "", "", "http://a.example", "!"},
		"no host":          {"http://school:s3cr3t@:3128", "", "", "http://a.example", "!"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"http_proxy", "https_proxy", "no_proxy", "REQUEST_METHOD"} {
				t.Setenv(key, "")
			}
			t.Setenv("HTTP_PROXY", tt.http)
			t.Setenv("HTTPS_PROXY", tt.https)
			t.Setenv("NO_PROXY", tt.no)
			cfg := DefaultConfig()
			cfg.Name, cfg.URL = "library", mustURL(t, tt.site)
			u, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if tt.want == "!" {
				if err == nil || strings.Contains(err.Error(), "s3cr3t") || !strings.Contains(err.Error(), "write it like") {
					t.Errorf("err = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if u.proxy != nil {
				got = u.proxy.Host
			}
			if got != tt.want {
				t.Errorf("proxy %q, want %q", got, tt.want)
			}
		})
	}
}
