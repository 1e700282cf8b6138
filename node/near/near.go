// Package near is a box's school: the other boxes on its LAN, as this box finds,
// checks and reaches them.
//
// Hints come from multicast DNS, from the region, from the configuration and from
// what was known before; who is alive is told by gossip; who somebody is, is
// proven by mutual TLS and nothing else: a box of the same school whose
// certificate the region has not taken back. Only such a box is in Order.
//
// The package carries no object itself and decides nothing about what may be
// kept: it says which box a key belongs to (rendezvous hashing over the disks
// that they give to the pool) and gives a way there. Without a region there are
// no certificates, and so no neighbours. Without a network, or with its ports
// taken, it waits and tries again: a box serves its devices all the same.
//
// Metrics: preau_near_boxes{state}, preau_near_bytes_total{direction=given|taken},
// preau_near_reports_total, and those of discovery/mdns, discovery/gossip and the
// listener of replication/wire.
package near

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/discovery/gossip"
	"preau/discovery/mdns"
	"preau/node/control"
	"preau/node/follow"
	"preau/replication/identity"
	"preau/replication/wire"
)

// Region is what is known of the school's boxes by way of the region.
// *follow.Follower is one. Its methods may be called concurrently.
type Region interface {
	Identity() identity.Identity
	Credentials() wire.Credentials
	// School and KeepSchool are what is known without a line.
	School() (follow.School, error)
	KeepSchool(follow.School) error
	AskSchool(ctx context.Context, mine []netip.AddrPort) (key []byte, boxes map[string][]netip.AddrPort, err error)
	SchoolChanged() <-chan struct{}
	// Peer is the key that a box of the school must show; an error says why it is
	// no neighbour.
	Peer(name identity.Name) (identity.Key, error)
	Admits(p wire.Peer) bool
	// TellReports has the region's operators know of boxes that sent wrong bytes.
	TellReports(ctx context.Context, reports []control.BoxReport) error
}

// Room is the disk that a box gives to the school's pool.
type Room struct{ Weight, Free int64 } // bytes

// Self is what this box says of itself.
type Self struct {
	Version  string
	HTTPPort int // where devices connect without TLS; 0: nowhere
	Room     func() Room
	// Handler serves neighbours. It gets requests of boxes of this school only.
	Handler http.Handler
}

// Boxes are the school's other boxes. Its methods may be called concurrently.
type Boxes struct {
	cfg    Config
	self   Self
	region Region
	id     identity.Identity
	log    *slog.Logger
	reg    prometheus.Registerer
	met    *metrics
	dialer *wire.Dialer
	found  found

	gossip   atomic.Pointer[gossip.Gossip] // nil until the school's key is known
	listener atomic.Pointer[wire.Listener] // nil until the port is open
	draining atomic.Bool
	pool     atomic.Pointer[pool] // who is in it now
	changed  chan struct{}        // Order may answer otherwise
	asks     chan struct{}        // the region is to be asked now
	reports  chan struct{}        // the region is to be told of a box

	mu     sync.Mutex
	mdns   *mdns.MDNS      // nil until it is known where neighbours connect
	ways   map[string]*way // by box
	bad    map[string]*bad
	given  map[string]int64    // to each box
	taken  map[string]*counter // from each box
	school follow.School
	keyAt  time.Time // since when the key is another one
}

// New checks everything and opens nothing.
func New(cfg Config, self Self, region Region, log *slog.Logger, reg prometheus.Registerer) (*Boxes, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("neighbours: %w", err)
	}
	if self.Handler == nil || self.Room == nil {
		return nil, errors.New("neighbours: there is nothing to serve them, or no room is told")
	}
	b := &Boxes{
		cfg: cfg, self: self, region: region, id: region.Identity(), log: log.With("part", "near"),
		reg: reg, changed: make(chan struct{}, 1), asks: make(chan struct{}, 1), reports: make(chan struct{}, 1),
		ways: map[string]*way{}, bad: map[string]*bad{}, given: map[string]int64{}, taken: map[string]*counter{},
	}
	b.pool.Store(&pool{})
	var err error
	if b.met, err = newMetrics(reg); err != nil {
		return nil, err
	}
	if b.dialer, err = wire.NewDialer(region.Credentials(), b.dialConfig()); err != nil {
		return nil, err
	}
	return b, nil
}

// dialConfig is that of a LAN: what is not there at once is not there. No proxy
// stands between boxes of one school, and QUIC would only cost more.
func (b *Boxes) dialConfig() wire.DialConfig {
	cfg := wire.DefaultDialConfig()
	cfg.QUIC, cfg.Proxy = false, func(*http.Request) (proxy, error) { return nil, nil } //nolint:nilnil // none
	cfg.DialTimeout, cfg.HandshakeTimeout = 3*time.Second, 5*time.Second
	cfg.DialContext = b.dial
	cfg.Silence, cfg.PingTimeout = silence, 5*time.Second
	return cfg
}

// silence is how long a connection between boxes may be silent before it is asked
// whether the other end is there. That is longer than members take to prove
// themselves anew: to ask each connection every few seconds would be most of what
// idle boxes send. A box that dies is noticed by gossip, one whose process ends
// by its connections, and what runs to it is ended then.
const silence = 2 * time.Minute

// Changed has something to receive when Order may answer otherwise than before.
func (b *Boxes) Changed() <-chan struct{} { return b.changed }

// Drain takes this box out of the pool, or puts it back: it owns nothing any
// more, and the others do without it.
func (b *Boxes) Drain(draining bool) {
	if b.draining.Swap(draining) != draining {
		b.log.Info("this box leaves or enters the school's pool", "draining", draining)
	}
	b.say()
	b.refresh()
}

// Draining reports whether the box was taken out of the pool.
func (b *Boxes) Draining() bool { return b.draining.Load() }

// say has the others know how this box stands.
func (b *Boxes) say() {
	if g := b.gossip.Load(); g != nil {
		g.Say(b.state())
	}
}

const mebibyte = 1 << 20

// state is what this box says of itself.
func (b *Boxes) state() gossip.State {
	room := b.self.Room()
	s := gossip.State{
		Weight: uint32(min(room.Weight/mebibyte, 1<<31)), Free: uint32(min(room.Free/mebibyte, 1<<31)),
		Version: b.self.Version[:min(len(b.self.Version), 64)], Draining: b.draining.Load(),
	}
	if l := b.listener.Load(); l != nil {
		if a, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			s.Port = a.Port()
		}
	}
	if m := b.announcer(); m != nil {
		if name := m.OwnName(); name != "" {
			s.Device = name + ".local"
		}
	}
	return s
}

func (b *Boxes) announcer() *mdns.MDNS {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mdns
}
