package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/node/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// hanging bounds what would otherwise wait for ever.
const hanging = time.Minute

// service is a service manager that hears everything.
type service struct{ heard chan string }

// listen opens the service manager's socket.
func listen(t *testing.T, name string) *service {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{heard: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			s.heard <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return s
}

// next is what is said next, but for what begins with one of the prefixes.
func (s *service) next(t *testing.T, but ...string) string {
	t.Helper()
	for {
		select {
		case m := <-s.heard:
			if !hasPrefix(m, but) {
				return m
			}
		case <-time.After(hanging):
			t.Fatal("the program says nothing more")
		}
	}
}

func hasPrefix(m string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(m, p) {
			return true
		}
	}
	return false
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func manager(t *testing.T, pairs ...string) *notify.Manager {
	t.Helper()
	m, err := notify.FromEnvironment(environment(pairs...), 7)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// shortDir is a folder whose path fits into the address of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestBothKindsOfSocketAreTold(t *testing.T) {
	path := filepath.Join(shortDir(t), "notify")
	for kind, address := range map[string]string{"path": path, "abstract": "@preau-test-" + strconv.Itoa(os.Getpid())} {
		t.Run(kind, func(t *testing.T) {
			s := listen(t, address)
			m := manager(t, "NOTIFY_SOCKET", address)
			ctx := t.Context()
			for _, err := range []error{m.Ready(ctx), m.Alive(ctx), m.Status(ctx, "two\nlines"), m.Status(ctx, strings.Repeat("é", 400)), m.Stopping(ctx)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range []string{"READY=1", "WATCHDOG=1", "STATUS=two lines", "STATUS=" + strings.Repeat("é", 150) + "…", "STOPPING=1"} {
				if got := s.next(t); got != want {
					t.Errorf("heard %q, want %q", got, want)
				}
			}
		})
	}
}

func TestWithoutAServiceManagerNothingIsSaid(t *testing.T) {
	m := manager(t)
	if m.Listens() || m.Watchdog() != 0 {
		t.Error("somebody listens where nobody is")
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	wrong := errors.New("broken")
	err := notify.Run(t.Context(), m, quiet, notify.Program{
		Run:   func(context.Context) error { return wrong },
		Alive: func(context.Context) error { t.Error("asked for nobody"); return nil },
	})
	if !errors.Is(err, wrong) {
		t.Errorf("error = %v, want the program's", err)
	}
}

func TestTheWatchdogIsForOneProcess(t *testing.T) {
	tests := map[string]struct {
		usec, pid string
		want      time.Duration
	}{
		"nobody is watched":  {"", "", 0},
		"this one":           {"30000000", "7", 30 * time.Second},
		"whoever it is":      {"30000000", "", 30 * time.Second},
		"another is watched": {"30000000", "8", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := manager(t, "NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", tt.usec, "WATCHDOG_PID", tt.pid)
			if got := m.Watchdog(); got != tt.want {
				t.Errorf("watchdog %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAnEnvironmentWithoutSenseIsNamed(t *testing.T) {
	for _, pairs := range [][]string{
		{"NOTIFY_SOCKET", "relative"},
		{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "soon"},
		{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "-1"},
		{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "99999999999999999"},
	} {
		_, err := notify.FromEnvironment(environment(pairs...), 7)
		if bad := pairs[len(pairs)-2]; err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%v: error = %v, want it to name %s", pairs, err, bad)
		}
	}
}

// TestSignsOfLifeEndWithLife follows a program from its start through an illness
// to its end.
func TestSignsOfLifeEndWithLife(t *testing.T) {
	path := filepath.Join(shortDir(t), "notify")
	s := listen(t, path)
	m := manager(t, "NOTIFY_SOCKET", path, "WATCHDOG_USEC", "30000")
	var ill atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- notify.Run(ctx, m, quiet, notify.Program{
			Run: func(ctx context.Context) error { <-ctx.Done(); return nil },
			Alive: func(context.Context) error {
				if ill.Load() {
					return errors.New("it hangs")
				}
				return nil
			},
			State: func(context.Context) string { return "ready" },
		})
	}()
	if got := s.next(t); got != "READY=1" {
		t.Errorf("the first word is %q", got)
	}
	if got := s.next(t); got != "WATCHDOG=1" {
		t.Errorf("then it says %q", got)
	}
	if got := s.next(t, "WATCHDOG"); got != "STATUS=ready" {
		t.Errorf("then it says %q", got)
	}
	ill.Store(true)
	for s.next(t, "WATCHDOG") != "STATUS=not alive: it hangs" {
	}
	for range 5 { // the first may have been on its way
		if got := s.next(t); got == "WATCHDOG=1" {
			t.Error("a program that hangs gives signs of life")
		}
	}
	ill.Store(false)
	for s.next(t) != "WATCHDOG=1" {
	}
	stop()
	if got := s.next(t, "WATCHDOG", "STATUS"); got != "STOPPING=1" {
		t.Errorf("at the end it says %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAServiceManagerThatIsGoneStopsNobody(t *testing.T) {
	m := manager(t, "NOTIFY_SOCKET", filepath.Join(shortDir(t), "gone"))
	ran := false
	err := notify.Run(t.Context(), m, quiet, notify.Program{
		Run:   func(context.Context) error { ran = true; return nil },
		Alive: func(context.Context) error { return nil },
	})
	if err != nil || !ran {
		t.Errorf("ran %v, error %v", ran, err)
	}
}

func TestTheFaceForOperatorsTellsHowAProgramIs(t *testing.T) {
	health, ready := http.StatusOK, `{"ready": true}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz":
			w.WriteHeader(health)
		case ready == `{"ready": true}`:
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(ready)) // the test sees what is missing
		}
	}))
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, ":" + port} {
		health, ready = http.StatusOK, `{"ready": true}`
		a, err := notify.NewAdmin(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Alive(t.Context()); err != nil {
			t.Errorf("%s: alive: %v", address, err)
		}
		if got := a.State(t.Context()); got != "ready" {
			t.Errorf("%s: state %q", address, got)
		}
		health, ready = http.StatusTeapot, `{"checks": {"z": "is full", "a": "ok", "b": "is gone"}}`
		if err := a.Alive(t.Context()); err == nil {
			t.Errorf("%s: a program that does not answer as it should is alive", address)
		}
		if got, want := a.State(t.Context()), "not ready: b: is gone; z: is full"; got != want {
			t.Errorf("%s: state %q, want %q", address, got, want)
		}
		ready = "no JSON"
		if got := a.State(t.Context()); !strings.Contains(got, "/readyz answers 503") {
			t.Errorf("%s: state %q", address, got)
		}
	}
	if _, err := notify.NewAdmin("nonsense"); err == nil {
		t.Error("an address without a port is taken")
	}
}
