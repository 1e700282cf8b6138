// Package front is the cache as a role runs it: sites, the lines to them, the
// HTTP face and the disk behind it, put together.
//
// A school's box and a region's server are the same cache with other parents;
// what differs is theirs. The package opens no port, and decides nothing about
// what may be stored. A disk without room is no error: everything passes
// through until there is some.
package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/parent"
	"preau/cache/pool"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
	"preau/cache/vouch"
	"preau/node/config"
	"preau/node/lifecycle"
)

// retryStorage is how often a node whose disk had no room looks again.
const retryStorage = 10 * time.Second

// pooledBlocks bounds what bodies from neighbours take in memory: a block for
// each that is on its way.
const pooledBlocks = 16

// ErrNoRoom reports that the disk has no room, so that requests pass through.
var ErrNoRoom = errors.New("the disk has no room; requests pass through")

// Config says what the cache is in front of and where it keeps things.
type Config struct {
	Data   string
	Budget config.Bytes
	Sites  []Site
	// Opened, unless nil, is called with the storage before anything is served
	// from it: what must not be served any more can go first. An error keeps
	// the storage out of use until the next try.
	Opened func(context.Context, *storage.Storage) error
	// Parents, unless nil, tells for a site the caches to ask before it.
	Parents func(site string) parent.List
	// Neighbours, unless nil, tells for a site which of the boxes beside this one
	// to ask before that. It goes with Parents, which vouch for what they give, and
	// with Reports, which hears of those that give something else.
	Neighbours func(site string) pool.List
	Reports    pool.Reports
	// Signer, unless nil, signs what the cache proves to its peers; Checker, unless
	// nil, is who believes such proofs where nobody else can be asked.
	Signer  vouch.Signer
	Checker vouch.Checker
}

// Front is a cache that is ready to run.
type Front struct {
	cfg   Config
	log   *slog.Logger
	reg   prometheus.Registerer
	edge  *edge.Handler
	lines []*upstream.Upstream // in the order of the configuration, as are
	sites []*edge.Site
	ways  []*parent.Origin // to the sites by way of parents; none without
	store atomic.Pointer[storage.Storage]
}

// New opens the disk. A front that is made must be run, or closed.
func New(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Front, error) {
	f := &Front{cfg: cfg, log: log, reg: reg}
	if err := f.makeSites(); err != nil {
		return nil, err
	}
	var err error
	if f.edge, err = edge.New(f.sites, log, reg); err != nil {
		return nil, err
	}
	if err := f.edge.SetProofs(edge.Proofs{Signer: cfg.Signer, Checker: cfg.Checker}, reg); err != nil {
		return nil, err
	}
	switch err := f.openStorage(ctx); {
	case noRoom(err):
		log.ErrorContext(ctx, "the disk has no room: everything passes through until there is some", "err", err)
	case err != nil:
		return nil, err
	}
	return f, nil
}

// Handler answers for the sites.
func (f *Front) Handler() *edge.Handler { return f.edge }

// Storage is the open storage, or nil while the disk has no room.
func (f *Front) Storage() *storage.Storage { return f.store.Load() }

// Ready is ErrNoRoom while there is no storage.
func (f *Front) Ready(context.Context) error {
	if f.store.Load() == nil {
		return ErrNoRoom
	}
	return nil
}

// Add adds the cache's parts to group, the disk first.
func (f *Front) Add(group *lifecycle.Group) {
	group.Add("storage", 30*time.Second, f.runStorage)
	for i, line := range f.lines {
		group.Add("line to "+f.cfg.Sites[i].Name, time.Second, line.Run)
	}
	for i, way := range f.ways {
		group.Add("way to "+f.cfg.Sites[i].Name, time.Second, way.Run)
	}
	group.Add("edge", 5*time.Second, func(ctx context.Context) error {
		<-ctx.Done()
		f.edge.Close()
		return nil
	})
}

// Close closes a front that was never run.
func (f *Front) Close() error {
	if s := f.store.Load(); s != nil {
		return s.Close()
	}
	return nil
}

// makeSites makes the lines and the edge's sites from the configuration.
func (f *Front) makeSites() error {
	pooled := pool.DefaultConfig()
	pooled.Memory = pool.NewMemory(pooledBlocks)
	for _, s := range f.cfg.Sites {
		u, err := s.UpstreamURL()
		if err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
		uc := upstream.DefaultConfig()
		uc.Name, uc.URL, uc.ProbePath = s.Name, u, s.ProbePath
		uc.MaxFetches, uc.FetchesPerMinute = s.MaxFetches, s.FetchesPerMinute
		uc.PrivateAddresses, uc.Forwarded = s.PrivateAddresses, s.Forwarded
		line, err := upstream.New(uc, f.log, f.reg)
		if err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
		rules := rfc9111.DefaultRules()
		rules.HeuristicFraction, rules.HeuristicMax = s.Heuristic.Fraction, s.Heuristic.Max.Std()
		rules.StaleWhenDown = s.StaleWhenDown.Std()
		rules.StaleOnError = min(rules.StaleOnError, rules.StaleWhenDown)
		f.lines = append(f.lines, line)
		site := &edge.Site{
			Name: s.Name, Hosts: s.Hosts, Rules: rules, PreserveHost: s.PreserveHost, List: s.List, Upstream: line, Rendition: s.Height(),
		}
		if !s.plain() {
			if site.Profile, err = s.Rules(); err != nil {
				return fmt.Errorf("site %s: %w", s.Name, err)
			}
		}
		if f.cfg.Parents != nil {
			way, err := parent.New(parent.DefaultConfig(), s.Name, line, f.cfg.Parents(s.Name), f.log, f.reg)
			if err != nil {
				return fmt.Errorf("site %s: %w", s.Name, err)
			}
			f.ways = append(f.ways, way)
			site.Upstream = way
			if f.cfg.Neighbours != nil {
				site.Upstream, err = pool.New(pooled, s.Name, way, f.cfg.Neighbours(s.Name), f.cfg.Reports, f.log, f.reg)
				if err != nil {
					return fmt.Errorf("site %s: %w", s.Name, err)
				}
			}
		}
		f.sites = append(f.sites, site)
	}
	return nil
}

// openStorage opens the data folder and puts it to use. Its metrics join the
// node's only when that worked, since it may be tried again.
func (f *Front) openStorage(ctx context.Context) error {
	reg := prometheus.NewRegistry()
	s, err := storage.Open(storage.DefaultConfig(f.cfg.Data, int64(f.cfg.Budget)), f.log, reg)
	if err != nil {
		return err
	}
	if f.cfg.Opened != nil {
		if err := f.cfg.Opened(ctx, s); err != nil {
			return errors.Join(fmt.Errorf("prepare storage: %w", err), s.Close())
		}
	}
	if err := f.reg.Register(reg); err != nil {
		return errors.Join(fmt.Errorf("register metrics: %w", err), s.Close())
	}
	f.store.Store(s)
	f.edge.SetStorage(s)
	return nil
}

func noRoom(err error) bool {
	return errors.Is(err, object.ErrFull) || errors.Is(err, block.ErrNoSpace)
}

// runStorage runs the storage, after waiting for a disk with room if need be.
func (f *Front) runStorage(ctx context.Context) error {
	tick := time.NewTicker(retryStorage)
	defer tick.Stop()
	for f.store.Load() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch err := f.openStorage(ctx); {
		case noRoom(err):
		case err != nil:
			return err
		default:
			f.log.InfoContext(ctx, "the disk has room again")
		}
	}
	defer f.edge.SetStorage(nil)
	return f.store.Load().Run(ctx)
}
