// Package gossip knows which of a school's boxes are alive on the LAN, and the
// few small things that each says of itself.
//
// Who is alive is found out by SWIM (hashicorp/memberlist) with a key that the
// school's boxes share. The key proves nothing about who sends: whoever holds it
// can say anything in anybody's name. So nobody is let in before a Verifier has
// proved by certificate that the box at that address is the one named, and an
// address that was proved is kept for as long as it still answers, whatever is
// said about it. Proved are names, addresses and ports; the rest of a State is
// what somebody with the key said. Such a one can also make a box look dead for
// moments: memberlist believes it until the box contradicts.
//
// Memberlist forgets the dead and never calls them again. This package does, so
// a school's boxes find one another after a power cut, a partition or a move.
//
// It carries no bulk, finds nobody by itself (hints come from outside: mDNS, the
// feed, a list), decides nothing about whose turn it is, and is not meant for
// more than some 30 boxes.
//
// Metrics: preau_gossip_members{state="verified|unverified"},
// preau_gossip_verifications_total{result="proved|failed"},
// preau_gossip_rejoins_total{result="joined|failed"},
// preau_gossip_packets_total and preau_gossip_bytes_total{direction="in|out"}.
package gossip

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says who this box is and where it listens. Start from DefaultConfig.
type Config struct {
	// Name is the box's id: one box is one name, whatever its address.
	Name string
	// School keeps neighbouring schools on one LAN apart.
	School string
	// Listen is the address for UDP and TCP. "0.0.0.0:7946" is IPv4, "[::]:7946"
	// both families; an address of its own is also the one that others are told.
	Listen string
	// Keys are 32 bytes each: the first is used, all are understood.
	Keys [][]byte
	// RejoinEvery is how often boxes that are not heard are called, from three
	// quarters to one and a half of it.
	RejoinEvery time.Duration
}

// Limits on what is configured.
const (
	maxName   = 128
	maxSchool = 128
	maxKeys   = 8
	keySize   = 32
)

// DefaultConfig lacks a name, a school and keys.
func DefaultConfig() Config {
	return Config{Listen: "0.0.0.0:7946", RejoinEvery: 20 * time.Second}
}

// Validate reports all mistakes at once.
func (c Config) Validate() error {
	var errs []error
	if err := validName(c.Name); err != nil {
		errs = append(errs, fmt.Errorf("name: %w", err))
	}
	if c.School == "" || len(c.School) > maxSchool {
		errs = append(errs, fmt.Errorf("school: give 1 to %d bytes", maxSchool))
	}
	if _, err := parseListen(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	if err := validKeys(c.Keys); err != nil {
		errs = append(errs, fmt.Errorf("keys: %w", err))
	}
	if c.RejoinEvery < 10*time.Millisecond {
		errs = append(errs, errors.New("rejoin_every: too short, 20 s is a good value"))
	}
	return errors.Join(errs...)
}

func validName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("give 1 to %d bytes", maxName)
	}
	// A slash would separate a name from an address in memberlist's eyes.
	if strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}) {
		return errors.New("leave out spaces, slashes and what cannot be printed")
	}
	return nil
}

func validKeys(keys [][]byte) error {
	if len(keys) == 0 || len(keys) > maxKeys {
		return fmt.Errorf("give 1 to %d keys", maxKeys)
	}
	for i, k := range keys {
		if len(k) != keySize {
			return fmt.Errorf("key %d has %d bytes and needs %d", i, len(k), keySize)
		}
	}
	return nil
}

// parseListen allows addresses, no names: there may be nobody to ask for those.
func parseListen(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("write it as address:port, as in 0.0.0.0:7946: %w", err)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q is none", port)
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q is no address: names are not looked up", host)
		}
	}
	if addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q is valid on one link only: choose an address without a zone", host)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), nil
}

// Member is a box as this one knows it.
type Member struct {
	Name string
	Addr netip.Addr
	// State is what it says of itself. Of a verified member the port is the one
	// that was verified.
	State State
	// Since is when it became what it is: a member, or none.
	Since    time.Time
	Verified bool
	// Why says what is wrong with it, or what is odd, for people to read.
	Why string
}

// Verifier proves that the box at addr is the one that is named, by its
// certificate. It is called in a goroutine of its own, with a deadline, and has
// to return when ctx ends.
type Verifier func(ctx context.Context, name string, addr netip.AddrPort) error

// Gossip is a box among its neighbours.
type Gossip struct {
	cfg    Config
	listen netip.AddrPort
	verify Verifier
	log    *slog.Logger
	met    *metrics
	ring   *memberlist.Keyring
	table  *table
	hints  *hints
	boot   uint64 // tells this run of the box from its others
	pace   pace

	changed chan struct{} // for the caller
	wake    chan struct{} // for Run
	addr    atomic.Pointer[netip.AddrPort]
	running atomic.Bool
	turns   atomic.Uint64 // of Run's loop

	rotating sync.Mutex // of keys

	mu    sync.Mutex
	state State
	// unsaid is what of the state has yet to be said.
	unsaid urgency
	seen   []Member // what the caller was last woken for

	// wrap stands between memberlist and the network, in tests.
	wrap func(memberlist.NodeAwareTransport) memberlist.NodeAwareTransport
}

// New checks cfg and what the box says of itself, and registers metrics. It
// opens nothing.
func New(cfg Config, self State, verify Verifier, log *slog.Logger, reg prometheus.Registerer) (*Gossip, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gossip config: %w", err)
	}
	if verify == nil {
		return nil, errors.New("gossip without a verifier would believe anybody: give one")
	}
	listen, err := parseListen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("gossip config: listen: %w", err)
	}
	ring, err := memberlist.NewKeyring(cfg.Keys, cfg.Keys[0])
	if err != nil {
		return nil, fmt.Errorf("gossip config: keys: %w", err)
	}
	var boot [8]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, fmt.Errorf("draw a boot id: %w", err)
	}
	g := &Gossip{
		cfg: cfg, listen: listen, verify: verify, log: log.With("part", "gossip"), ring: ring,
		boot: binary.BigEndian.Uint64(boot[:]), pace: lanPace(),
		hints: newHints(), changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	g.table = newTable(cfg.Name, g.boot, cfg.RejoinEvery)
	if _, err := encodeState(self, g.boot); err != nil {
		return nil, fmt.Errorf("state of this box: %w", err)
	}
	g.state = self
	if g.met, err = newMetrics(reg, g.table.count); err != nil {
		return nil, fmt.Errorf("register metrics of gossip: %w", err)
	}
	return g, nil
}

// Members are those alive and verified, by name, without this box.
func (g *Gossip) Members() []Member { return g.table.members() }

// All are all boxes that were heard of, by name, with what is wrong with each.
// This box is among them only if another one uses its name.
func (g *Gossip) All() []Member { return g.table.all() }

// Known are the gossip addresses of boxes that were verified in this run, to be
// remembered and hinted at in the next one.
func (g *Gossip) Known() []netip.AddrPort { return g.table.known() }

// Changed gets a value when Members would say something else than before.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// Addr is where others are told to find this box's gossip; zero while it does
// not listen.
func (g *Gossip) Addr() netip.AddrPort {
	if a := g.addr.Load(); a != nil {
		return *a
	}
	return netip.AddrPort{}
}

// Hint names gossip addresses that are worth calling. They are called at once,
// and again for as long as there is room to remember them.
func (g *Gossip) Hint(addrs ...netip.AddrPort) {
	if g.hints.add(time.Now(), addrs...) {
		g.poke()
	}
}

// Lost says that whoever talks to the box called name found it dead. It is no
// member until it has proved itself again.
func (g *Gossip) Lost(name string) {
	if g.table.lost(time.Now(), name) {
		g.log.Info("a neighbour does not answer", "box", name)
		g.told()
	}
}

// Doubt says that something hints at the box called name being gone, such as a
// connection of it that ended. It has to prove itself at once, and is a member
// meanwhile: a process that is killed is found out by that, long before it is
// missed by gossip.
func (g *Gossip) Doubt(name string) {
	if g.table.doubt(time.Now(), name) {
		g.poke()
	}
}

// Say tells the others what this box is now. What matters to where they turn is
// said at once, the rest now and then. A state that cannot be said is left out.
func (g *Gossip) Say(s State) {
	if _, err := encodeState(s, g.boot); err != nil {
		g.log.Warn("what this box would say of itself cannot be said", "err", err)
		return
	}
	g.mu.Lock()
	if s != g.state {
		g.unsaid = max(g.unsaid, g.state.urgency(s))
		g.state = s
	}
	g.mu.Unlock()
	g.poke()
}

// SetKeys replaces the keys while everything runs. Give all boxes a new key as
// a second one before any box uses it as its first.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if err := validKeys(keys); err != nil {
		return fmt.Errorf("keys of gossip: %w", err)
	}
	g.rotating.Lock()
	defer g.rotating.Unlock()
	return rotate(g.ring, keys)
}

// poke lets Run look at everything.
func (g *Gossip) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// told is called when the table may have changed.
func (g *Gossip) told() {
	g.mu.Lock()
	now := g.table.members()
	same := equalMembers(g.seen, now)
	g.seen = now
	g.mu.Unlock()
	if !same {
		select {
		case g.changed <- struct{}{}:
		default:
		}
	}
	g.poke()
}
