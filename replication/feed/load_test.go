package feed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func memory() uint64 {
	for range 6 { // stacks shrink by half each time
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestLoad measures what a box costs its server, over TLS and HTTP/2: set
// PREAU_FEED_LOAD to the number of boxes. The boxes are in a second process.
func TestLoad(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("PREAU_FEED_LOAD"))
	if err != nil || os.Getenv("PREAU_FEED_LOAD_AT") != "" {
		t.Skip("PREAU_FEED_LOAD is not set")
	}
	ca := newAuthority(t)
	l := newLedger()
	for i := range 10_000 {
		r := likely(i)
		l.put(r.Kind, r.ID, string(r.Body), false)
	}
	cfg := DefaultConfig()
	cfg.Region, cfg.Name = here, "alpha"
	cert := ca.issue(t, identity.Identity{Region: here, Role: identity.Server, Name: "alpha"})
	peer := func(r *http.Request) (identity.Identity, bool) {
		return boxOf(r.Header.Get("Test-Box"), lyon), true
	}
	s, err := New(cfg, l, func() (*tls.Certificate, error) { return cert, nil }, peer, quietLog, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s.Handler(), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), NextProtos: []string{"h2"},
	}}
	group.Go(func() {
		if err := web.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	defer group.Wait()
	defer web.Close()
	defer stop()

	before := memory()
	file := t.TempDir() + "/box.pem"
	writePair(t, file, ca.issue(t, boxOf("box", lyon)))
	client := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestLoadBoxes$")
	client.Env = append(os.Environ(), "PREAU_FEED_LOAD_AT="+listener.Addr().String(), "PREAU_FEED_LOAD_PAIR="+file)
	client.Stderr = os.Stderr
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	reach := func(what string, index uint64, within time.Duration) {
		t.Helper()
		began, used := time.Now(), cpu()
		for {
			got, connected := s.Confirmed(index)
			if connected == n && got == n {
				break
			}
			if time.Since(began) > within {
				t.Fatalf("%s: %d of %d after %s", what, got, connected, within)
			}
			<-time.After(5 * time.Millisecond)
		}
		t.Logf("%s: all %d after %s, server CPU %s", what, n, time.Since(began).Round(time.Millisecond), (cpu() - used).Round(time.Millisecond))
	}
	reach("connect and catch up on 10,000 changes", l.index, time.Minute)
	t.Logf("memory: %d KiB a box", (memory()-before)/1024/uint64(n))
	used, began := cpu(), time.Now()
	<-time.After(5 * time.Second)
	t.Logf("idle: %.2f %% of a core for %d boxes", 100*float64(cpu()-used)/float64(time.Since(began)), n)
	i, changed := l.put(catalogue.KindPurge, "p", "x", false)
	s.Publish(i, changed)
	reach("purge, acknowledged", i, time.Minute)
	t.Logf("memory after: %d KiB a box", (memory()-before)/1024/uint64(n))
	stop()
	if err := client.Wait(); err == nil {
		t.Error("the boxes ended by themselves")
	}
}

func writePair(t *testing.T, file string, cert *tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

type named struct {
	rt   http.RoundTripper
	name string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Test-Box", n.name)
	return n.rt.RoundTrip(r)
}

// TestLoadBoxes is the second process of TestLoad.
func TestLoadBoxes(t *testing.T) {
	at := os.Getenv("PREAU_FEED_LOAD_AT")
	if at == "" {
		t.Skip("for TestLoad")
	}
	n, err := strconv.Atoi(os.Getenv("PREAU_FEED_LOAD"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(os.Getenv("PREAU_FEED_LOAD_PAIR"), os.Getenv("PREAU_FEED_LOAD_PAIR"))
	if err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			// Whom this talks to does not matter: it is only load.
			rt := named{&http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
				Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, //nolint:gosec // see above
			}}, fmt.Sprint("box-", i)}
			err := Follow(t.Context(), rt, "https://"+at, Request{Cursor: Cursor{here, 1, 100}},
				func(Hello) error { return nil },
				func(b *Batch) error {
					if b.More || b.Count == 0 || b.Upto < 10_000 {
						return nil
					}
					return Acknowledge(t.Context(), rt, "https://"+at, Ack{Index: b.Upto})
				})
			if failed.Add(1) == 1 {
				fmt.Fprintln(os.Stderr, "a box ended:", err)
			}
		})
	}
	group.Wait()
}
