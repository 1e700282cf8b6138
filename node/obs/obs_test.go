package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"preau/node/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func TestLogIsJSONAwayFromATerminal(t *testing.T) {
	var out bytes.Buffer
	log, err := obs.NewLogger(&out, obs.DefaultLog())
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("hidden")
	log.Info("shown", "bytes", 3)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("log is %q: %v", out.String(), err)
	}
	if line["msg"] != "shown" || line["bytes"] != 3.0 {
		t.Errorf("log line = %v", line)
	}
}

func TestLogSettings(t *testing.T) {
	tests := map[string]struct {
		cfg   obs.Log
		wrong string
	}{
		"text":        {cfg: obs.Log{Level: "warn", Format: "text"}},
		"zero":        {},
		"bad level":   {cfg: obs.Log{Level: "loud"}, wrong: `log level "loud" is unknown: write debug, info, warn or error`},
		"slog offset": {cfg: obs.Log{Level: "info+2"}, wrong: `log level "info+2" is unknown: write debug, info, warn or error`},
		"bad format":  {cfg: obs.Log{Format: "xml"}, wrong: `log format "xml" is unknown: write auto, text or json`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := obs.NewLogger(io.Discard, tt.cfg)
			if got := text(err); got != tt.wrong {
				t.Errorf("error %q, want %q", got, tt.wrong)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAdminAddressMustBeWrittenInFull(t *testing.T) {
	tests := map[string]struct{ address, wrong, logged string }{
		"loopback":    {address: "127.0.0.1:0"},
		"localhost":   {address: "localhost:0"},
		"every":       {address: "0.0.0.0:0", logged: "can be reached from the network"},
		"no host":     {address: ":9190", wrong: "would be open to the whole network"},
		"no port":     {address: "127.0.0.1", wrong: "write host:port"},
		"nonsense":    {address: "", wrong: "write host:port"},
		"not our own": {address: "192.0.2.1:9190", wrong: "open admin listener"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			ln, err := obs.ListenAdmin(t.Context(), tt.address, slog.New(slog.NewTextHandler(&out, nil)))
			if err == nil {
				defer ln.Close()
			}
			if (tt.wrong == "") != (err == nil) || !strings.Contains(text(err), tt.wrong) {
				t.Errorf("error %q, want %q", text(err), tt.wrong)
			}
			if (tt.logged == "") != (out.Len() == 0) || !strings.Contains(out.String(), tt.logged) {
				t.Errorf("logged %q, want %q", out.String(), tt.logged)
			}
		})
	}
}

// start runs an admin face and returns it with the address to call it at.
func start(t *testing.T, add func(*obs.Admin)) string {
	t.Helper()
	reg, err := obs.NewRegistry(obs.Build{Version: "1.2.3", Commit: "abc", Go: "go1"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := obs.ListenAdmin(t.Context(), "127.0.0.1:0", quiet)
	if err != nil {
		t.Fatal(err)
	}
	a := obs.NewAdmin(ln, reg, quiet)
	if add != nil {
		add(a)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + a.Addr().String()
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdminPages(t *testing.T) {
	base := start(t, func(a *obs.Admin) {
		a.Handle("GET /hello", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	})
	tests := map[string]struct {
		path, host, want string
		status           int
	}{
		"health":           {path: "/healthz", want: "ok\n", status: 200},
		"ready":            {path: "/readyz", want: `"ready": true`, status: 200},
		"metrics":          {path: "/metrics", want: `preau_build_info{commit="abc",go_version="go1",version="1.2.3"} 1`, status: 200},
		"runtime metrics":  {path: "/metrics", want: "go_goroutines ", status: 200},
		"process metrics":  {path: "/metrics", want: "process_resident_memory_bytes ", status: 200},
		"profiles":         {path: "/debug/pprof/", want: "goroutine", status: 200},
		"one profile":      {path: "/debug/pprof/goroutine?debug=1", want: "goroutine profile", status: 200},
		"added page":       {path: "/hello", want: "hello", status: 200},
		"unknown":          {path: "/nothing", status: 404},
		"localhost":        {path: "/healthz", host: "localhost:9190", status: 200},
		"IPv6":             {path: "/healthz", host: "[::1]:9190", status: 200},
		"rebound DNS name": {path: "/metrics", host: "evil.example", status: 403},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, base+tt.path, tt.host)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%d %q, want %d with %q", status, body, tt.status, tt.want)
			}
		})
	}
}

func TestReadyTellsWhyNot(t *testing.T) {
	base := start(t, func(a *obs.Admin) {
		a.Ready("store", func(context.Context) error { return nil })
		a.Ready("disk", func(context.Context) error { return errors.New("full") })
	})
	status, body := get(t, base+"/readyz", "")
	if status != http.StatusServiceUnavailable {
		t.Errorf("status = %d, want 503", status)
	}
	var got struct {
		Ready  bool
		Checks map[string]string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Ready || got.Checks["store"] != "ok" || got.Checks["disk"] != "full" {
		t.Errorf("readiness = %+v", got)
	}
}

// hall is a listener in memory, whose connections a bubble's clock knows.
type hall struct {
	in   chan net.Conn
	shut func()
	gone <-chan struct{}
}

func newHall() *hall {
	ctx, shut := context.WithCancel(context.Background())
	return &hall{in: make(chan net.Conn), shut: shut, gone: ctx.Done()}
}

func (h *hall) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9190} }
func (h *hall) Close() error   { h.shut(); return nil }

func (h *hall) Accept() (net.Conn, error) {
	select {
	case conn := <-h.in:
		return conn, nil
	case <-h.gone:
		return nil, net.ErrClosed
	}
}

func TestRunCutsStreams(t *testing.T) {
	reg, err := obs.NewRegistry(obs.ReadBuild())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		streaming := make(chan struct{})
		ln := newHall()
		a := obs.NewAdmin(ln, reg, quiet)
		a.Handle("GET /events", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(streaming)
			<-r.Context().Done()
		}))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		here, there := net.Pipe()
		ln.in <- there
		answered := make(chan error, 1)
		go func() {
			_, err := io.WriteString(here, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
			_, read := io.Copy(io.Discard, here)
			answered <- errors.Join(err, read)
		}()
		<-streaming
		began := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("stopping took %v with one stream open", took)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

func TestMetricsArePolite(t *testing.T) {
	reg, err := obs.NewRegistry(obs.ReadBuild())
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg, "preau_build_info")
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}
