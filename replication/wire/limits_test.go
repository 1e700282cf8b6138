package wire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

// lan is a network in memory whose cable can be cut.
type lan struct {
	in   chan net.Conn
	gone chan struct{}
	once sync.Once
	cut  atomic.Bool
}

func newLAN() *lan { return &lan{in: make(chan net.Conn), gone: make(chan struct{})} }

func (l *lan) Accept() (net.Conn, error) {
	select {
	case conn := <-l.in:
		return conn, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *lan) Close() error   { l.once.Do(func() { close(l.gone) }); return nil }
func (l *lan) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 4433} }

func (l *lan) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.in <- there:
		return &cable{Conn: here, lan: l}, nil
	case <-l.gone:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// cable loses what is written once it is cut, and nobody hears of it.
type cable struct {
	net.Conn
	lan *lan
}

func (c *cable) Write(b []byte) (int, error) {
	if c.lan.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func TestADeadServerIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newRegion(t, time.Now())
		l := newLAN()
		ours.serve(t, options{ln: l, handler: http.HandlerFunc(forEver)})
		d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.DialContext = l.dial })
		over := stream(t, transport(t, d, wire.Target{Name: "s1", Address: "10.0.0.1:4433"}))
		time.Sleep(time.Hour) // pings keep it alive
		select {
		case <-over:
			t.Fatal("the stream ended with nothing wrong")
		default:
		}
		l.cut.Store(true)
		began := time.Now()
		<-over
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("a dead server was noticed after %v, want 20 s at most", took)
		}
	})
}

func TestAVanishedBoxIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newRegion(t, time.Now())
		l := newLAN()
		s := ours.serve(t, options{ln: l, handler: http.HandlerFunc(forEver)})
		// A box that does not ask by itself.
		d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) {
			c.DialContext, c.Silence = l.dial, 24*time.Hour
		})
		stream(t, transport(t, d, wire.Target{Name: "s1", Address: "10.0.0.1:4433"}))
		l.cut.Store(true)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := len(s.Peers()); n != 0 {
			t.Errorf("%d boxes are connected, want 0", n)
		}
	})
}

func TestACertificateThatLapsesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newRegion(t, time.Now().Add(-365*day))
		l := newLAN()
		mux := http.NewServeMux()
		mux.HandleFunc("/feed", forEver)
		mux.HandleFunc("/who", whoami)
		ours.serve(t, options{ln: l, handler: mux})
		// 90 days and two of skew are over in an hour.
		issued := time.Now().Add(-92*day + time.Hour)
		d := dialer(t, ours.creds(t, ours.box("b1"), issued), func(c *wire.DialConfig) { c.DialContext = l.dial })
		tr := transport(t, d, wire.Target{Name: "s1", Address: "10.0.0.1:4433"})
		over := stream(t, tr)
		began := time.Now()
		<-over
		if lasted := time.Since(began); lasted < time.Hour-time.Minute || lasted > time.Hour+time.Minute {
			t.Errorf("the connection lasted %v, want an hour", lasted)
		}
		got, err := get(t.Context(), tr, "/who")
		if want := ours.box("b1").String() + " lapsed"; err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
}

func TestASilentHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newRegion(t, time.Now())
		l := newLAN()
		ours.serve(t, options{ln: l, cfg: func(c *wire.Config) { c.MaxHandshakes = 1 }})
		conn, err := l.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the server spoke first")
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("a silent handshake took %v", took)
		}
		// And its place is free again.
		d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.DialContext = l.dial })
		if _, err := get(t.Context(), transport(t, d, wire.Target{Address: "10.0.0.1:4433"}), "/"); err != nil {
			t.Error(err)
		}
	})
}

func TestAServerThatNeverShakesHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newRegion(t, time.Now())
		l := newLAN()
		var holding sync.WaitGroup
		holding.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			drain(io.Discard, conn)
			conn.Close()
		})
		defer holding.Wait()
		d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.DialContext = l.dial })
		began := time.Now()
		if _, err := get(t.Context(), transport(t, d, wire.Target{Address: "10.0.0.1:4433"}), "/"); err == nil {
			t.Error("a request to nobody was answered")
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestLimitsOnConnections(t *testing.T) {
	t.Run(overTCP, limitsOnConnections)
	t.Run(overQUIC, limitsOnConnections)
}

func limitsOnConnections(t *testing.T) {
	now := time.Now()
	ours := newRegion(t, now)
	nobody := ours.creds(t, ours.box("x"), now)
	nobody.Certificate = nil
	tests := map[string]struct {
		cfg   func(*wire.Config)
		creds func(int) wire.Credentials
		fit   int
	}{
		"of all": {
			func(c *wire.Config) { c.MaxConns = 3 },
			func(i int) wire.Credentials { return ours.creds(t, ours.box(fmt.Sprintf("b%d", i)), now) }, 3,
		},
		"of one box": {
			func(c *wire.Config) { c.MaxPerPeer = 2 },
			func(int) wire.Credentials { return ours.creds(t, ours.box("b1"), now) }, 2,
		},
		"of strangers": {
			func(c *wire.Config) { c.MaxAnonymous = 2 },
			func(int) wire.Credentials { return nobody }, 2,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := ours.serve(t, options{cfg: tt.cfg})
			fit := 0
			for i := range 5 {
				if _, err := get(t.Context(), transport(t, dialer(t, tt.creds(i), nil), s.target), "/"); err == nil {
					fit++
				}
			}
			if fit != tt.fit {
				t.Errorf("%d of 5 connections came about, want %d", fit, tt.fit)
			}
			// Closing makes room.
			s.Drop(func(wire.Peer) bool { return true })
			if name == "of strangers" {
				return
			}
			if _, err := get(t.Context(), transport(t, dialer(t, tt.creds(9), nil), s.target), "/"); err != nil {
				t.Errorf("after the others were closed: %v", err)
			}
		})
	}
}

func TestStrangersDoNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newRegion(t, time.Now())
		l := newLAN()
		ours.serve(t, options{ln: l, handler: http.HandlerFunc(forEver)})
		nobody := ours.creds(t, ours.box("x"), time.Now())
		nobody.Certificate = nil
		d := dialer(t, nobody, func(c *wire.DialConfig) { c.DialContext = l.dial })
		over := stream(t, transport(t, d, wire.Target{Address: "10.0.0.1:4433"}))
		began := time.Now()
		<-over
		if lasted := time.Since(began); lasted > 70*time.Second {
			t.Errorf("a stranger stayed for %v", lasted)
		}
	})
}

func TestHugeFieldsAreRefused(t *testing.T) {
	t.Run(overTCP, hugeFieldsAreRefused)
	t.Run(overQUIC, hugeFieldsAreRefused)
}

func hugeFieldsAreRefused(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{})
	tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://region/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", fmt.Sprintf("%0100000d", 1))
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		t.Errorf("100 kB of fields: %s", resp.Status)
	}
}

// A school's proxy sees a CONNECT and what it can't read.
func TestAProxyIsHonoured(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{})
	var asked atomic.Value
	var tunnels sync.WaitGroup
	begun := make(chan struct{})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host)
		there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
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
		close(begun)
	}))
	defer tunnels.Wait()
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.Proxy = http.ProxyURL(address) })
	tr := d.Transport(s.target)
	got, err := get(t.Context(), tr, "/")
	tr.Close()
	<-begun
	if want := ours.box("b1").String(); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if want := "CONNECT " + s.target.Address; asked.Load() != want {
		t.Errorf("the proxy was asked for %v, want %s", asked.Load(), want)
	}
}

func TestATransportThatIsClosedSendsNothing(t *testing.T) {
	t.Run(overTCP, aTransportThatIsClosedSendsNothing)
	t.Run(overQUIC, aTransportThatIsClosedSendsNothing)
}

func aTransportThatIsClosedSendsNothing(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(forEver)})
	tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
	over := stream(t, tr)
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	ends(t, over)
	if _, err := get(t.Context(), tr, "/"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("err = %v, want net.ErrClosed", err)
	}
}

func TestARenewedCertificateIsShownNext(t *testing.T) {
	t.Run(overTCP, aRenewedCertificateIsShownNext)
	t.Run(overQUIC, aRenewedCertificateIsShownNext)
}

func aRenewedCertificateIsShownNext(t *testing.T) {
	now := time.Now()
	ours := newRegion(t, now)
	s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, wire.PeerOf(r).Serial)
	})})
	var current atomic.Pointer[tls.Certificate]
	current.Store(ours.pair(t, ours.box("b1"), now))
	creds := ours.creds(t, ours.box("b1"), now)
	creds.Certificate = func() (*tls.Certificate, error) { return current.Load(), nil }
	tr := transport(t, dialer(t, creds, nil), s.target)
	for range 2 {
		got, err := get(t.Context(), tr, "/")
		if want := fmt.Sprintf("%x", current.Load().Leaf.SerialNumber); err != nil || got != want {
			t.Errorf("got serial %q, %v, want %q", got, err, want)
		}
		current.Store(ours.pair(t, ours.box("b1"), now))
		tr.CloseIdleConnections()
	}
}

func TestConfigsSayWhatIsWrong(t *testing.T) {
	if err := wire.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := wire.DefaultDialConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (wire.Config{}).Validate(); err == nil {
		t.Error("the zero Config passes")
	}
	if err := (wire.DialConfig{}).Validate(); err == nil {
		t.Error("the zero DialConfig passes")
	}
	if err := (wire.Credentials{}).Validate(); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("the zero Credentials: %v", err)
	}
}

// drain copies until one side is gone, which is how these tests end a stream.
func drain(to io.Writer, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		return
	}
}
