// Package region is the role of one of a region's servers: it takes part in
// what the region agrees on, tells it to the boxes that follow, keeps what is
// published, and caches web sites for its boxes as a box does for its devices.
//
// It puts the parts together. What the region agrees on is decided by
// replication/catalogue, in the order that replication/consensus settles; this
// package only brings requests there and answers from what came of them. Any
// server answers any request: what must be decided is handed on to the leader.
package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block/fileblock"
	"preau/node/front"
	"preau/node/lifecycle"
	"preau/node/obs"
	"preau/node/uplink"
	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/enrol"
	"preau/replication/feed"
	"preau/replication/hold"
	"preau/replication/identity"
	"preau/replication/kv/boltkv"
	"preau/replication/wire"
)

const (
	// sweepEvery is how often connections are compared with what is revoked,
	// for those that came while that was decided.
	sweepEvery = 30 * time.Second
	// repairEvery is how often, at most, news have this server compare all that
	// is published with what it holds.
	repairEvery = 20 * time.Second
	// boxSilence is how long a box may say nothing before it is asked whether it
	// is there. Boxes that follow say nothing for hours; they notice by the feed's
	// heartbeats that the line is gone, and a server notices by TCP that a box is.
	// Only for one that vanished behind a proxy it has to ask, and there is no
	// hurry: a box that comes back takes the place of its old stream.
	boxSilence = 3 * time.Minute
)

// Region is a server that is ready to run.
type Region struct {
	cfg       Config
	log       *slog.Logger
	reg       *prometheus.Registry
	group     *lifecycle.Group
	admin     *obs.Admin
	id        identity.Identity
	name      string
	founders  []wire.Target // whom this server was told of when it was enrolled
	me        *enrol.Store
	authority atomic.Pointer[enrol.Authority]

	state      *catalogue.State
	machine    *machine
	node       *consensus.Node
	feed       *feed.Server
	front      *front.Front
	blocks     *fileblock.Store
	shelf      *hold.Shelf
	replicator *hold.Replicator
	repairer   *hold.Repairer
	holdAPI    *http.ServeMux
	enrolment  http.Handler
	dialer     *wire.Dialer // to the other servers
	far        *wire.Dialer // to the centre
	peers      *peers
	listener   *wire.Listener
	revoked    revoked
	sent       sent
	uplink     *uplink.Uplink // nil: there is no centre
	purging    sync.Mutex     // of purgeHere
	purges     chan struct{}  // something was purged
	news       chan struct{}  // something was published
	published  atomic.Uint64  // index of the latest change that boxes are told of
}

// Run makes a server and runs it until ctx ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	g, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return g.Run(ctx)
}

// New opens what the server needs, its port among it. A server that is made
// must be run: Run closes everything.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Region, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("region configuration: %w", err)
	}
	g := &Region{cfg: cfg, log: log, group: lifecycle.New(log), holdAPI: http.NewServeMux(), purges: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	if g.reg, err = obs.NewRegistry(obs.ReadBuild()); err != nil {
		return nil, err
	}
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range undo {
				err = errors.Join(err, f())
			}
		}
	}()
	keep := func(closes func() error) { undo = append([]func() error{closes}, undo...) }

	me, err := enrol.OpenStore(cfg.identityDir())
	if err != nil {
		return nil, fmt.Errorf("%w\n%s is not the folder of a region's server: make one with preau region init (for the first) or preau region join (for the others)", err, cfg.Data)
	}
	if err := g.identify(me); err != nil {
		return nil, err
	}
	if err := g.openAdmin(ctx, keep); err != nil {
		return nil, err
	}
	if err := g.openState(keep); err != nil {
		return nil, cfg.mendable(err)
	}
	if err := g.openWire(ctx, me, keep); err != nil {
		return nil, err
	}
	if err := g.openBlocks(keep); err != nil {
		return nil, err
	}
	if err := g.openFront(ctx, keep); err != nil {
		return nil, err
	}
	// The port outlives raft, which hands on its leadership through it.
	var handler http.Handler
	g.group.Add("listener on "+g.listener.Addr().String(), 15*time.Second, func(ctx context.Context) error {
		return g.listener.Run(ctx, wire.Service{Handler: handler, Revoked: g.refused})
	})
	if err := g.openConsensus(keep); err != nil {
		return nil, cfg.mendable(err)
	}
	if err := g.openCentre(keep); err != nil {
		return nil, err
	}
	handler = g.routes()
	renewer, err := enrol.NewRenewer(me, g.dialer, enrol.DefaultRenewConfig(), log, g.reg)
	if err != nil {
		return nil, err
	}
	g.group.Add("certificate", 5*time.Second, renewer.Run)
	g.group.Add("purges", 10*time.Second, g.runPurges)
	g.group.Add("memory", time.Second, runMemory)
	g.group.Add("membership", 5*time.Second, g.runMember)
	g.group.Add("chores", 20*time.Second, g.runChores)
	g.group.Add("published files", 10*time.Second, g.repairer.Run)
	g.group.Add("newly published files", time.Second, g.runRepairNews)
	g.group.Add("scrub", 10*time.Second, g.runScrub)
	g.group.Add("feed", 10*time.Second, g.feed.Run)
	return g, nil
}

// Run serves until ctx ends, then stops in order: the feed, which sends boxes
// elsewhere, chores, raft, which hands on its leadership, the port, the disk.
func (g *Region) Run(ctx context.Context) error {
	g.log.InfoContext(ctx, "serving", "address", g.listener.Addr().String(), "server", g.name, "region", string(g.id.Region))
	limitMemory()
	err := g.group.Run(ctx)
	return errors.Join(err, g.peers.Close())
}

// Addr is where boxes, operators and the other servers connect.
func (g *Region) Addr() net.Addr { return g.listener.Addr() }

// identify reads who this server is.
func (g *Region) identify(me *enrol.Store) error {
	g.me, g.id, g.founders = me, me.Identity(), me.Servers()
	g.name = string(g.id.Name)
	if g.id.Role != identity.Server {
		return fmt.Errorf("%s holds the identity of a %s, and this is the work of a server", g.cfg.identityDir(), g.id.Role)
	}
	return nil
}

func (g *Region) openAdmin(ctx context.Context, keep func(func() error)) error {
	ln, err := obs.ListenAdmin(ctx, g.cfg.Admin.Listen, g.log)
	if err != nil && g.cfg.Admin.MayMove {
		g.log.WarnContext(ctx, "the usual admin port is taken, so another is used; --admin chooses one", "err", err)
		ln, err = obs.ListenAdmin(ctx, "127.0.0.1:0", g.log)
	}
	if err != nil {
		return err
	}
	g.admin = obs.NewAdmin(ln, g.reg, g.log)
	keep(g.admin.Close)
	g.log.InfoContext(ctx, "operators look here", "address", g.admin.Addr().String())
	g.admin.Ready("leader", func(context.Context) error {
		if _, ok := g.node.Leader(); !ok {
			return errors.New("the region has no leader: most of its servers must be up and reach one another")
		}
		return nil
	})
	g.group.Add("admin", 2*time.Second, g.admin.Run)
	return nil
}

// openState opens the catalogue, and the machine that keeps it.
func (g *Region) openState(keep func(func() error)) error {
	store, err := boltkv.Open(g.cfg.catalogue(), boltkv.DefaultConfig())
	if err != nil {
		return fmt.Errorf("open catalogue: %w", err)
	}
	keep(store.Close)
	if g.state, err = catalogue.Open(store); err != nil {
		return fmt.Errorf("open catalogue: %w", err)
	}
	view, err := g.state.View()
	if err != nil {
		return fmt.Errorf("read catalogue: %w", err)
	}
	if err := errors.Join(g.revoked.load(view), view.Close()); err != nil {
		return fmt.Errorf("read catalogue: %w", err)
	}
	g.machine = &machine{state: g.state, changed: g.changed, replaced: g.replaced}
	// The store outlives raft, which writes to it to the end.
	g.group.Add("catalogue", 10*time.Second, func(ctx context.Context) error {
		<-ctx.Done()
		return store.Close()
	})
	return nil
}

// openWire opens the port, and the way to the others.
func (g *Region) openWire(ctx context.Context, me *enrol.Store, keep func(func() error)) error {
	creds := me.Credentials()
	var err error
	wc := wire.DefaultConfig()
	// After an outage all boxes come at once. More handshakes at a time than the
	// processors can finish only make all of them late.
	wc.MaxHandshakes, wc.HandshakeTimeout = 8*runtime.GOMAXPROCS(0), 30*time.Second
	wc.Silence = boxSilence
	wc.Sweep = sweepEvery // what is revoked is dropped at once: see changed
	if g.listener, err = wire.Listen(ctx, g.cfg.Listen, creds, wc, g.log, g.reg); err != nil {
		return err
	}
	keep(g.listener.Close)
	// Servers stand near one another: QUIC would win every race there, and cost
	// three times the CPU. The way to the centre is long.
	near := wire.DefaultDialConfig()
	near.QUIC = false
	if g.dialer, err = wire.NewDialer(creds, near); err != nil {
		return err
	}
	if g.far, err = wire.NewDialer(creds, wire.DefaultDialConfig()); err != nil {
		return err
	}
	g.peers = newPeers(g.dialer)
	fc := feed.DefaultConfig()
	fc.Region, fc.Name = g.id.Region, g.id.Name
	// Where an epoch began is not kept: after a lost quorum was recovered, boxes
	// take a snapshot.
	source := feed.FromCatalogue(g.state, func() uint64 { return 0 })
	if g.feed, err = feed.New(fc, source, creds.Certificate, peerOf, g.log, g.reg); err != nil {
		return err
	}
	g.enrolment, err = enrol.NewHandler(g.keys(), registry{g}, g.log, g.reg)
	return err
}

func (g *Region) openConsensus(keep func(func() error)) error {
	cfg := g.cfg.consensus(g.name, string(g.id.Region))
	var err error
	g.node, err = consensus.Open(cfg, g.machine, raftLayer{Listener: g.listener.Raft(), dialer: g.dialer}, g.log, g.reg)
	if err != nil {
		return err
	}
	keep(g.node.Close)
	g.group.Add("consensus", 30*time.Second, func(ctx context.Context) error { return g.cfg.mendable(g.node.Run(ctx)) })
	return nil
}

func (g *Region) openBlocks(keep func(func() error)) error {
	var err error
	if g.blocks, err = fileblock.Open(fileblock.Config{Dir: g.cfg.blocks()}, g.log, g.reg); err != nil {
		return err
	}
	keep(g.blocks.Close)
	g.group.Add("blocks", 5*time.Second, func(ctx context.Context) error {
		<-ctx.Done()
		return g.blocks.Close()
	})
	if g.shelf, err = hold.New(g.blocks, 24*time.Hour, g.log, g.reg); err != nil {
		return err
	}
	if g.replicator, err = hold.NewReplicator(g.shelf, g.holders); err != nil {
		return err
	}
	g.repairer, err = hold.NewRepairer(hold.DefaultRepairConfig(), g.shelf,
		hold.Catalogue{Wanted: g.wanted, Lists: g.lists, Spare: g.spared, Current: g.current}, g.holders)
	if err != nil {
		return err
	}
	server, err := hold.NewServer(g.shelf, peerOf)
	if err != nil {
		return err
	}
	server.Fill = g.fill
	server.Register(g.holdAPI)
	return nil
}

func (g *Region) openFront(ctx context.Context, keep func(func() error)) error {
	var err error
	g.front, err = front.New(ctx, front.Config{
		Data: g.cfg.cache(), Budget: g.cfg.Budget, Sites: g.cfg.Site, Opened: g.purgeHere,
	}, g.log, g.reg)
	if err != nil {
		return err
	}
	keep(g.front.Close)
	g.front.Add(g.group)
	return nil
}

// changed is called after each step of the catalogue, by the one goroutine
// that makes them.
func (g *Region) changed(index uint64, records []catalogue.Record) {
	if g.revoked.note(records) && g.listener != nil {
		g.listener.DropRevoked()
	}
	resources, purges, deposits := false, false, false
	for _, r := range records {
		if !r.Kind.Private() {
			g.published.Store(r.Index)
		}
		resources = resources || r.Kind == catalogue.KindResource
		purges = purges || r.Kind == catalogue.KindPurge
		deposits = deposits || r.Kind == catalogue.KindDeposit
	}
	if g.feed != nil {
		g.feed.Publish(index, records)
	}
	if deposits && g.uplink != nil {
		g.uplink.Poke()
	}
	if resources || deposits {
		poke(g.news)
	}
	if purges {
		poke(g.purges)
	}
}

// poke wakes whoever waits on c, now or when it waits next.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// runRepairNews has what was published lately fetched from the servers that
// have it, at once and then not too often, until ctx ends.
func (g *Region) runRepairNews(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.news:
		}
		g.repairer.Poke()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(repairEvery):
		}
	}
}

// refused reports whether a certificate, though good, is no longer its bearer's
// way in: it was revoked, or another box has taken the name since.
func (g *Region) refused(p wire.Peer) bool {
	if g.revoked.has(p) {
		return true
	}
	if p.Role != identity.Box {
		return false
	}
	key, ok := g.revoked.keyOf(string(p.Name))
	if !ok {
		return g.current() // a server that is behind may not know it yet
	}
	return key != [32]byte(p.Key)
}

// replaced is called when a snapshot has taken the place of everything.
func (g *Region) replaced(index uint64) {
	view, err := g.state.View()
	if err == nil {
		err = errors.Join(g.revoked.load(view), view.Close())
	}
	if err != nil {
		g.log.Error("who is revoked can't be read", "err", err)
	}
	g.published.Store(index)
	if g.feed != nil {
		g.feed.Replaced(index)
	}
	if g.listener != nil {
		g.listener.DropRevoked()
	}
	poke(g.news)
	poke(g.purges)
}

// feedIndex is the latest index that a box that has followed must have reached.
func (g *Region) feedIndex() uint64 { return g.published.Load() }

// keys is what this server needs in order to enrol others.
func (g *Region) keys() enrol.Keys {
	return enrol.Keys{
		Authority: g.openAuthority,
		Secret:    func() (enrol.Secret, error) { return g.me.Secret(), nil },
		Servers:   g.targets,
	}
}

// openAuthority unseals the region's signing key: as the catalogue has it, once
// that has come, and before that as it lies in the folder of the founder.
func (g *Region) openAuthority() (*enrol.Authority, error) {
	if a := g.authority.Load(); a != nil {
		return a, nil
	}
	rec, ok, err := get[catalogue.Authority](g, catalogue.KindAuthority, catalogue.Authority{}.RecordID())
	if err != nil {
		return nil, err
	}
	var sealed []byte
	if ok {
		sealed = rec.Sealed
		if err := g.me.KeepSealed(sealed); err != nil {
			return nil, err
		}
	}
	a, err := g.me.OpenAuthority(sealed)
	if err != nil {
		return nil, err
	}
	g.authority.Store(a)
	return a, nil
}

// targets are the region's servers, for those who dial.
func (g *Region) targets() []wire.Target {
	var out []wire.Target
	for _, s := range g.servers() {
		out = append(out, wire.Target{Name: identity.Name(s.Name), Address: s.Address})
	}
	if len(out) == 0 {
		return g.founders
	}
	return out
}

// peerOf tells who sent a request that wire let through.
func peerOf(r *http.Request) (identity.Identity, bool) {
	p := wire.PeerOf(r)
	return p.Identity, !p.Anonymous() && !p.Lapsed
}

// raftLayer carries raft over the region's own port.
type raftLayer struct {
	net.Listener
	dialer *wire.Dialer
}

// DialServer implements consensus.Transport.
func (l raftLayer) DialServer(ctx context.Context, address string) (net.Conn, error) {
	return l.dialer.DialRaft(ctx, wire.Target{Address: address})
}
