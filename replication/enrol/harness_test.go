package enrol_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// registry is a Registry in memory.
type registry struct {
	region identity.Region

	mu      sync.Mutex
	tokens  map[enrol.TokenID]enrol.TokenRecord
	nodes   map[identity.Identity]enrolled
	revoked map[identity.Identity]bool
	lapse   bool  // lapsed nodes may renew
	broken  error // what everything answers
	renewed int
	asked   []enrol.Return
}

type enrolled struct {
	token enrol.TokenID
	key   identity.Key
}

func (g *registry) Redeem(_ context.Context, r enrol.Redemption) (identity.Identity, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return identity.Identity{}, g.broken
	}
	record, ok := g.tokens[r.Token]
	if !ok {
		return identity.Identity{}, enrol.ErrTokenUnknown
	}
	if err := record.CheckSecret(r); err != nil {
		return identity.Identity{}, err
	}
	id := identity.Identity{Region: g.region, Role: r.Role, Name: r.Name, School: record.School}
	had, taken := g.nodes[id]
	if taken && had == (enrolled{r.Token, r.Key}) {
		return id, nil
	}
	used := 0
	for _, node := range g.nodes {
		if node.token == r.Token {
			used++
		}
	}
	if err := record.Check(r, used, time.Now()); err != nil {
		return identity.Identity{}, err
	}
	if taken {
		return identity.Identity{}, enrol.ErrNameTaken
	}
	g.nodes[id] = enrolled{r.Token, r.Key}
	return id, nil
}

func (g *registry) Renewable(_ context.Context, peer wire.Peer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.broken != nil:
		return g.broken
	case g.revoked[peer.Identity]:
		return enrol.ErrRevoked
	case peer.Lapsed && !g.lapse:
		return enrol.ErrLapsed
	}
	g.renewed++
	return nil
}

func (g *registry) TakeBack(_ context.Context, r enrol.Return) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return false, g.broken
	}
	for id, node := range g.nodes {
		if id.Role != identity.Box || id.Name != r.Name || node.token != r.Token {
			continue
		}
		if g.revoked[id] {
			return false, enrol.ErrRevoked
		}
		g.asked = append(g.asked, r)
		made, ok := g.tokens[r.New]
		return ok && made.Secret == r.Secret, nil
	}
	return false, enrol.ErrTokenUnknown
}

func (g *registry) set(change func(*registry)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

// region is one server of a region, with its registry.
type region struct {
	registry  *registry
	store     *enrol.Store
	authority *enrol.Authority
	target    wire.Target
	stop      func()
}

type options struct {
	ln      net.Listener
	wrap    func(http.Handler) http.Handler
	founded time.Time
	revoked func(wire.Peer) bool
}

func newRegion(t *testing.T, o options) *region {
	t.Helper()
	if o.founded.IsZero() {
		o.founded = time.Now()
	}
	if o.ln == nil {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.ln = ln
	}
	target := wire.Target{Name: "s1", Address: o.ln.Addr().String()}
	store, err := enrol.Found(t.TempDir(), identity.NewRegion(), "s1", []wire.Target{target}, o.founded)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := store.OpenAuthority(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &region{store: store, authority: authority, target: target, registry: &registry{
		region: store.Identity().Region, tokens: map[enrol.TokenID]enrol.TokenRecord{},
		nodes: map[identity.Identity]enrolled{}, revoked: map[identity.Identity]bool{},
	}}
	handler, err := enrol.NewHandler(enrol.Keys{
		Authority: func() (*enrol.Authority, error) { return authority, nil },
		Secret:    func() (enrol.Secret, error) { return store.Secret(), nil },
		Servers:   func() []wire.Target { return []wire.Target{target} },
	}, r.registry, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler = handler
	if o.wrap != nil {
		h = o.wrap(h)
	}
	cfg := wire.DefaultConfig()
	cfg.Sweep = time.Hour // these tests last for months
	l, err := wire.NewListener(o.ln, store.Credentials(), cfg, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, wire.Service{Handler: h, Revoked: o.revoked}) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// token is one for a box of the school 0690001A, good for an hour.
func (r *region) token(t *testing.T, change func(*enrol.TokenRecord)) enrol.Token {
	t.Helper()
	token, err := enrol.NewToken(r.registry.region, r.authority.Pin(), []string{r.target.Address})
	if err != nil {
		t.Fatal(err)
	}
	record := enrol.TokenRecord{
		ID: token.ID, Secret: token.Hash(), Role: identity.Box, School: "0690001A",
		NotAfter: time.Now().Add(time.Hour), Uses: 1,
	}
	if change != nil {
		change(&record)
	}
	r.registry.set(func(g *registry) { g.tokens[token.ID] = record })
	return token
}

var aBox = enrol.Ask{Role: identity.Box, Name: "b1"}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func requestFor(tb testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	tb.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func parse(tb testing.TB, text []byte) *x509.Certificate {
	tb.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		tb.Fatal("no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// plain asks for nothing.
var plain = &x509.CertificateRequest{}

func quote(s string) string {
	return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"`
}
