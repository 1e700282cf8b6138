// Package mdns is how the boxes of one LAN hint at one another, and how devices
// find a box by a one-label name.
//
// A box announces itself by DNS-SD (RFC 6763), browses for others every now and
// then, and listens to what they announce meanwhile. What it hears are hints: an
// address at which a box may be. A hint proves nothing. Anybody on a LAN can
// announce anything, so whoever uses one must have the other end show its
// certificate first, and nothing secret is announced.
//
// The package also answers for host names, see package hostname: "preau.local",
// for which all boxes answer, and a name of each box's own.
//
// Services are announced and browsed for by grandcat/zeroconf, which is used
// here only. What it does not do is done around it: a new registration when an
// interface comes, browsing afresh, hints that age, goodbyes. Multicast may be
// dropped by access points and between VLANs; a box then has no hints, which is
// no error, and its user needs other ways to know its neighbours.
//
// Answers about services are zeroconf's, and it bounds neither their rate nor
// who may ask. Answers about host names are bounded.
//
// Metrics: preau_mdns_packets_total{kind="query|response|malformed|foreign"},
// preau_mdns_hints, preau_mdns_browses_total{result="ok|failed|alone"},
// preau_mdns_renamed_total.
package mdns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Service is what boxes announce for one another.
const Service = "_preau._tcp"

// hostPrefix begins the names of boxes as hosts; it is in Service too.
const hostPrefix = "preau"

// httpService is what is announced for people.
const httpService = "_http._tcp"

// Hint says where a box may be. A box that is heard on two interfaces is two
// hints.
type Hint struct {
	Instance  string
	Addrs     []netip.AddrPort // sorted, at least one; with a zone where one is needed
	Text      []string
	Interface string    // where it was heard
	Seen      time.Time // when it was heard last
}

// MDNS announces a box and hears of others. Its methods may be called at any
// time by anybody.
type MDNS struct {
	cfg   Config
	host  string // label that the services point to
	log   *slog.Logger
	met   *metrics
	heard chan struct{}

	mu    sync.Mutex
	table *table
	own   string
}

// New checks cfg and registers metrics; it opens nothing.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*MDNS, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("mdns config: %w", err)
	}
	cfg.Interfaces, cfg.Text = slices.Clone(cfg.Interfaces), slices.Clone(cfg.Text)
	m := &MDNS{
		cfg: cfg, host: hostLabel(cfg.Instance), log: log.With("part", "mdns"),
		heard: make(chan struct{}, 1), table: newTable(cfg.Instance),
	}
	var err error
	if m.met, err = newMetrics(reg, func() float64 { return float64(len(m.Hints())) }); err != nil {
		return nil, err
	}
	return m, nil
}

// hostLabel is a host name that is as unique as the instance is, and that nobody
// has chosen.
func hostLabel(instance string) string {
	sum := sha256.Sum256([]byte(instance))
	return hostPrefix + "-" + hex.EncodeToString(sum[:6])
}

// Run announces, browses and answers until ctx ends, says goodbye within a
// second and returns nil. Without a network, or with one that drops multicast,
// it goes on trying. A registration that is younger than four seconds at the end
// has a goroutine in zeroconf that nothing can stop: Run waits for it.
func (m *MDNS) Run(ctx context.Context) error {
	newRun(m).loop(ctx)
	m.mu.Lock()
	m.table.clear()
	m.own = ""
	m.mu.Unlock()
	return nil
}

// Hints returns what is known now, by instance and interface: boxes that
// announced themselves and have not missed three browses since. There are never
// more than 64, and this box is not among them.
func (m *MDNS) Hints() []Hint {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table.hints()
}

// Heard gets a value, if it has none yet, when a hint came, changed or went, or
// when a box announced itself again.
func (m *MDNS) Heard() <-chan struct{} { return m.heard }

// OwnName is the label that this box alone answers for: Config.Own, or that with
// a number if another had it first. It is "" until the box is sure of one.
func (m *MDNS) OwnName() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own
}

// tell lets the user of Heard know.
func (m *MDNS) tell() {
	select {
	case m.heard <- struct{}{}:
	default: // told already
	}
}
