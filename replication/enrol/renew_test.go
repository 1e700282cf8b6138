package enrol_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// lan is a network in memory with one server, which can be away.
type lan struct {
	in   chan net.Conn
	gone chan struct{}
	once sync.Once

	mu   sync.Mutex
	away bool
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
func (l *lan) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443} }

func (l *lan) set(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
}

func (l *lan) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.mu.Lock()
	away := l.away
	l.mu.Unlock()
	if away {
		return nil, errors.New("no route")
	}
	here, there := net.Pipe()
	select {
	case l.in <- there:
		return here, nil
	case <-l.gone:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// renewing enrols a box over l and keeps its certificate until the test ends.
func renewing(t *testing.T, r *region, l *lan) (*enrol.Store, *prometheus.Registry) {
	t.Helper()
	cfg := wire.DefaultDialConfig()
	cfg.DialContext = l.dial
	s, err := enrol.Enrol(t.Context(), r.token(t, nil), t.TempDir(), aBox, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := wire.NewDialer(s.Credentials(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	renewer, err := enrol.NewRenewer(s, d, enrol.DefaultRenewConfig(), quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- renewer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, reg
}

func TestACertificateIsRenewedAtHalfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		r := newRegion(t, options{ln: l, founded: time.Now().Add(-24 * time.Hour)})
		s, reg := renewing(t, r, l)
		first := s.Certificate()
		half := time.Until(enrol.RenewAt(first))
		time.Sleep(half - 14*time.Hour)
		if s.Certificate() != first {
			t.Fatalf("renewed before %v", half)
		}
		time.Sleep(28 * time.Hour)
		second := s.Certificate()
		if second == first || !second.NotAfter.After(first.NotAfter) {
			t.Fatalf("not renewed after %v", half)
		}
		if identity.KeyOf(first) != identity.KeyOf(second) {
			t.Error("the key changed")
		}
		shown, err := s.Credentials().Certificate()
		if err != nil || shown.Leaf != second {
			t.Errorf("the credentials show another certificate, %v", err)
		}
		stored, err := enrol.OpenStore(s.Dir())
		if err != nil || !stored.Certificate().Equal(second) {
			t.Errorf("the folder holds another certificate, %v", err)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("metrics: %v, %v", problems, err)
		}
		if testing.Short() {
			return
		}
		time.Sleep(300 * 24 * time.Hour)
		if left := time.Until(s.Certificate().NotAfter); left < enrol.BoxValidity/2-2*24*time.Hour {
			t.Errorf("after 300 days more it has %v left", left)
		}
	})
}

func TestABoxThatLapsedGoesOnAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		r := newRegion(t, options{ln: l, founded: time.Now().Add(-24 * time.Hour)})
		s, _ := renewing(t, r, l)
		time.Sleep(time.Hour)
		l.set(true) // a school without a line, for a very long summer
		time.Sleep(120 * 24 * time.Hour)
		l.set(false)
		first := s.Certificate()
		time.Sleep(5 * time.Hour)
		if s.Certificate() != first {
			t.Fatal("renewed though the region does not allow it")
		}
		r.registry.set(func(g *registry) { g.lapse = true })
		time.Sleep(2 * time.Hour)
		if s.Certificate() == first || time.Until(s.Certificate().NotAfter) < enrol.BoxValidity-3*time.Hour {
			t.Error("not renewed two hours after it was allowed")
		}
	})
}

func TestARevokedBoxIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		r := newRegion(t, options{ln: l, founded: time.Now().Add(-24 * time.Hour)})
		s, _ := renewing(t, r, l)
		r.registry.set(func(g *registry) { g.revoked[s.Identity()] = true })
		first := s.Certificate()
		time.Sleep(45 * 24 * time.Hour)
		if s.Certificate() != first {
			t.Error("a revoked box was renewed")
		}
		r.registry.mu.Lock()
		defer r.registry.mu.Unlock()
		if r.registry.renewed != 0 {
			t.Errorf("renewed %d times", r.registry.renewed)
		}
	})
}

// handlerFor is a handler without a network.
func handlerFor(tb testing.TB) (*enrol.Handler, *enrol.Authority) {
	tb.Helper()
	a := newAuthority(tb)
	h, err := enrol.NewHandler(enrol.Keys{
		Authority: func() (*enrol.Authority, error) { return a, nil },
		Servers:   func() []wire.Target { return nil },
	}, &registry{region: a.Region()}, quiet, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	return h, a
}

func TestRenewalIsForTheKeyOfTheCertificate(t *testing.T) {
	h, a := handlerFor(t)
	body := `{"request":` + quote(string(requestFor(t, newKey(t), plain))) + `}`
	req := httptest.NewRequest(http.MethodPost, enrol.PathRenew, strings.NewReader(body))
	peer := wire.Peer{Identity: identity.Identity{Region: a.Region(), Role: identity.Box, Name: "b1", School: "0690001A"}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, wire.WithPeer(req, peer))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "bad_request") {
		t.Errorf("another key: %d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, enrol.PathRenew, strings.NewReader(body)))
	if w.Code != http.StatusBadRequest {
		t.Errorf("anonymous: %d %s", w.Code, w.Body)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	h, _ := handlerFor(t)
	for name, body := range map[string]string{
		"empty": "", "no JSON": "hello", "a megabyte": `{"token":"` + strings.Repeat("a", 1<<20) + `"}`,
		"deep": strings.Repeat("[", 15<<10), "null": "null", "no token": "{}",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, enrol.PathEnrol, strings.NewReader(body)))
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func FuzzEnrolBody(f *testing.F) {
	h, _ := handlerFor(f)
	f.Add(`{"token":"0102030405060708","secret":"AAAAAAAAAAAAAAAAAAAAAA==","role":"box","name":"b1","request":` + quote(string(requestFor(f, newKey(f), plain))) + `}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, enrol.PathEnrol, strings.NewReader(body)))
		// The registry knows no token, so nothing else can come of it.
		if w.Code != http.StatusBadRequest && w.Code != http.StatusUnauthorized {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
