package gossip

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Boxes wait for one another and hardly work: more of them fit side by side
	// than there are processors.
	if flag.Lookup("test.fuzz").Value.String() == "" {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// patience is for what happens within milliseconds or seconds on any machine
// that is not broken.
const patience = 60 * time.Second

// world is a LAN on loopback, with a switch for everything: who reaches whom,
// and whose certificates are where.
type world struct {
	t testing.TB

	mu     sync.Mutex
	ports  uint16                    // given out, for certificates
	proof  map[netip.AddrPort]string // which name answers where
	cut    map[[2]string]bool        // by name of the box, both ways
	noUDP  bool                      // filtered
	at     map[netip.AddrPort]string // gossip addresses by nick
	asked  map[string]int            // verifications by name
	byNick map[string]*node
}

// node is a box. Its nick is its own even where its name is not.
type node struct {
	*Gossip
	w    *world
	nick string
	port uint16
	stop context.CancelFunc
	done chan struct{}
	tr   atomic.Pointer[transport]
	logs *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{
		t: tb, ports: 1000, proof: map[netip.AddrPort]string{}, cut: map[[2]string]bool{},
		at: map[netip.AddrPort]string{}, asked: map[string]int{}, byNick: map[string]*node{},
	}
	tb.Cleanup(w.end)
	return w
}

// end ends all boxes at once.
func (w *world) end() {
	for _, n := range w.byNick {
		if n.stop != nil {
			n.stop()
		}
	}
	for _, n := range w.byNick {
		n.end()
		if w.t.Failed() {
			w.t.Logf("%s says:\n%s", n.nick, n.logs)
		}
	}
}

var (
	keyA = bytes.Repeat([]byte{0xA1}, keySize)
	keyB = bytes.Repeat([]byte{0xB2}, keySize)
)

// box makes a box and runs it until the test ends.
func (w *world) box(name string, with ...func(*Config, *State, *node)) *node {
	w.t.Helper()
	n := w.make(name, with...)
	n.run()
	return n
}

func (w *world) make(name string, with ...func(*Config, *State, *node)) *node {
	w.t.Helper()
	w.mu.Lock()
	w.ports++
	port := w.ports
	w.mu.Unlock()
	n := &node{w: w, nick: name, port: port, done: make(chan struct{}), logs: &safeBuffer{}}
	cfg := DefaultConfig()
	cfg.Name, cfg.School, cfg.Listen, cfg.Keys = name, "collège Jean-Moulin", "127.0.0.1:0", [][]byte{keyA}
	cfg.RejoinEvery = time.Second
	state := State{Port: port, Weight: 1000, Version: "v1"}
	for _, f := range with {
		f(&cfg, &state, n)
	}
	log := slog.New(slog.NewTextHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g, err := New(cfg, state, w.verifier(n), log, prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	g.wrap = func(t memberlist.NodeAwareTransport) memberlist.NodeAwareTransport {
		tr := t.(*transport)
		n.tr.Store(tr)
		w.mu.Lock()
		w.at[tr.tell] = n.nick
		w.mu.Unlock()
		return &faulty{NodeAwareTransport: t, n: n}
	}
	if _, measured := w.t.(*testing.B); !measured {
		g.pace.address, g.pace.sayLater, g.pace.gossip = time.Second, 300*time.Millisecond, 50*time.Millisecond
	}
	n.Gossip = g
	w.mu.Lock()
	w.proof[loop(state.Port)] = cfg.Name
	w.byNick[n.nick] = n
	w.mu.Unlock()
	return n
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			n.w.t.Errorf("%s: Run: %v", n.nick, err)
		}
	}()
	n.w.until(n.nick+" listens", func() bool { return n.Addr().IsValid() })
}

// end stops a box as an operator would.
func (n *node) end() {
	if n.stop == nil {
		return
	}
	n.stop()
	select {
	case <-n.done:
	case <-time.After(patience):
		n.w.t.Errorf("%s does not end", n.nick)
	}
}

// kill takes the power from a box: nothing goes in or out any more.
func (n *node) kill() {
	w := n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for other := range w.byNick {
		w.cut[[2]string{n.nick, other}], w.cut[[2]string{other, n.nick}] = true, true
	}
	delete(w.proof, loop(n.port))
}

func loop(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// part cuts the connection between groups of boxes; mend mends all.
func (w *world) part(left, right []*node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range left {
		for _, r := range right {
			w.cut[[2]string{l.nick, r.nick}], w.cut[[2]string{r.nick, l.nick}] = true, true
		}
	}
}

func (w *world) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
}

func (w *world) proves(addr netip.AddrPort, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name == "" {
		delete(w.proof, addr)
		return
	}
	w.proof[addr] = name
}

var errForeign = errors.New("certificate is for somebody else")

func (w *world) verifier(n *node) Verifier {
	return func(_ context.Context, name string, addr netip.AddrPort) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked[name]++
		who, ok := w.proof[addr]
		for nick, other := range w.byNick {
			if other.port == addr.Port() && w.cut[[2]string{n.nick, nick}] {
				ok = false
			}
		}
		switch {
		case !ok:
			return fmt.Errorf("dial %s: connection refused", addr)
		case who != name:
			return errForeign
		}
		return nil
	}
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if ok() {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func names(ms []Member) string {
	var out []string
	for _, m := range ms {
		out = append(out, m.Name)
	}
	return strings.Join(out, " ")
}

// see waits until a box has just these members.
func (n *node) see(want ...string) {
	n.w.t.Helper()
	slices.Sort(want)
	w := strings.Join(want, " ")
	n.w.until(fmt.Sprintf("%s sees [%s]", n.nick, w), func() bool { return names(n.Members()) == w })
}

func (n *node) member(name string) (Member, bool) { return find(n.Members(), name) }

func find(ms []Member, name string) (Member, bool) {
	i := slices.IndexFunc(ms, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return ms[i], true
}

func (n *node) why(name string) string {
	m, _ := find(n.All(), name)
	return m.Why
}

// meet makes boxes that all see one another.
func (w *world) meet(names ...string) []*node {
	w.t.Helper()
	var out []*node
	for _, name := range names {
		n := w.box(name)
		if len(out) > 0 {
			n.Hint(out[0].Addr())
		}
		out = append(out, n)
	}
	for _, n := range out {
		n.see(slices.DeleteFunc(slices.Clone(names), func(x string) bool { return x == n.nick })...)
	}
	return out
}

// faulty is a transport that the world can cut.
type faulty struct {
	memberlist.NodeAwareTransport
	n *node
}

func (f *faulty) cut(addr string, udp bool) bool {
	f.n.w.mu.Lock()
	defer f.n.w.mu.Unlock()
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return false
	}
	return udp && f.n.w.noUDP || f.n.w.cut[[2]string{f.n.nick, f.n.w.at[to]}]
}

func (f *faulty) WriteTo(b []byte, addr string) (time.Time, error) {
	return f.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (f *faulty) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if f.cut(a.Addr, true) {
		return time.Now(), nil
	}
	return f.NodeAwareTransport.WriteToAddress(b, a)
}

func (f *faulty) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return f.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (f *faulty) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if f.cut(a.Addr, false) {
		wait := time.NewTimer(timeout)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-f.n.tr.Load().done:
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
	}
	return f.NodeAwareTransport.DialAddressTimeout(a, timeout)
}
