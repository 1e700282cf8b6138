package simtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"preau/replication/catalogue"
	"preau/replication/consensus/consensustest"
	"preau/replication/feed"
	"preau/replication/identity"
)

// What is promised, in simulated time.
const (
	// decideWithin is how long a server looks for a decision (node/region).
	decideWithin = 15 * time.Second
	// purgedWithin is how long a purge takes to every box that is connected, from
	// when it was decided, as long as nothing is wrong.
	purgedWithin = 4 * time.Second
	// revokedWithin is after how long nothing that was decided gets to a box that
	// was revoked.
	revokedWithin = 5 * time.Second
	// settledWithin is how long everything takes to come right once nothing is
	// wrong any more.
	settledWithin = 4 * time.Minute
	// skew is how wrong clocks of servers may be.
	skew = 48 * time.Hour
)

var quiet = func() *slog.Logger {
	if os.Getenv("PREAU_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}()

// world is a region with its boxes, to which bad things happen.
type world struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand // of what happens
	ca   *authority
	born time.Time
	net  *consensustest.Network

	servers    []*server
	boxes      []*box
	byName     map[string]*box
	schools    []identity.School
	feedConfig feed.Config
	home       time.Duration
	founding   string // the server that begins the region
	oracle     *oracle
	origin     *origin
	life       int // of the region: how often it was recovered
	round      int

	cuts map[[2]string]bool // hosts, from and to; the director's

	stopClients context.CancelFunc
	clients     sync.WaitGroup

	mu       sync.Mutex
	calls    []call
	accesses map[registerKey][]porcupine.Operation
	values   atomic.Int64 // that were written to registers
	ids      int
	counts   map[string]int
	steps    []string
	failures int
}

func newWorld(t *testing.T, seed uint64, ca *authority, names []string, boxes int) *world {
	t.Helper()
	w := &world{
		t: t, seed: seed, ca: ca, rng: rand.New(rand.NewPCG(seed, 0)), born: time.Now(), net: consensustest.NewNetwork(seed),
		byName: map[string]*box{}, schools: []identity.School{"0690001A", "0290002B", "0750003C", "0130004D"},
		origin: newOrigin(), cuts: map[[2]string]bool{}, accesses: map[registerKey][]porcupine.Operation{}, counts: map[string]int{},
	}
	w.oracle = newOracle(w)
	w.feedConfig = feed.DefaultConfig()
	w.home = 5 * time.Minute
	if w.rng.IntN(2) == 0 {
		// So little memory and so few turns that most is read from the catalogue.
		w.feedConfig.RecentBytes, w.feedConfig.CacheBytes, w.feedConfig.CatchUps = 1<<16, 1<<16, 2
	}
	for _, name := range names {
		w.servers = append(w.servers, newServer(w, name))
	}
	for i := range boxes {
		b := newBox(w, fmt.Sprint("box-", i), w.schools[i%len(w.schools)])
		w.boxes, w.byName[string(b.id.Name)] = append(w.boxes, b), b
	}
	return w
}

// fail notes what should not be. It may be called by any goroutine.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failures++; w.failures <= 20 {
		w.t.Errorf("seed %d, %s: %s", w.seed, time.Since(w.born).Round(time.Millisecond), fmt.Sprintf(format, args...))
	}
}

func (w *world) check(err error, what string) {
	if err != nil {
		w.fail("%s: %v", what, err)
	}
}

// ended takes what Serve says when its server was closed.
func (w *world) ended(err error, what string) {
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		w.check(err, what)
	}
}

// trace notes what was done, for whoever reads a failure.
func (w *world) trace(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, fmt.Sprintf("%10s %s", time.Since(w.born).Round(time.Millisecond), fmt.Sprintf(format, args...)))
}

func (w *world) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what] += n
}

// id is one that was never there.
func (w *world) id(of string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprint(of, w.ids)
}

func (w *world) box(name string) *box { return w.byName[name] }

// revokes is the box that a revocation is of.
func (w *world) revokes(r catalogue.Record) (identity.Name, bool) {
	if r.Kind != catalogue.KindRevocation {
		return "", false
	}
	for _, b := range w.boxes {
		if r.ID == catalogue.RevocationID(identity.Box, string(b.id.Name)) {
			return b.id.Name, true
		}
	}
	return "", false
}

func addresses(host string) []string {
	if strings.HasPrefix(host, "box-") {
		return []string{host}
	}
	return []string{raftAt(host), httpAt(host)}
}

// hosts are the names of everybody.
func (w *world) hosts() []string {
	var out []string
	for _, s := range w.servers {
		out = append(out, s.name)
	}
	return slices.AppendSeq(out, maps.Keys(w.byName))
}

// cut parts one host from another in one direction.
func (w *world) cut(from, to string) {
	w.cuts[[2]string{from, to}] = true
	for _, a := range addresses(from) {
		for _, b := range addresses(to) {
			w.net.Cut(a, b)
		}
	}
}

// part parts two hosts.
func (w *world) part(a, b string) {
	w.cut(a, b)
	w.cut(b, a)
}

// isolate parts a host from everybody.
func (w *world) isolate(host string) {
	for _, other := range w.hosts() {
		if other != host {
			w.part(host, other)
		}
	}
}

// uncut mends what parts a host, or all for none. The network mends everything
// or nothing: for a moment nothing is cut.
func (w *world) uncut(host string) {
	before := len(w.cuts)
	maps.DeleteFunc(w.cuts, func(c [2]string, _ bool) bool { return host == "" || c[0] == host || c[1] == host })
	if len(w.cuts) == before {
		return
	}
	w.net.Heal()
	for c := range w.cuts {
		w.cut(c[0], c[1])
	}
}

// heal mends the network, but for those that were killed.
func (w *world) heal() {
	w.uncut("")
	w.net.SetDelay(0, 0)
	w.net.SetLoss(0)
	for _, s := range w.servers {
		if s.run.Load() == nil {
			w.isolate(s.name)
		}
	}
	for _, b := range w.boxes {
		if b.run == nil {
			w.isolate(string(b.id.Name))
		}
	}
}

// ask is a command of the world's own, which must be decided.
func (w *world) ask(ops ...catalogue.Op) catalogue.Result {
	for range 20 {
		result, ok := w.command(context.Background(), w.rng, ops...)
		if !ok {
			continue
		}
		if result.Code != "" {
			w.fail("refused: %s %s", result.Code, result.Detail)
		}
		return result
	}
	w.give("the region decides nothing")
	return catalogue.Result{}
}

// leader waits for the server that leads.
func (w *world) leader() *running {
	for range 600 {
		for _, s := range w.servers {
			r := s.run.Load()
			if r == nil || !r.node.IsLeader() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := r.node.ReadIndex(ctx)
			cancel()
			if err == nil {
				return r
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, s := range w.servers {
		if r := s.run.Load(); r != nil {
			w.trace("%s: %+v", s.name, r.node.Stats())
		}
	}
	w.give("no leader in a minute")
	return nil
}

// give up a world that can't go on: nobody could end what runs in it.
func (w *world) give(why string) {
	panic(fmt.Sprintf("seed %d: %s\n%s", w.seed, why, w.story()))
}

func (w *world) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.steps, "\n")
}
