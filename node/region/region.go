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
	boxesAt    whereabouts
	reported   reported
	returns    returns
	removed    atomic.Bool // so the others say
	places     places
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
	g.openReported()
	if err := g.openReturns(); err != nil {
		return nil, err
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
	if err := g.openPlaces(ctx, keep); err != nil {
		return nil, err
	}
	handler = g.routes()
	renewer, err := enrol.NewRenewer(me, g.dialer, enrol.DefaultRenewConfig(), log, g.reg)
	if err != nil {
		return nil, err
	}
	g.group.Add("certificate", 5*time.Second, renewer.Run)
	g.group.Add("purges", 10*time.Second, g.runPurges)
	g.group.Add("memory", time.Second, func(ctx context.Context) error { return runMemory(ctx, g.feed.Following) })
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
	limitMemory(gcPercent)
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
