package upstream

import (
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay is a line: a TCP relay that can go silent. Connections that were silent
// once stay so, as behind a router that has forgotten them.
type relay struct {
	l    net.Listener
	to   string
	wg   sync.WaitGroup
	done chan struct{}

	mu     sync.Mutex
	frozen chan struct{} // closed: connections made before are silent
	silent bool          // new ones too
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{l: listen(t), to: to, done: make(chan struct{}), frozen: make(chan struct{})}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		close(r.done)
		_ = r.l.Close()
		r.wg.Wait()
	})
	return r
}

func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.silent = true
}

func (r *relay) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen, r.silent = make(chan struct{}), false
}

func (r *relay) accept() {
	for {
		near, err := r.l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		frozen, silent := r.frozen, r.silent
		r.mu.Unlock()
		if silent {
			r.wg.Go(func() { <-r.done; _ = near.Close() })
			continue
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		end := func() { _ = near.Close(); _ = far.Close() }
		copyTo := func(dst, src net.Conn) {
			buf := make([]byte, 32<<10)
			for {
				n, err := src.Read(buf)
				select {
				case <-frozen:
					<-r.done
				default:
				}
				if err != nil {
					end()
					return
				}
				if _, err := dst.Write(buf[:n]); err != nil {
					end()
					return
				}
			}
		}
		r.wg.Go(func() { copyTo(far, near) })
		r.wg.Go(func() { copyTo(near, far) })
		r.wg.Go(func() { <-r.done; end() })
	}
}

// Over HTTP/2 all fetches share one connection. When the line is silent all of
// them are freed, and when it is back that connection is not used again.
func TestAnHTTP2ConnectionThatDiedSilentlyIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/body":
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/header":
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, r.Proto)
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close) // after the relay, whose frozen connections keep handlers waiting
	line := newRelay(t, srv.Listener.Addr().String())
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	u := startReal(t, strings.Replace(srv.URL, srv.Listener.Addr().String(), line.l.Addr().String(), 1),
		func(c *Config) { c.RootCAFile, c.SilenceAfter, c.ProbeTimeout = file, 5*time.Second, 2*time.Second })

	film, err := u.Fetch(request(t, u, "/body"))
	if err != nil {
		t.Fatal(err)
	}
	defer film.Body.Close()
	if film.ProtoMajor != 2 {
		t.Fatalf("proto = %s", film.Proto)
	}
	if _, err := io.ReadFull(film.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	line.freeze()
	begin := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := film.Body.Read(make([]byte, 1)); !errors.Is(err, ErrLineDown) {
			t.Errorf("body: err = %v, want ErrLineDown", err)
		}
	})
	wg.Go(func() {
		if _, _, err := get(t, u, "/header"); !errors.Is(err, ErrLineDown) {
			t.Errorf("header: err = %v, want ErrLineDown", err)
		}
	})
	wg.Wait()
	if d := time.Since(begin); d > u.cfg.BodyStall/2 {
		t.Errorf("freed after %v, as if nobody had looked at the line", d)
	}
	wantDown(t, u, CauseSilent)

	up := u.Up()
	line.thaw()
	inTime(t, up)
	begin = time.Now()
	if _, proto, err := get(t, u, "/"); err != nil || proto != "HTTP/2.0" {
		t.Errorf("after the outage: proto = %q, err = %v", proto, err)
	}
	if d := time.Since(begin); d > u.cfg.SilenceAfter {
		t.Errorf("the first fetch after the outage took %v, as one does on a dead connection", d)
	}
}
