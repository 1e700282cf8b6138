package listen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/node/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a log that several goroutines write while a test reads it.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start runs a server until stop is called or the test ends.
func start(t *testing.T, cfg listen.Config, h http.HandlerFunc) (addr string, log *journal, stop func()) {
	t.Helper()
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	log = &journal{}
	s, err := listen.New(t.Context(), cfg, h, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s.Addr().String(), log, stop
}

// talk sends text on a fresh connection and returns all that comes back.
func talk(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestOldAndBrokenClientsAreAnswered(t *testing.T) {
	addr, log, _ := start(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("on purpose")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Write(append([]byte("got "), body...))
	})
	tests := map[string]struct{ send, first, last string }{
		"HTTP/1.0":      {"GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "got "},
		"HTTP/1.1":      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", "got "},
		"100-continue":  {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 100 Continue", "got hi"},
		"any method":    {"PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", "got "},
		"no HTTP":       {"hello\r\n\r\n", "HTTP/1.1 400 Bad Request", ""},
		"no host":       {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request: missing required Host header", "missing required Host header"},
		"smuggling":     {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400 Bad Request", ""},
		"too much head": {"GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large", ""},
		"handler panic": {"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answer := talk(t, addr, tt.send)
			first, _, _ := strings.Cut(answer, "\r\n")
			if first != tt.first || !strings.HasSuffix(answer, tt.last) {
				t.Errorf("answer %q, want it to begin with %q and end with %q", answer, tt.first, tt.last)
			}
		})
	}
	if got := log.String(); strings.Contains(strings.ReplaceAll(got, "address=127.0.0.1", ""), "127.0.0.1:") || !strings.Contains(got, "panic serving client") {
		t.Errorf("the log names a client or hides the panic:\n%s", got)
	}
}

func TestPlainConnectionsReachTheHandlerBare(t *testing.T) {
	bare := make(chan string, 1)
	addr, _, _ := start(t, listen.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, ok := conn.(*net.TCPConn); ok {
			bare <- "bare"
		} else {
			bare <- "wrapped"
		}
	})
	talk(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := <-bare; got != "bare" {
		t.Errorf("the connection is %s, which keeps the kernel from sending files", got)
	}
}

func TestInformationalAnswersPass(t *testing.T) {
	addr, _, _ := start(t, listen.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	})
	early := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { early = code; return nil },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if early != http.StatusEarlyHints || resp.StatusCode != http.StatusNoContent {
		t.Errorf("saw %d then %d, want 103 then 204", early, resp.StatusCode)
	}
}

func TestRunningRequestsFinishBeforeRunReturns(t *testing.T) {
	begun := make(chan struct{})
	addr, _, stop := start(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		door := fmt.Sprint(r.Context().Value(http.LocalAddrContextKey))
		for { // until it is shut to others
			conn, err := net.Dial("tcp", door)
			if err != nil {
				break
			}
			conn.Close()
		}
		if r.Context().Err() != nil {
			t.Error("the request was cancelled while it could have been served")
		}
		io.WriteString(w, "whole")
	})
	answer := make(chan string, 1)
	go func() { answer <- talk(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
	<-begun
	stop()
	if got := <-answer; !strings.HasSuffix(got, "whole") {
		t.Errorf("answer = %q", got)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("connections are still accepted")
	}
}

func TestUpgradedConnectionsAreCutAndWaitedFor(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	addr, _, stop := start(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		close(begun)
		<-r.Context().Done()
		time.Sleep(200 * time.Millisecond) // what it does with the store
		close(ended)
	})
	answer := make(chan string, 1)
	go func() { answer <- talk(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
	<-begun
	stop()
	select {
	case <-ended:
	default:
		t.Error("Run returned while a handler was running")
	}
	<-answer
}

func TestHandlerThatNeverEndsIsTold(t *testing.T) {
	t.Parallel()
	begun, let := make(chan struct{}), make(chan struct{})
	s, err := listen.New(t.Context(), listen.Config{Address: "127.0.0.1:0"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-let
	}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		talk(t, s.Addr().String(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}()
	<-begun
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "1 requests do not end") {
		t.Errorf("Run = %v, want it to tell of the request that hangs", err)
	}
	close(let)
	<-answered
}

func TestTakenPortIsAnErrorOfNew(t *testing.T) {
	addr, _, _ := start(t, listen.Config{}, nil)
	_, err := listen.New(t.Context(), listen.Config{Address: addr}, nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error = %v", err)
	}
}

func TestHTTPSSpeaksBothVersions(t *testing.T) {
	cert := newPair(t, t.TempDir(), "one", "a.example")
	addr, _, _ := start(t, listen.Config{Certificate: []listen.Certificate{cert}}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
	})
	tests := map[string]struct {
		offer []string
		max   uint16
		want  string
	}{
		"HTTP/2":           {offer: []string{"h2", "http/1.1"}, want: "HTTP/2.0"},
		"HTTP/1.1":         {offer: []string{"http/1.1"}, want: "HTTP/1.1"},
		"no ALPN":          {want: "HTTP/1.1"},
		"TLS 1.2":          {offer: []string{"h2"}, max: tls.VersionTLS12, want: "HTTP/2.0"},
		"TLS 1.1 is over":  {max: tls.VersionTLS11, want: "remote error: tls: protocol version not supported"},
		"unknown protocol": {offer: []string{"gopher"}, want: "remote error: tls: no application protocol"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			conf := &tls.Config{InsecureSkipVerify: true, NextProtos: tt.offer, MaxVersion: tt.max, MinVersion: tls.VersionTLS10, ServerName: "a.example"}
			if got := protocol(t, addr, conf); got != tt.want {
				t.Errorf("spoke %q, want %q", got, tt.want)
			}
		})
	}
}

// protocol asks one question over TLS and returns the answer or the error.
func protocol(t *testing.T, addr string, conf *tls.Config) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return err.Error()
	}
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			return err.Error()
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	conn.Close()
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + addr)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}
