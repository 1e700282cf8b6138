package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"
)

// journal is a stderr that the box writes while the test reads it.
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

var serving = regexp.MustCompile(`"msg":"serving","address":"([^"]+)"`)

func TestOneLineFormServesUntilItIsStopped(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, "from the site")
	}))
	defer site.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out bytes.Buffer
	log := &journal{}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"box", "--site", site.URL, "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--budget", "64MiB", "--admin", "127.0.0.1:0"}, &out, log)
	}()

	var addr string
	for addr == "" {
		if m := serving.FindStringSubmatch(log.String()); m != nil {
			addr = m[1]
		}
		select {
		case got := <-code:
			t.Fatalf("ended by itself with exit code %d: %s", got, log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	resp, err := http.Get("http://" + addr + "/") //nolint:forbidigo // the test has a limit
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "from the site" {
		t.Errorf("body = %q, %v", body, err)
	}
	stop()
	select {
	case got := <-code:
		if got != exitOK {
			t.Errorf("exit code %d after a polite stop, want 0: %s", got, log)
		}
	case <-time.After(time.Minute):
		t.Fatal("does not stop within a minute")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}
