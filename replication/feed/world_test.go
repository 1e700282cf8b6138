package feed

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
	"preau/replication/kv/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	here   = identity.Region("0123456789abcdef")
	abroad = identity.Region("fedcba9876543210")
	lyon   = identity.School("0690001A")
	brest  = identity.School("0290002B")
)

var quietLog = slog.New(slog.DiscardHandler)

// authority is a region's CA in a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	return authorityFor(tb, time.Unix(0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
}

func authorityFor(tb testing.TB, from, to time.Time) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) issue(tb testing.TB, id identity.Identity) *tls.Certificate {
	tb.Helper()
	return a.issueFor(tb, id, time.Unix(0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
}

func (a *authority) issueFor(tb testing.TB, id identity.Identity, from, to time.Time) *tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{id.URI()},
		NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// ledger is a catalogue in memory, with the rules that matter to the feed.
type ledger struct {
	mu           sync.Mutex
	records      map[recordKey]catalogue.Record
	order        []catalogue.Record // by index, of the latest view; nil when stale
	index, floor uint64
	floorTime    time.Time
	epoch, began uint64
	views        int
}

func newLedger() *ledger {
	return &ledger{records: make(map[recordKey]catalogue.Record), epoch: 1}
}

// put changes one record in an entry of its own and returns what to publish.
// deleted records keep who could see them.
func (l *ledger) put(kind catalogue.Kind, id, body string, deleted bool, audience ...identity.School) (uint64, []catalogue.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	k := recordKey{kind, id}
	old, had := l.records[k]
	if deleted && (!had || old.Deleted) {
		return l.index, nil
	}
	r := catalogue.Record{Kind: kind, ID: id, Index: l.index, At: time.Now(), Deleted: deleted, Body: []byte(body)}
	if deleted {
		r.Body = nil
	} else {
		r.Audience = audience
	}
	if had {
		r.AllFormer = old.AllFormer
		r.Former = slices.Clone(old.Former)
		if !old.Deleted && len(old.Audience) == 0 {
			r.AllFormer = true
		}
		if !old.Deleted {
			r.Former = append(r.Former, old.Audience...)
		}
	}
	l.records[k] = r
	l.order = nil
	return l.index, []catalogue.Record{r}
}

// prune forgets marks, former audiences and purges, of the first entries.
func (l *ledger) prune(upto uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, r := range l.records {
		switch {
		case r.Index > upto:
			continue
		case r.Deleted, r.Kind == catalogue.KindPurge:
			delete(l.records, k)
		default:
			r.Former, r.AllFormer = nil, false
			l.records[k] = r
		}
	}
	l.floor, l.floorTime, l.order = max(l.floor, min(upto, l.index)), time.Now(), nil
}

// sees is what a school may see.
func (l *ledger) sees(s identity.School) map[recordKey]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[recordKey]string)
	for k, r := range l.records {
		if r.SeenBy(s) == catalogue.Visible {
			out[k] = fmt.Sprint(r.Index, " ", string(r.Body))
		}
	}
	return out
}

func (l *ledger) View() (View, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.order == nil {
		l.order = slices.SortedFunc(maps.Values(l.records), func(a, b catalogue.Record) int {
			return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.ID, b.ID))
		})
	}
	l.views++
	return &ledgerView{l, l.order, l.index, l.floor, l.floorTime, l.epoch, l.began}, nil
}

type ledgerView struct {
	l              *ledger
	order          []catalogue.Record
	applied, floor uint64
	floorTime      time.Time
	epoch, began   uint64
}

func (v *ledgerView) Epoch() (epoch, began uint64, err error) { return v.epoch, v.began, nil }
func (v *ledgerView) Applied() (index, term uint64)           { return v.applied, 1 }
func (v *ledgerView) Floor() uint64                           { return v.floor }
func (v *ledgerView) FloorTime() time.Time                    { return v.floorTime }
func (v *ledgerView) Close() error {
	v.l.mu.Lock()
	defer v.l.mu.Unlock()
	v.l.views--
	return nil
}

func (v *ledgerView) Changes(after, upto uint64, fn func(catalogue.Record) bool) error {
	at, _ := slices.BinarySearchFunc(v.order, after+1, func(r catalogue.Record, i uint64) int { return cmp.Compare(r.Index, i) })
	for _, r := range v.order[at:] {
		if r.Index > upto || !fn(r) {
			break
		}
	}
	return nil
}

// disk is a box's store. It can fill up, and die in the middle.
type disk struct {
	t   testing.TB
	mem *kvtest.Memory

	mu   sync.Mutex
	left int // writes that still work; -1: all
	err  error
}

func newDisk(tb testing.TB) *disk {
	tb.Helper()
	return &disk{t: tb, mem: kvtest.NewMemory(), left: -1}
}

func (d *disk) fail(after int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.err = after, err
}

func (d *disk) Get(key []byte) ([]byte, error) {
	v, err := d.mem.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.Get(key)
}

func (d *disk) Scan(prefix, after []byte, fn func(key, value []byte) bool) error {
	v, err := d.mem.View()
	if err != nil {
		return err
	}
	defer v.Close()
	return v.Scan(prefix, after, fn)
}

func (d *disk) Write(changes []Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := 0
	for _, c := range changes {
		size += len(c.Key) + len(c.Value)
	}
	if len(changes) > 10_000 || size > 1<<20 {
		d.t.Errorf("a write of %d changes and %d bytes, which may stop in the middle", len(changes), size)
	}
	if d.left == 0 {
		return d.err
	}
	if d.left > 0 {
		d.left--
	}
	return d.mem.Update(func(tx kv.Tx) error {
		for _, c := range changes {
			var err error
			if c.Delete {
				err = tx.Delete(c.Key)
			} else {
				err = tx.Put(c.Key, c.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// pipes is a listener without a network.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// host is a server that runs.
type host struct {
	t      testing.TB
	name   identity.Name
	server *Server
	pipes  *pipes
	http   *http.Server
	stop   context.CancelFunc
	group  sync.WaitGroup
}

func startHost(tb testing.TB, name string, source Source, ca *authority, change func(*Config)) *host {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.Region, cfg.Name = here, identity.Name(name)
	if change != nil {
		change(&cfg)
	}
	cert := ca.issue(tb, identity.Identity{Region: here, Role: identity.Server, Name: identity.Name(name)})
	peer := func(r *http.Request) (identity.Identity, bool) {
		id, err := identity.Parse(r.Header.Get("Test-Peer"))
		return id, err == nil
	}
	s, err := New(cfg, source, func() (*tls.Certificate, error) { return cert, nil }, peer, quietLog, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	h := &host{t: tb, name: identity.Name(name), server: s, pipes: newPipes()}
	h.http = &http.Server{Handler: s.Handler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	ctx, stop := context.WithCancel(tb.Context())
	h.stop = stop
	h.group.Go(func() {
		if err := s.Run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	// Before that boxes are refused, and come back a good while later.
	for !s.isRunning() {
		runtime.Gosched()
	}
	h.group.Go(func() {
		if err := h.http.Serve(h.pipes); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			tb.Errorf("serve: %v", err)
		}
	})
	return h
}

// end stops the host in an orderly way.
func (h *host) end() {
	h.stop()
	h.server.streams.Wait()
	h.pipes.Close()
	h.http.Close()
	h.group.Wait()
}

// die cuts everything at once.
func (h *host) die() {
	h.pipes.Close()
	h.http.Close()
	h.stop()
	h.group.Wait()
}

// region is what a box in a test knows.
type region struct {
	ca    *authority
	box   identity.Identity
	mu    sync.Mutex
	hosts map[identity.Name]*pipes
	wrap  func(http.RoundTripper) http.RoundTripper
	held  Held
}

func (r *region) Servers() []Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Target
	for _, n := range slices.Sorted(maps.Keys(r.hosts)) {
		out = append(out, Target{Name: n, URL: "http://" + string(n)})
	}
	return out
}

func (r *region) Client(t Target) http.RoundTripper {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.hosts[t.Name]
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
	}
	var rt http.RoundTripper = signed{tr, r.box}
	if r.wrap != nil {
		rt = r.wrap(rt)
	}
	return rt
}

func (r *region) Trust() (*x509.CertPool, time.Time) { return r.ca.pool(), time.Now() }

func (r *region) Held() Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// signed is what mutual TLS is outside of tests.
type signed struct {
	rt http.RoundTripper
	id identity.Identity
}

func (s signed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Test-Peer", s.id.String())
	return s.rt.RoundTrip(r)
}

func boxOf(name string, school identity.School) identity.Identity {
	return identity.Identity{Region: here, Role: identity.Box, Name: identity.Name(name), School: school}
}

// box is a box that runs.
type box struct {
	t        testing.TB
	id       identity.Identity
	disk     *disk
	copy     *Copy
	region   *region
	follower *Follower
	stop     context.CancelFunc
	group    sync.WaitGroup
}

func startBox(tb testing.TB, id identity.Identity, d *disk, ca *authority, change func(*FollowerConfig), hosts ...*host) *box {
	tb.Helper()
	r := &region{ca: ca, box: id, hosts: make(map[identity.Name]*pipes)}
	for _, h := range hosts {
		r.hosts[h.name] = h.pipes
	}
	return runBox(tb, d, r, change)
}

func runBox(tb testing.TB, d *disk, r *region, change func(*FollowerConfig)) *box {
	tb.Helper()
	return runBoxWith(tb, d, r, change, func(*Copy) {})
}

func runBoxWith(tb testing.TB, d *disk, r *region, change func(*FollowerConfig), opened func(*Copy)) *box {
	tb.Helper()
	cfg := DefaultFollowerConfig()
	cfg.Box, cfg.Version = r.box, "1.2"
	if change != nil {
		change(&cfg)
	}
	c, err := OpenCopy(d)
	if err != nil {
		tb.Fatal(err)
	}
	opened(c)
	f, err := NewFollower(cfg, c, r, quietLog, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	b := &box{t: tb, id: r.box, disk: d, copy: c, region: r, follower: f}
	ctx, stop := context.WithCancel(tb.Context())
	b.stop = stop
	b.group.Go(func() {
		if err := f.Run(ctx); err != nil {
			tb.Errorf("follow: %v", err)
		}
	})
	return b
}

func (b *box) end() {
	b.stop()
	b.group.Wait()
}

// holds is what a copy has, in the form of ledger.sees.
func holds(tb testing.TB, c *Copy) map[recordKey]string {
	tb.Helper()
	out := make(map[recordKey]string)
	for k := catalogue.Kind(1); k < 64; k++ {
		err := c.List(k, func(r catalogue.Record) bool {
			out[recordKey{r.Kind, r.ID}] = fmt.Sprint(r.Index, " ", string(r.Body))
			return true
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return out
}
