// Package box is the role of a school's box: it stands in front of the sites
// that the operator listed, keeps what classes use, and serves it.
//
// It puts the parts together and decides nothing itself. Nothing in its start
// waits for anything outside the machine: no network, no site, no right clock.
// With a disk that has no room left it starts all the same and passes through.
package box

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
	"preau/node/lifecycle"
	"preau/node/listen"
	"preau/node/obs"
)

// retryStorage is how often a box whose disk had no room looks again.
const retryStorage = 10 * time.Second

// heapGoal is a soft bound on the Go heap: a box has little memory and needs it
// for the page cache. Only unreferenced memory is given back sooner for it.
const heapGoal = 112 << 20

// Box is a box that is ready to run.
type Box struct {
	cfg     Config
	log     *slog.Logger
	reg     *prometheus.Registry
	group   *lifecycle.Group
	edge    *edge.Handler
	lines   []*upstream.Upstream // in the order of the configuration, as are
	sitesOf []*edge.Site
	doors   []*listen.Server
	admin   *obs.Admin
	store   atomic.Pointer[storage.Storage]
}

// Run makes a box and runs it until ctx ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	b, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// New opens what the box needs, its ports among it. A box that is made must be
// run: Run closes everything.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Box, err error) {
	if err := cfg.Validate(Profiles()); err != nil {
		return nil, fmt.Errorf("box configuration: %w", err)
	}
	b := &Box{cfg: cfg, log: log, group: lifecycle.New(log)}
	if b.reg, err = obs.NewRegistry(obs.ReadBuild()); err != nil {
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

	if err := b.openAdmin(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, b.admin.Close)
	b.group.Add("admin", 2*time.Second, b.admin.Run)

	sites, err := b.sites()
	if err != nil {
		return nil, err
	}
	b.sitesOf = sites
	if b.edge, err = edge.New(sites, log, b.reg); err != nil {
		return nil, err
	}
	store, err := b.openStorage()
	switch {
	case errors.Is(err, object.ErrFull), errors.Is(err, block.ErrNoSpace):
		log.ErrorContext(ctx, "the disk has no room: everything passes through until there is some", "err", err)
	case err != nil:
		return nil, err
	default:
		b.use(store)
	}
	b.group.Add("storage", 30*time.Second, b.runStorage)
	undo = append(undo, func() error {
		if s := b.store.Load(); s != nil {
			return s.Close()
		}
		return nil
	})

	for i, line := range b.lines {
		b.group.Add("line to "+cfg.Site[i].Name, time.Second, line.Run)
	}
	b.group.Add("edge", 5*time.Second, func(ctx context.Context) error {
		<-ctx.Done()
		b.edge.Close()
		return nil
	})
	for _, l := range cfg.Listen {
		door, err := listen.New(ctx, l, b.edge, log)
		if err != nil {
			return nil, err
		}
		undo = append(undo, door.Close)
		b.doors = append(b.doors, door)
		b.group.Add("listener on "+door.Addr().String(), 10*time.Second, door.Run)
	}
	return b, nil
}

// Run serves until ctx ends, then stops in order: doors, fetches, lines, disk.
func (b *Box) Run(ctx context.Context) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapGoal)
	}
	for _, d := range b.doors {
		b.log.InfoContext(ctx, "serving", "address", d.Addr().String(), "https", d.Secure(), "sites", len(b.cfg.Site))
	}
	return b.group.Run(ctx)
}

// Addrs is where devices connect, in the order of the configuration.
func (b *Box) Addrs() []net.Addr {
	out := make([]net.Addr, len(b.doors))
	for i, d := range b.doors {
		out[i] = d.Addr()
	}
	return out
}

// openAdmin opens the operators' face, elsewhere if nobody chose the port and
// it is taken.
func (b *Box) openAdmin(ctx context.Context) error {
	ln, err := obs.ListenAdmin(ctx, b.cfg.Admin.Listen, b.log)
	if err != nil && b.cfg.Admin.MayMove {
		b.log.WarnContext(ctx, "the usual admin port is taken, so another is used; --admin chooses one", "err", err)
		ln, err = obs.ListenAdmin(ctx, "127.0.0.1:0", b.log)
	}
	if err != nil {
		return err
	}
	b.admin = obs.NewAdmin(ln, b.reg, b.log)
	b.log.InfoContext(ctx, "operators look here", "address", b.admin.Addr().String())
	b.admin.Ready("storage", func(context.Context) error {
		if b.store.Load() == nil {
			return errors.New("the disk has no room; requests pass through")
		}
		return nil
	})
	return nil
}

// sites makes the lines and the edge's sites from the configuration.
func (b *Box) sites() ([]*edge.Site, error) {
	var out []*edge.Site
	for _, s := range b.cfg.Site {
		u, err := s.UpstreamURL()
		if err != nil {
			return nil, fmt.Errorf("site %s: %w", s.Name, err)
		}
		uc := upstream.DefaultConfig()
		uc.Name, uc.URL, uc.ProbePath = s.Name, u, s.ProbePath
		line, err := upstream.New(uc, b.log, b.reg)
		if err != nil {
			return nil, fmt.Errorf("site %s: %w", s.Name, err)
		}
		rules := rfc9111.DefaultRules()
		rules.HeuristicFraction, rules.HeuristicMax = s.Heuristic.Fraction, s.Heuristic.Max.Std()
		rules.StaleWhenDown = s.StaleWhenDown.Std()
		rules.StaleOnError = min(rules.StaleOnError, rules.StaleWhenDown)
		b.lines = append(b.lines, line)
		out = append(out, &edge.Site{
			Name: s.Name, Hosts: s.Hosts, Rules: rules, PreserveHost: s.PreserveHost, List: s.List, Upstream: line,
		})
	}
	return out, nil
}

// openStorage opens the data folder. Its metrics join the box's only when that
// worked, since it may be tried again.
func (b *Box) openStorage() (*storage.Storage, error) {
	reg := prometheus.NewRegistry()
	s, err := storage.Open(storage.DefaultConfig(b.cfg.Data, int64(b.cfg.Budget)), b.log, reg)
	if err != nil {
		return nil, err
	}
	if err := b.reg.Register(reg); err != nil {
		return nil, errors.Join(fmt.Errorf("register metrics: %w", err), s.Close())
	}
	return s, nil
}

func (b *Box) use(s *storage.Storage) {
	b.store.Store(s)
	b.edge.SetStorage(s)
}

// runStorage runs the storage, after waiting for a disk with room if need be.
func (b *Box) runStorage(ctx context.Context) error {
	tick := time.NewTicker(retryStorage)
	defer tick.Stop()
	for b.store.Load() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s, err := b.openStorage()
		switch {
		case errors.Is(err, object.ErrFull), errors.Is(err, block.ErrNoSpace):
		case err != nil:
			return err
		default:
			b.log.InfoContext(ctx, "the disk has room again")
			b.use(s)
		}
	}
	defer b.edge.SetStorage(nil)
	return b.store.Load().Run(ctx)
}
