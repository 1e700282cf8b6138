package wire_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveForMemory()
		return
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.DiscardHandler)

// region is an authority for tests.
type region struct {
	id        identity.Region
	authority *enrol.Authority
}

func newRegion(t *testing.T, now time.Time) *region {
	t.Helper()
	id := identity.NewRegion()
	authority, err := enrol.NewAuthority(id, now)
	if err != nil {
		t.Fatal(err)
	}
	return &region{id, authority}
}

func (r *region) box(name string) identity.Identity {
	return identity.Identity{Region: r.id, Role: identity.Box, Name: identity.Name(name), School: "0690001A"}
}

func (r *region) node(role identity.Role, name string) identity.Identity {
	return identity.Identity{Region: r.id, Role: role, Name: identity.Name(name)}
}

// creds are those of id, with a certificate issued at the given time for its
// role's usual validity.
func (r *region) creds(t *testing.T, id identity.Identity, issued time.Time) wire.Credentials {
	t.Helper()
	pair := r.pair(t, id, issued)
	return wire.Credentials{
		Region: r.id, Roots: []*x509.Certificate{r.authority.Certificate()},
		Certificate: func() (*tls.Certificate, error) { return pair, nil },
	}
}

func (r *region) pair(t *testing.T, id identity.Identity, issued time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.authority.Issue(request(t, key), id, enrol.Validity(id.Role), issued)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func request(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// serving is a listener that runs until the test ends.
type serving struct {
	*wire.Listener
	target wire.Target
	raft   net.Listener // nil unless asked for
	reg    *prometheus.Registry
	stop   func() error
}

type options struct {
	cfg     func(*wire.Config)
	ln      net.Listener
	raft    bool
	handler http.Handler
	revoked func(wire.Peer) bool
	issued  time.Time
	as      identity.Identity // zero: the region's server s1
}

func (r *region) serve(t *testing.T, o options) *serving {
	t.Helper()
	if o.issued.IsZero() {
		o.issued = time.Now()
	}
	cfg := wire.DefaultConfig()
	if o.cfg != nil {
		o.cfg(&cfg)
	}
	if o.handler == nil {
		o.handler = http.HandlerFunc(whoami)
	}
	reg := prometheus.NewRegistry()
	as := cmp.Or(o.as, r.node(identity.Server, "s1"))
	creds := r.creds(t, as, o.issued)
	var l *wire.Listener
	var err error
	if o.ln != nil {
		l, err = wire.NewListener(o.ln, creds, cfg, quiet, reg)
	} else {
		l, err = wire.Listen(t.Context(), "127.0.0.1:0", creds, cfg, quiet, reg)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &serving{Listener: l, target: wire.Target{Name: as.Name, Address: l.Addr().String()}, reg: reg}
	if o.raft {
		s.raft = l.Raft()
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, wire.Service{Handler: o.handler, Revoked: o.revoked}) }()
	stopped := false
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// whoami answers with the peer and whether it lapsed.
func whoami(w http.ResponseWriter, r *http.Request) {
	peer := wire.PeerOf(r)
	io.WriteString(w, peer.String())
	if peer.Lapsed {
		io.WriteString(w, " lapsed")
	}
}

// A test that runs under both of these names runs once with HTTP/2 over TCP and
// once with HTTP/3 over QUIC: dialer makes dialers that know only that way.
const (
	overTCP  = string(wire.OverTCP)
	overQUIC = string(wire.OverQUIC)
)

// isOver says which of its two runs a test is in.
func isOver(t *testing.T, way wire.Way) bool {
	t.Helper()
	return slices.Contains(strings.Split(t.Name(), "/"), string(way))
}

func dialer(t *testing.T, creds wire.Credentials, change func(*wire.DialConfig)) *wire.Dialer {
	t.Helper()
	cfg := wire.DefaultDialConfig()
	cfg.Suspect = time.Minute // nothing is wrong with a machine that stands still
	if isOver(t, wire.OverTCP) {
		cfg.QUIC = false
	}
	if isOver(t, wire.OverQUIC) {
		cfg.HeadStart = time.Hour
	}
	if change != nil {
		change(&cfg)
	}
	d, err := wire.NewDialer(creds, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// transport is closed when the test ends.
func transport(t *testing.T, d *wire.Dialer, target wire.Target) *wire.Transport {
	t.Helper()
	tr := d.Transport(target)
	t.Cleanup(func() {
		if err := tr.Close(); err != nil && !strings.Contains(err.Error(), net.ErrClosed.Error()) {
			t.Errorf("close transport: %v", err)
		}
	})
	return tr
}

func get(ctx context.Context, rt http.RoundTripper, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://region"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}
