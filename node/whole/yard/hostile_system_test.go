//go:build system && linux

package yard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/control"
	"preau/node/near"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// credentials are what a box shows and whom it believes.
func (b *box) credentials(t *testing.T) wire.Credentials {
	t.Helper()
	store, err := enrol.OpenStore(filepath.Join(b.data, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	return store.Credentials()
}

// liar is a box with a valid certificate in whose place somebody else answers.
// Its own process goes on to be found and to gossip.
type liar struct {
	site  *site
	asked atomic.Int64 // requests for objects that it is to fetch, or says that it has
	// boasts: it has everything. Else it says so of nothing, and is asked only
	// for what it is to fetch.
	boasts atomic.Bool
	how    atomic.Value // func(http.ResponseWriter, *http.Request) http.ResponseWriter
}

// ServeHTTP implements http.Handler.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == near.HelloPath {
		w.WriteHeader(http.StatusNoContent) // that it is who it is, is no lie
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/o/library")
	if !ok {
		http.NotFound(w, r)
		return
	}
	if strings.Contains(r.Header.Get("Cache-Control"), "only-if-cached") && !l.boasts.Load() {
		w.WriteHeader(http.StatusGatewayTimeout) // RFC 9111 §5.2.1.7
		return
	}
	l.asked.Add(1)
	how, ok := l.how.Load().(func(http.ResponseWriter, *http.Request) http.ResponseWriter)
	if !ok {
		http.Error(w, "nothing was said", http.StatusInternalServerError)
		return
	}
	r.URL.Path = rest
	if w = how(w, r); w != nil {
		l.site.ServeHTTP(w, r)
	}
}

// flips changes a byte in each write, and says nothing.
type flips struct{ http.ResponseWriter }

// Write implements io.Writer.
func (f flips) Write(p []byte) (int, error) {
	q := append([]byte(nil), p...)
	if len(q) > 0 {
		q[len(q)/2] ^= 0x20
	}
	return f.ResponseWriter.Write(q)
}

// ends gives up after so many bytes.
type ends struct {
	http.ResponseWriter
	left  int
	stall <-chan struct{} // nil: the stream is broken off
}

// Write implements io.Writer.
func (e *ends) Write(p []byte) (int, error) {
	if len(p) < e.left {
		e.left -= len(p)
		return e.ResponseWriter.Write(p)
	}
	_, _ = e.ResponseWriter.Write(p[:e.left])
	if err := http.NewResponseController(e.ResponseWriter).Flush(); err != nil {
		return 0, err
	}
	if e.stall != nil {
		<-e.stall
	}
	panic(http.ErrAbortHandler)
}

// replace has another answer for the box to its neighbours.
func (y *yard) replace(t *testing.T, b *box) *liar {
	t.Helper()
	cfg := wire.DefaultConfig()
	cfg.QUIC, cfg.AnyDate = false, true
	ln, err := b.host.Listen(t.Context(), fmt.Sprintf("0.0.0.0:%d", liarPort))
	if err != nil {
		t.Fatal(err)
	}
	l, err := wire.NewListener(ln, b.credentials(t), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	it := &liar{site: y.site}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, wire.Service{Handler: it}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("who answers for %s: %v", b.name, err)
		}
	})
	b.host.Filter(t, fmt.Sprintf("chain nat { type nat hook prerouting priority -100; tcp dport %d redirect to :%d; }", nearPort, liarPort),
		// What is connected already goes to the one who has left.
		fmt.Sprintf("chain in { type filter hook input priority 0; tcp dport %d reject with tcp reset; }", nearPort))
	return it
}

// wrongs are the ways in which a neighbour can answer wrongly.
var wrongs = []struct {
	name string
	how  func(http.ResponseWriter, *http.Request) http.ResponseWriter
	long bool // for those who have time
}{
	{"a body that stops", func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		return &ends{ResponseWriter: w, left: 300_000, stall: r.Context().Done()}
	}, true},
	{"a body that breaks off", func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		return &ends{ResponseWriter: w, left: 1_300_000}
	}, false},
	{"no answer at all", func(_ http.ResponseWriter, r *http.Request) http.ResponseWriter {
		<-r.Context().Done()
		return nil
	}, true},
	{"that it works on it, for ever", func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		for {
			w.WriteHeader(http.StatusProcessing)
			select {
			case <-r.Context().Done():
				return nil
			case <-time.After(200 * time.Millisecond):
			}
		}
	}, true},
	{"an error", func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		http.Error(w, "no", http.StatusInternalServerError)
		return nil
	}, true},
	// The last: it is not asked again.
	{altered, func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { return flips{w} }, false},
}

const altered = "altered bytes"

// TestANeighbourThatLiesHarmsNobody has somebody with a box's certificate answer
// in all the wrong ways.
func TestANeighbourThatLiesHarmsNobody(t *testing.T) {
	y := pool(t, stage{boxes: 3, rate: 200_000_000})
	bad := y.replace(t, y.boxes[2])
	for _, wrong := range wrongs {
		if wrong.long && !long() {
			continue
		}
		t.Run(wrong.name, func(t *testing.T) {
			// The others have forgiven what came before.
			y.acquainted(t, time.Minute, y.boxes...)
			bad.how.Store(wrong.how)
			bad.boasts.Store(wrong.name == altered)
			before := bad.asked.Load()
			var times []time.Duration
			fetch := func(name string, n int) {
				t.Helper()
				for i := range n {
					b := y.boxes[i%2]
					d := y.device(i)
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
					g, err := d.whole(ctx, y, b.host.Addr.String(), path(t, name+strconv.Itoa(i), 2*mib+77))
					cancel()
					d.close()
					times = append(times, g.took)
					if err != nil {
						t.Errorf("a device at %s: %v", b.name, err)
					}
				}
			}
			for round := 0; round < 10 && bad.asked.Load() == before; round++ {
				fetch(fmt.Sprintf("a%d.", round), 4)
			}
			first := bad.asked.Load() - before
			if first == 0 {
				t.Fatalf("%s was never asked: %s", y.boxes[2].name, y.boxes[0].how(t))
			}
			said := y.boxes[0].how(t) + "; " + y.boxes[1].how(t)
			if wrong.name == altered {
				fetch("b", 12)
			}
			more := bad.asked.Load() - before - first
			noticed := y.boxes[0].count(t, "preau_pool_altered_blocks_total") + y.boxes[1].count(t, "preau_pool_altered_blocks_total")
			figure(t, "a neighbour that answers with "+wrong.name, "asked %d times, then %d more; altered blocks seen %.0f; slowest file %v; %s",
				first, more, noticed, round(quantile(times, 1)), said)
			if wrong.name == altered && noticed == 0 {
				t.Error("nobody noticed")
			}
			if wrong.name == altered {
				y.reported(t, y.boxes[2], y.boxes[:2])
			}
			if wrong.name == altered && more > 1 { // by the other box, which had not asked it before
				t.Errorf("it was asked %d times more", more)
			}
			if most := quantile(times, 1); most > bound(time.Minute) {
				t.Errorf("a file took %v", most)
			}
		})
	}
}

// reported waits until the region's operators are told by one of others that a
// box sent wrong bytes.
func (y *yard) reported(t *testing.T, bad *box, others []*box) {
	t.Helper()
	began := time.Now()
	within(t, 60*time.Second, func() error {
		var boxes []control.Box
		if err := y.internet.said(&boxes, "boxes", "--as", y.operator); err != nil {
			return err
		}
		for _, b := range boxes {
			for _, r := range b.Reports {
				by := slices.ContainsFunc(others, func(o *box) bool { return o.name == r.By })
				if b.Name == bad.name && by {
					figure(t, "wrong bytes until an operator is told", "%v: %s of %s, %d times, %q", round(time.Since(began)), r.By, b.Name, r.Times, r.Why)
					return nil
				}
			}
		}
		return fmt.Errorf("no operator is told of %s: %+v", bad.name, boxes)
	})
}

// knock tries to get at a box as its neighbours do.
func (y *yard) knock(t *testing.T, creds wire.Credentials, from *host, to *box, school identity.School) (status int, err error) {
	t.Helper()
	cfg := wire.DefaultDialConfig()
	cfg.QUIC = false
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return from.Dial(ctx, net.Dialer{Timeout: 3 * time.Second}, network, address)
	}
	dialer, err := wire.NewDialer(creds, cfg)
	if err != nil {
		t.Fatal(err)
	}
	rt := dialer.Transport(wire.Target{Address: netip.AddrPortFrom(to.host.Addr, nearPort).String(), Role: identity.Box, School: school})
	defer rt.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://box/o/library"+path(t, "knock", 1000), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// strangers puts on one network what does not belong together.
func strangers(t *testing.T, y *yard) {
	a, b, c := y.boxes[0], y.boxes[1], y.boxes[2]
	served := func(status int, err error) bool { return err == nil && status < 400 }
	if status, err := y.knock(t, b.credentials(t), b.host, a, "0690001A"); !served(status, err) {
		t.Errorf("a neighbour is not served: %d, %v: the test proves nothing", status, err)
	}

	t.Run("a box of another school", func(t *testing.T) {
		foreign := y.enrol(t, "foreign", "0690002B", true, "")
		foreign.run(t)
		y.ready(t, foreign)
		time.Sleep(5 * time.Second)
		for _, at := range []*box{a, b, c} {
			if at.knows("foreign") == nil {
				t.Errorf("%s takes it for a neighbour: %s", at.name, at.how(t))
			}
			if foreign.knows(at.name) == nil {
				t.Errorf("it takes %s for a neighbour: %s", at.name, foreign.how(t))
			}
		}
		status, err := y.knock(t, foreign.credentials(t), foreign.host, a, "0690001A")
		if served(status, err) {
			t.Errorf("%s serves it: %d", a.name, status)
		}
		figure(t, t.Name(), "refused with %d, %v; %s", status, err, a.how(t))
		y.serves(t, "own", a, b, c, foreign)
		y.boxes = y.boxes[:3] // its namespace goes with this test
	})

	t.Run("a box that was revoked", func(t *testing.T) {
		shown := c.credentials(t)
		y.internet.says(t, nil, "revoke", c.name, "--as", y.operator, "--reason", "stolen")
		at, err := took(60*time.Second, 50*time.Millisecond, func() error {
			return errors.Join(a.unknown(c.name), b.unknown(c.name))
		})
		if err != nil {
			t.Error(err)
		}
		status, err := y.knock(t, shown, c.host, a, "0690001A")
		if served(status, err) {
			t.Errorf("%s serves it: %d", a.name, status)
		}
		figure(t, t.Name(), "no neighbour %v after it was revoked; refused with %d, %v; %s", round(at), status, err, a.how(t))
		y.acquainted(t, 30*time.Second, a, b)
		y.serves(t, "two", a, b)
	})

	t.Run("a device that floods the network with lies", func(t *testing.T) {
		conn, err := y.datagrams(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		group, err := net.ResolveUDPAddr("udp4", mdnsGroup)
		if err != nil {
			t.Fatal(err)
		}
		memory := a.memory(t)
		cpu, err := a.cpu()
		if err != nil {
			t.Fatal(err)
		}
		began, sent := time.Now(), 0
		for time.Since(began) < 6*time.Second {
			for range 20 {
				raw, err := lie("preau", "_preau._tcp.local.", sent)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.WriteTo(raw, group); err != nil {
					t.Fatal(err)
				}
				sent++
			}
			time.Sleep(20 * time.Millisecond)
		}
		flood := time.Since(began)
		after, err := a.cpu()
		if err != nil {
			t.Fatal(err)
		}
		y.acquainted(t, 30*time.Second, a, b)
		y.serves(t, "flood", a, b)
		// Whoever asks now is told the truth, at least by the boxes.
		at, err := took(60*time.Second, time.Second, func() error {
			found, err := y.resolve(t.Context(), "preau", time.Second)
			if err != nil {
				return err
			}
			for _, f := range found {
				if f == a.host.Addr || f == b.host.Addr {
					return nil
				}
			}
			return fmt.Errorf("preau.local is %v", found)
		})
		if err != nil {
			t.Error(err)
		}
		more := a.memory(t) - memory
		figure(t, t.Name(), "%.0f packets/s for %v: %.1f ms/s of CPU, %.1f MB more memory; preau.local answers %v after it",
			float64(sent)/flood.Seconds(), flood.Round(time.Second), (after-cpu).Seconds()*1000/flood.Seconds(), float64(more)/1e6, round(at))
		if more > 64<<20 {
			t.Errorf("the box took %d bytes more", more)
		}
	})
}

// memory is what the process has in memory, in bytes.
func (p *process) memory(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
