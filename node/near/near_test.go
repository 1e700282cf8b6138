package near_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/node/control"
	"preau/node/follow"
	"preau/node/near"
	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const school = "0690001A"

// patience is how long a test waits for what would otherwise never come.
const patience = time.Minute

// world is a region with its boxes on this machine.
type world struct {
	t         *testing.T
	id        identity.Region
	authority *enrol.Authority

	mu    sync.Mutex
	key   []byte
	at    map[identity.Name][]netip.AddrPort // where boxes said that they are
	gone  map[identity.Name]bool             // revoked
	keys  map[identity.Name]identity.Key
	boxes []*box
}

type box struct {
	*near.Boxes
	w       *world
	id      identity.Identity
	creds   wire.Credentials
	changed chan struct{}
	goOn    chan struct{} // lets a slow answer end
	kept    follow.School
	told    []control.BoxReport // the region, by this box
	deaf    int                 // how often the region is still not to be reached
	stop    func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	id := identity.NewRegion()
	authority, err := enrol.NewAuthority(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	w := &world{
		t: t, id: id, authority: authority, key: slices.Repeat([]byte{7}, 32),
		at: map[identity.Name][]netip.AddrPort{}, gone: map[identity.Name]bool{}, keys: map[identity.Name]identity.Key{},
	}
	t.Cleanup(func() {
		for _, b := range w.boxes {
			b.stop()
		}
	})
	return w
}

func (w *world) credentials(id identity.Identity) wire.Credentials {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		w.t.Fatal(err)
	}
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	text, err := w.authority.Issue(request, id, enrol.Validity(id.Role), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	raw, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(raw.Bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.keys[id.Name] = identity.KeyOf(leaf)
	w.mu.Unlock()
	pair := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return wire.Credentials{
		Region: w.id, Roots: []*x509.Certificate{w.authority.Certificate()},
		Certificate: func() (*tls.Certificate, error) { return pair, nil },
	}
}

// start runs a box, which serves its name.
func (w *world) start(name, school string, change ...func(*near.Config)) *box {
	w.t.Helper()
	id := identity.Identity{Region: w.id, Role: identity.Box, Name: identity.Name(name), School: identity.School(school)}
	b := &box{w: w, id: id, creds: w.credentials(id), changed: make(chan struct{}, 1), goOn: make(chan struct{})}
	w.run(b, change...)
	return b
}

func (w *world) run(b *box, change ...func(*near.Config)) {
	w.t.Helper()
	cfg := near.DefaultConfig()
	cfg.Listen, cfg.Gossip, cfg.Interfaces = "127.0.0.1:0", "127.0.0.1:0", []string{"no-such-interface"}
	for _, f := range change {
		f(&cfg)
	}
	self := near.Self{
		Version: "test", Room: func() near.Room { return near.Room{Weight: 1 << 30, Free: 1 << 29} },
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, string(b.id.Name))
			if r.URL.Path == "/o/slow/" {
				_ = http.NewResponseController(rw).Flush()
				<-b.goOn
				_, _ = io.WriteString(rw, " and more")
			}
		}),
	}
	var err error
	if b.Boxes, err = near.New(cfg, self, b, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stopped := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("%s: Run: %v", b.id.Name, err)
		}
	})
	b.stop = stopped
	w.boxes = append(w.boxes, b)
}

// The box as near.Region.

func (b *box) Identity() identity.Identity    { return b.id }
func (b *box) Credentials() wire.Credentials  { return b.creds }
func (b *box) SchoolChanged() <-chan struct{} { return b.changed }

func (b *box) School() (follow.School, error) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	return b.kept, nil
}

func (b *box) KeepSchool(s follow.School) error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.kept = s
	return nil
}

// AskSchool tells every box of any school: that they keep apart is not to depend
// on the region.
func (b *box) AskSchool(context.Context, []netip.AddrPort) ([]byte, map[string][]netip.AddrPort, error) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	others := map[string][]netip.AddrPort{}
	for name, at := range b.w.at {
		if name != b.id.Name {
			others[string(name)] = at
		}
	}
	return b.w.key, others, nil
}

func (b *box) Peer(name identity.Name) (identity.Key, error) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	if b.w.gone[name] {
		return identity.Key{}, wire.ErrRevoked
	}
	return b.w.keys[name], nil
}

func (b *box) Admits(p wire.Peer) bool {
	key, err := b.Peer(p.Name)
	return err == nil && p.Role == identity.Box && p.School == b.id.School && (key == identity.Key{} || key == p.Key)
}

func (b *box) TellReports(_ context.Context, list []control.BoxReport) error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	if b.deaf > 0 {
		b.deaf--
		return io.ErrUnexpectedEOF
	}
	b.told = append(b.told, list...)
	return nil
}

// reports is what the region was told by the box.
func (b *box) reports() []control.BoxReport {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	return slices.Clone(b.told)
}

// publish has the region tell the others where the box is, once it listens.
func (b *box) publish() {
	b.w.t.Helper()
	b.w.until(func() bool { return b.Status().Gossip != "" }, "%s never gossips", b.id.Name)
	at := netip.MustParseAddrPort(b.Status().Gossip)
	b.w.mu.Lock()
	b.w.at[b.id.Name] = []netip.AddrPort{at}
	b.w.mu.Unlock()
	for _, other := range b.w.boxes {
		other.poke()
	}
}

func (b *box) poke() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (w *world) until(done func() bool, format string, args ...any) {
	w.t.Helper()
	over := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-over:
			w.t.Fatalf(format, args...)
		}
	}
}

// sees reports who b would ask.
func (b *box) sees() string {
	others, _ := b.Order("any key")
	var names []string
	for _, o := range others {
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// ask gets what a neighbour serves.
func (b *box) ask(name string) (string, error) {
	body, err := b.open(name, "/o/x/")
	if err != nil {
		return "", err
	}
	defer body.Close()
	p, err := io.ReadAll(body)
	return string(p), err
}

func (b *box) open(name, path string) (io.ReadCloser, error) {
	others, _ := b.Order("any key")
	for _, o := range others {
		if o.Name != name {
			continue
		}
		r, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodGet, "https://"+name+path, http.NoBody)
		if err != nil {
			return nil, err
		}
		resp, err := o.RoundTripper.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
	return nil, io.EOF
}

func (w *world) meet(boxes ...*box) {
	w.t.Helper()
	for _, b := range boxes {
		b.publish()
	}
	for _, b := range boxes {
		w.until(func() bool { return len(strings.Fields(b.sees())) == len(boxes)-1 }, "%s sees %q", b.id.Name, b.sees())
	}
}

func TestBoxesOfASchoolMeet(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.start("a", school), w.start("b", school), w.start("c", school)
	w.meet(a, b, c)
	if got := a.sees(); got != "b c" {
		t.Errorf("a sees %q", got)
	}
	if got, err := a.ask("b"); got != "b" || err != nil {
		t.Errorf("a asks b and gets %q, %v", got, err)
	}
	// All agree on whose a key is.
	for _, key := range []string{"film", "page", "x", "y", "z"} {
		owners := ""
		for _, box := range []*box{a, b, c} {
			if _, place := box.Order(key); place == 0 {
				owners += string(box.id.Name)
			}
		}
		if len(owners) != 1 {
			t.Errorf("%s belongs to %q", key, owners)
		}
	}
	s := a.Status()
	if len(s.Neighbours) != 2 || s.Neighbours[0].State != near.StateAlive || s.Neighbours[0].Taken == 0 || s.Neighbours[0].Version != "test" || s.Share < .3 || s.Share > .4 {
		t.Errorf("status %+v", s)
	}
	w.until(func() bool { return b.Status().Neighbours[0].Given > 0 }, "b does not know that it gave anything")
	// One that leaves is gone.
	c.stop()
	w.until(func() bool { return a.sees() == "b" && b.sees() == "a" }, "a sees %q, b %q after c has left", a.sees(), b.sees())
}

func TestABoxOfAnotherSchoolIsNoNeighbour(t *testing.T) {
	w := newWorld(t)
	a, b, foreign := w.start("a", school), w.start("b", school), w.start("foreign", "0690002B")
	foreign.publish()
	w.meet(a, b)
	// It reaches the port, with a good certificate of the same region.
	d, err := wire.NewDialer(foreign.creds, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	tr := d.Transport(wire.Target{Name: "a", Address: a.Status().Listens, Role: identity.Box, School: school})
	defer tr.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a/o/x/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := tr.RoundTrip(r); err == nil {
		_ = resp.Body.Close()
		t.Errorf("it is answered: %s", resp.Status)
	}
	if a.sees() != "b" || foreign.sees() != "" {
		t.Errorf("a sees %q, the foreign box %q", a.sees(), foreign.sees())
	}
}

func TestARevokedBoxIsOut(t *testing.T) {
	w := newWorld(t)
	a, b, thief := w.start("a", school), w.start("b", school), w.start("thief", school)
	w.meet(a, b, thief)
	w.mu.Lock()
	w.gone["thief"] = true
	w.key = slices.Repeat([]byte{8}, 32) // another key, which it does not get
	w.mu.Unlock()
	a.poke()
	b.poke()
	w.until(func() bool { return a.sees() == "b" && b.sees() == "a" }, "a sees %q, b %q", a.sees(), b.sees())
	if got, err := thief.ask("a"); err == nil {
		t.Errorf("the revoked box asks a and gets %q", got)
	}
}

// TestWhatABoxSendsGoesOn: a box is known before the region has told its key, and
// when it does nothing on its way is cut off.
func TestWhatABoxSendsGoesOn(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", school), w.start("b", school)
	w.mu.Lock()
	key := w.keys["b"]
	w.keys["b"] = identity.Key{}
	w.mu.Unlock()
	w.meet(a, b)
	body, err := a.open("b", "/o/slow/")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	w.mu.Lock()
	w.keys["b"] = key
	w.mu.Unlock()
	a.poke()
	w.until(func() bool { return a.sees() == "b" && len(a.changed) == 0 }, "a sees %q", a.sees())
	if got, err := a.ask("b"); got != "b" || err != nil {
		t.Errorf("a asks b and gets %q, %v", got, err)
	}
	close(b.goOn)
	if p, err := io.ReadAll(body); string(p) != "b and more" || err != nil {
		t.Errorf("what was on its way ended as %q, %v", p, err)
	}
}

func TestWhoServesWrongBytesIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", school), w.start("b", school)
	w.meet(a, b)
	w.mu.Lock()
	a.deaf = 1 // the region is told when it can be
	w.mu.Unlock()
	a.Report("b", "altered block")
	a.Report("b", "altered block")
	if a.sees() != "" {
		t.Errorf("a still asks %q", a.sees())
	}
	w.until(func() bool { return len(a.reports()) > 0 && !a.Status().Neighbours[0].Reported.IsZero() }, "the region is never told: %+v", a.Status())
	if told := a.reports(); len(told) != 1 || told[0].Box != "b" || told[0].Why != "altered block" || told[0].Times != 1 || told[0].Ago < 0 || told[0].Ago > patience {
		t.Errorf("the region was told %+v", told)
	}
	s := a.Status()
	if len(s.Neighbours) != 1 || s.Neighbours[0].State != near.StateQuarantined || s.Neighbours[0].Why != "altered block" {
		t.Errorf("status %+v", s)
	}
	if b.sees() != "a" {
		t.Errorf("b sees %q", b.sees())
	}
}

func TestABoxThatDrainsOwnsNothing(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", school), w.start("b", school)
	w.meet(a, b)
	b.Drain(true)
	owns := func(box *box) (n int) {
		for _, key := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
			if _, place := box.Order(key); place == 0 {
				n++
			}
		}
		return n
	}
	w.until(func() bool { return owns(a) == 8 && owns(b) == 0 }, "a owns %d of 8, b %d", owns(a), owns(b))
	if a.sees() != "b" {
		t.Errorf("a can't ask b for what it has: sees %q", a.sees())
	}
	b.Drain(false)
	w.until(func() bool { return owns(a)+owns(b) == 8 && owns(b) > 0 }, "a owns %d of 8, b %d after the end", owns(a), owns(b))
}

// TestALostBoxComesBack: who does not answer is not asked until it has proven
// itself again.
func TestALostBoxComesBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", school), w.start("b", school)
	w.meet(a, b)
	a.Lost("b")
	w.until(func() bool { return a.sees() == "b" }, "b never came back")
	// Killed and started again at another address, with what it knew before.
	b.stop()
	w.until(func() bool { return a.sees() == "" }, "a sees %q", a.sees())
	w.run(b)
	w.meet(a, b)
	if got, err := a.ask("b"); got != "b" || err != nil {
		t.Errorf("a asks b and gets %q, %v", got, err)
	}
}

func TestBadConfig(t *testing.T) {
	for name, change := range map[string]func(*near.Config){
		"neighbours.listen":   func(c *near.Config) { c.Listen = "4434" },
		"neighbours.gossip":   func(c *near.Config) { c.Gossip = ":77777" },
		"neighbours.name":     func(c *near.Config) { c.Name = "preau.local" },
		"neighbours.boxes[1]": func(c *near.Config) { c.Boxes = []string{"10.0.0.1"} },
	} {
		cfg := near.DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(name, "[1]")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	off := near.Config{}
	if err := off.Validate(); err != nil {
		t.Errorf("turned off: %v", err)
	}
}
