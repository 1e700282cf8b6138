package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/quic-go/quic-go"

	"preau/replication/identity"
	"preau/replication/wire"
)

// protocol answers with the HTTP version that a request came in.
func protocol(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }

func TestQUICGoesFirstWhereItWorks(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol)})
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.HeadStart = time.Hour })
	for range 2 {
		if got, err := get(t.Context(), transport(t, d, s.target), "/"); err != nil || got != "HTTP/3.0" {
			t.Errorf("got %q, %v, want HTTP/3.0", got, err)
		}
	}
	states := d.Paths()
	if len(states) != 1 || states[0].Way != wire.OverQUIC || states[0].Chosen != wire.ByRace || states[0].RTT <= 0 || states[0].Used.IsZero() {
		t.Errorf("paths = %+v", states)
	}
	reg := prometheus.NewRegistry()
	if err := reg.Register(d.Collector()); err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	const want = `
# HELP preau_wire_path How a server was reached last: 1 for the way in use.
# TYPE preau_wire_path gauge
preau_wire_path{server="s1",way="proxy"} 0
preau_wire_path{server="s1",way="quic"} 1
preau_wire_path{server="s1",way="tcp"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "preau_wire_path"); err != nil {
		t.Error(err)
	}
}

// What comes without a body must look so to a handler, whichever way it came: a
// cache answers no GET with a body (RFC 9110 §9.3.1).
func TestARequestWithoutABodyHasNone(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.Header().Set("Seen", fmt.Sprintf("%s %s %d %d %v", r.Proto, r.Method, r.ContentLength, len(body), err))
	})})
	for way, proto := range map[string]string{overTCP: "HTTP/2.0", overQUIC: "HTTP/3.0"} {
		t.Run(way, func(t *testing.T) {
			tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				req, err := http.NewRequestWithContext(t.Context(), method, "https://region/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if got, want := resp.Header.Get("Seen"), proto+" "+method+" 0 0 <nil>"; got != want {
					t.Errorf("the handler sees %q, want %q", got, want)
				}
			}
		})
	}
}

// hole takes UDP's packets and gives none back, on the port of a TCP listener
// without QUIC.
func hole(t *testing.T, address string) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

func noQUIC(c *wire.Config) { c.QUIC = false }

func TestABlackHoleForUDPCostsOnce(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol), cfg: noQUIC})
	hole(t, s.target.Address)
	const headStart = 500 * time.Millisecond
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.HeadStart = headStart })
	for i := range 4 {
		began := time.Now()
		got, err := get(t.Context(), transport(t, d, s.target), "/")
		took := time.Since(began)
		if err != nil || got != "HTTP/2.0" {
			t.Fatalf("got %q, %v, want HTTP/2.0", got, err)
		}
		chosen := wire.ByMemory
		if i == 0 {
			if chosen = wire.ByRace; took < headStart {
				t.Fatalf("the first request took %v: QUIC had no head start", took)
			}
		}
		// What is remembered waits for nobody.
		if paths := d.Paths(); len(paths) != 1 || paths[0].Chosen != chosen {
			t.Errorf("request %d paid for QUIC again: %+v", i, paths)
		}
	}
}

func TestAClosedUDPPortCostsNoHeadStart(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol), cfg: noQUIC})
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.HeadStart = time.Hour })
	if got, err := get(t.Context(), transport(t, d, s.target), "/"); err != nil || got != "HTTP/2.0" {
		t.Errorf("got %q, %v, want HTTP/2.0", got, err)
	}
}

func TestQUICIsProbedInTheBackground(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol)})
	relay := newRelay(t, s.target.Address)
	relay.deaf.Store(true)
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) {
		c.HeadStart, c.Remember, c.DialTimeout = 50*time.Millisecond, time.Millisecond, 30*time.Second
	})
	tr := transport(t, d, wire.Target{Name: "s1", Address: relay.address})
	if got, err := get(t.Context(), tr, "/"); err != nil || got != "HTTP/2.0" {
		t.Fatalf("got %q, %v, want HTTP/2.0", got, err)
	}
	relay.deaf.Store(false)
	for {
		got, err := get(t.Context(), tr, "/")
		if err != nil {
			t.Fatal(err)
		}
		if got == "HTTP/3.0" {
			return
		}
		if !wait(t, 20*time.Millisecond) {
			t.Fatal("QUIC was not found again")
		}
	}
}

// wait is a pause in a loop that ends with the test.
func wait(t *testing.T, d time.Duration) bool {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.Context().Done():
		return false
	}
}

// relay is a router with address translation: over UDP it speaks to the server
// from a port of its own, which it may change, and TCP it passes on.
type relay struct {
	address string
	deaf    atomic.Bool // loses UDP
	near    net.PacketConn
	server  *net.UDPAddr
	client  atomic.Pointer[net.Addr]

	mu      sync.Mutex
	far     *net.UDPConn
	ports   []*net.UDPConn
	running sync.WaitGroup
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	to, err := netip.ParseAddrPort(server)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{server: net.UDPAddrFromAddrPort(to)}
	var web net.Listener
	for range 20 {
		if web, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if r.near, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", web.Addr().String()); err == nil {
			break
		}
		web.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.address = web.Addr().String()
	r.rebind(t)
	r.running.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := r.near.ReadFrom(buf)
			if err != nil {
				return
			}
			if r.deaf.Load() {
				continue
			}
			r.client.Store(&from)
			r.mu.Lock()
			far := r.far
			r.mu.Unlock()
			if _, err := far.Write(buf[:n]); err != nil && errors.Is(err, net.ErrClosed) {
				return
			}
		}
	})
	r.running.Go(func() {
		for {
			here, err := web.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", server)
			if err != nil {
				here.Close()
				continue
			}
			r.running.Go(func() { drain(there, here); there.Close() })
			r.running.Go(func() { drain(here, there); here.Close() })
		}
	})
	t.Cleanup(func() {
		web.Close()
		r.near.Close()
		r.mu.Lock()
		for _, p := range r.ports {
			p.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

// rebind takes another port for the server to see.
func (r *relay) rebind(t *testing.T) {
	t.Helper()
	far, err := net.DialUDP("udp", nil, r.server)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.far, r.ports = far, append(r.ports, far)
	r.mu.Unlock()
	r.running.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := far.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.mu.Lock()
			current := r.far == far
			r.mu.Unlock()
			client := r.client.Load()
			if err != nil || client == nil || !current || r.deaf.Load() {
				continue // a router that forgot the old port
			}
			if _, err := r.near.WriteTo(buf[:n], *client); err != nil && errors.Is(err, net.ErrClosed) {
				return
			}
		}
	})
}

func TestAConnectionSurvivesARouterThatForgets(t *testing.T) {
	ours := newRegion(t, time.Now())
	next := make(chan struct{})
	s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "one")
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-next:
			fmt.Fprintln(w, "two")
		case <-r.Context().Done():
		}
	})})
	relay := newRelay(t, s.target.Address)
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) {
		c.HeadStart, c.KeepAlive = time.Hour, 100*time.Millisecond
	})
	tr := transport(t, d, wire.Target{Name: "s1", Address: relay.address})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://region/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, buf); err != nil {
		t.Fatal(err)
	}
	relay.rebind(t)
	close(next)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "two\n" {
		t.Errorf("after the router changed its port: %q, %v", buf, err)
	}
	if n := len(s.Peers()); n != 1 {
		t.Errorf("%d connections, want the one that there was", n)
	}
}

// A QUIC connection that goes silent is left for TCP, and a request that may be
// sent twice does not notice.
func TestASilentConnectionIsLeft(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol)})
	relay := newRelay(t, s.target.Address)
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) {
		c.HeadStart, c.Suspect = 2*time.Second, 200*time.Millisecond
	})
	tr := transport(t, d, wire.Target{Name: "s1", Address: relay.address})
	if got, err := get(t.Context(), tr, "/"); err != nil || got != "HTTP/3.0" {
		t.Skipf("got %q, %v over QUIC: this machine is too slow for its head start", got, err)
	}
	relay.deaf.Store(true)
	if got, err := get(t.Context(), tr, "/"); err != nil || got != "HTTP/2.0" {
		t.Errorf("got %q, %v, want HTTP/2.0", got, err)
	}
}

func TestNoQUICThroughAProxy(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol)})
	var tunnels sync.WaitGroup
	tunnels.Add(1) // until no handler can begin any more
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels.Add(1)
		defer tunnels.Done()
		asked.Add(1)
		there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		tunnels.Go(func() { drain(there, here); there.Close() })
		tunnels.Go(func() { drain(here, there); here.Close() })
	}))
	defer func() {
		proxy.Close()
		tunnels.Done()
		tunnels.Wait()
	}()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.Proxy = http.ProxyURL(address) })
	tr := d.Transport(s.target)
	bulk := d.Bulk(s.target)
	for _, rt := range []http.RoundTripper{tr, bulk} {
		if got, err := get(t.Context(), rt, "/"); err != nil || got != "HTTP/2.0" {
			t.Errorf("%T: got %q, %v, want HTTP/2.0", rt, got, err)
		}
	}
	if states := d.Paths(); len(states) != 1 || states[0].Way != wire.OverProxy || states[0].Chosen != wire.ByProxy {
		t.Errorf("paths = %+v", states)
	}
	tr.Close()
	bulk.Close()
	if asked.Load() < 2 {
		t.Errorf("the proxy was asked %d times", asked.Load())
	}
}

func TestAListenerWithoutUDPSaysSoOnce(t *testing.T) {
	ours := newRegion(t, time.Now())
	taken, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	creds := ours.creds(t, ours.node(identity.Server, "s1"), time.Now())
	l, err := wire.Listen(t.Context(), taken.LocalAddr().String(), creds, wire.DefaultConfig(), log, prometheus.NewRegistry())
	if err != nil {
		t.Skipf("the same port over TCP is taken: %v", err)
	}
	defer l.Close()
	if l.QUIC() || strings.Count(said.String(), "no QUIC") != 1 {
		t.Errorf("QUIC %v, and it said: %s", l.QUIC(), said.String())
	}
}

// A node of several regions shows to each the certificate that it has there, and
// believes each region's nodes for their own region only.
func TestOneListenerForSeveralRegions(t *testing.T) {
	t.Run(overTCP, oneListenerForSeveralRegions)
	t.Run(overQUIC, oneListenerForSeveralRegions)
}

func oneListenerForSeveralRegions(t *testing.T) {
	now := time.Now()
	one, two, other := newRegion(t, now), newRegion(t, now), newRegion(t, now)
	ctx, cancel := context.WithCancel(t.Context())
	l, err := wire.ListenFor(t.Context(), "127.0.0.1:0", []wire.Credentials{
		one.creds(t, one.node(identity.Central, "c1"), now), two.creds(t, two.node(identity.Central, "c1"), now),
	}, wire.DefaultConfig(), quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, wire.Service{Handler: http.HandlerFunc(whoami)}) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	target := wire.Target{Name: "c1", Role: identity.Central, Address: l.Addr().String()}
	for _, r := range []*region{one, two} {
		who := r.node(identity.Server, "s1")
		got, err := get(t.Context(), transport(t, dialer(t, r.creds(t, who, now), nil), target), "/")
		if err != nil || got != who.String() {
			t.Errorf("got %q, %v, want %s", got, err, who)
		}
	}
	if got, err := get(t.Context(), transport(t, dialer(t, other.creds(t, other.node(identity.Server, "s1"), now), nil), target), "/"); err == nil {
		t.Errorf("a region that is not served got %q", got)
	}
	// Region two's certificate under region one's name.
	false1 := two.creds(t, two.node(identity.Server, "s1"), now)
	false1.Region, false1.Roots = one.id, one.creds(t, one.node(identity.Server, "x"), now).Roots
	if got, err := get(t.Context(), transport(t, dialer(t, false1, nil), target), "/"); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("got %q, %v, want ErrRefused", got, err)
	}
	// Who wants a server does not take a gateway for one.
	plain := wire.Target{Address: target.Address}
	if _, err := get(t.Context(), transport(t, dialer(t, one.creds(t, one.node(identity.Server, "s1"), now), nil), plain), "/"); !errors.Is(err, wire.ErrForeign) && !errors.Is(err, wire.ErrRole) {
		t.Errorf("err = %v, want ErrForeign or ErrRole", err)
	}
}

func TestAServerIsNoGateway(t *testing.T) {
	t.Run(overTCP, aServerIsNoGateway)
	t.Run(overQUIC, aServerIsNoGateway)
}

func aServerIsNoGateway(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{})
	tr := transport(t, dialer(t, ours.creds(t, ours.node(identity.Server, "s2"), time.Now()), nil),
		wire.Target{Address: s.target.Address, Role: identity.Central})
	if _, err := get(t.Context(), tr, "/"); !errors.Is(err, wire.ErrRole) {
		t.Errorf("err = %v, want ErrRole", err)
	}
}

// Handshakes that never end are bounded, and leave room: addresses must be
// proven first, and then have their share.
func TestAFloodOfHandshakesIsBounded(t *testing.T) {
	ours := newRegion(t, time.Now())
	const most = 8
	s := ours.serve(t, options{cfg: func(c *wire.Config) { c.MaxHandshakes = most }})
	to, err := netip.ParseAddrPort(s.target.Address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range 4 * most {
		flood.Go(func() {
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}, VerifyConnection: func(tls.ConnectionState) error {
				<-ctx.Done() // never finishes
				return errors.New("enough")
			}}
			c, err := quic.Dial(ctx, conn, net.UDPAddrFromAddrPort(to), config, nil)
			if err == nil {
				c.CloseWithError(0, "")
			}
		})
	}
	// The flood may hold all of UDP's places: then TCP is there.
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil)
	if _, err := get(t.Context(), transport(t, d, s.target), "/"); err != nil {
		t.Errorf("a box found no way in: %v", err)
	}
	cancel()
	flood.Wait()
	if n := testutil.CollectAndCount(s.reg, "preau_wire_connections"); n == 0 {
		t.Error("no metrics")
	}
	if n := len(s.Peers()); n > most {
		t.Errorf("%d peers are connected", n)
	}
}

func FuzzRegionOf(f *testing.F) {
	f.Add("0123456789abcdef.preau.invalid")
	f.Add(".preau.invalid")
	f.Add("region")
	f.Fuzz(func(t *testing.T, name string) {
		region, ok := wire.RegionOf(name)
		if ok && wire.NameOf(region) != name {
			t.Errorf("%q is read as region %q, whose name is %q", name, region, wire.NameOf(region))
		}
	})
}

func TestAConnectionMovesWithItsNode(t *testing.T) {
	ours := newRegion(t, time.Now())
	var from sync.Map
	s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from.Store(r.RemoteAddr, true)
		io.WriteString(w, r.Proto)
	})})
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.HeadStart = time.Hour })
	tr := transport(t, d, s.target)
	for i := range 3 {
		if got, err := get(t.Context(), tr, "/"); err != nil || got != "HTTP/3.0" {
			t.Fatalf("got %q, %v, want HTTP/3.0", got, err)
		}
		if moved, err := wire.MoveQUIC(tr); err != nil || moved != 1 {
			t.Fatalf("move %d: %d, %v", i, moved, err)
		}
	}
	ports := 0
	from.Range(func(any, any) bool { ports++; return true })
	if ports < 2 {
		t.Errorf("requests came from %d ports, want one after the other", ports)
	}
	if n := len(s.Peers()); n != 1 {
		t.Errorf("%d connections, want the one that there was", n)
	}
}
