package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"preau/cache/block/fileblock"
	"preau/node/attest"
	"preau/node/front"
	"preau/node/obs"
	"preau/replication/catalogue"
	"preau/replication/consensus"
	"preau/replication/enrol"
	"preau/replication/feed"
	"preau/replication/hold"
	"preau/replication/kv/boltkv"
	"preau/replication/wire"
)

func (g *Region) openAdmin(ctx context.Context, keep func(func() error)) error {
	var err error
	if g.admin, err = obs.OpenAdmin(ctx, g.cfg.Admin.Listen, g.cfg.Admin.MayMove, g.reg, g.log); err != nil {
		return err
	}
	keep(g.admin.Close)
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
	far := wire.DefaultDialConfig()
	far.Near = wire.DefaultNear // a gateway may stand beside the region's servers
	if g.far, err = wire.NewDialer(creds, far); err != nil {
		return err
	}
	if err := g.reg.Register(g.far.Collector(g.dialer)); err != nil {
		return fmt.Errorf("register metrics of the paths: %w", err)
	}
	g.peers = newPeers(g.dialer)
	fc := feed.DefaultConfig()
	fc.Region, fc.Name = g.id.Region, g.id.Name
	// Where an epoch began is not kept: after a lost quorum was recovered, boxes
	// take a snapshot.
	source := feed.FromCatalogue(g.state, func() uint64 { return 0 })
	if g.feed, err = feed.New(fc, source, creds.Certificate, wire.IdentityOf, g.log, g.reg); err != nil {
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
	server, err := hold.NewServer(g.shelf, wire.IdentityOf)
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
		Signer: attest.NewSigner(g.me.Credentials().Certificate),
	}, g.log, g.reg)
	if err != nil {
		return err
	}
	keep(g.front.Close)
	g.front.Add(g.group)
	return nil
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
