package hold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/block"
)

// breath is the pause between a look that brought something and the next.
const breath = time.Second

// Catalogue is what a Repairer is told of what the region has agreed on. Wanted
// and Lists may look at the catalogue one after the other: what is committed in
// between was ensured first, so its blocks are claimed.
type Catalogue struct {
	// Wanted calls fn with every digest that the catalogue names, until fn
	// returns false, and returns an error if it could not name them all. fn is
	// quick. Repeats are welcome.
	Wanted func(ctx context.Context, fn func(block.Digest) bool) error
	// Lists does the same with the digests of manifests that are kept as blocks
	// themselves (EncodeManifest): these are wanted, and all that they name is.
	// Wanted need not tell them. Nil if there are none.
	Lists func(ctx context.Context, fn func(block.Digest) bool) error
	// Spare tells the digests of lists whose blocks are not wanted here, but not
	// to be removed if they are here: somebody else has them, far away. Nil if
	// there are none.
	Spare func(ctx context.Context, fn func(block.Digest) bool) error
	// Current reports whether this server has applied all that the region had
	// committed a moment ago. It is asked often and answers at once.
	Current func() bool
}

// RepairConfig says how a Repairer works.
type RepairConfig struct {
	Every          time.Duration `toml:"every"`            // between looks at the whole catalogue
	Retry          time.Duration `toml:"retry"`            // the same while blocks are missing
	Sweep          time.Duration `toml:"sweep"`            // between looks for blocks that nothing names
	Fetches        int           `toml:"fetches"`          // blocks fetched at once, 1 to 8
	BytesPerSecond int64         `toml:"bytes_per_second"` // fetched from other servers; 0 is no limit
}

// DefaultRepairConfig is good for a region of a few thousand schools.
func DefaultRepairConfig() RepairConfig {
	return RepairConfig{Every: 10 * time.Minute, Retry: time.Minute, Sweep: time.Hour, Fetches: 4}
}

// Validate reports every mistake at once.
func (c RepairConfig) Validate() error {
	var errs []error
	for key, d := range map[string]time.Duration{"every": c.Every, "retry": c.Retry, "sweep": c.Sweep} {
		if d < time.Second {
			errs = append(errs, fmt.Errorf("%s: %s is less than a second", key, d))
		}
	}
	if c.Fetches < 1 || c.Fetches > pushing {
		errs = append(errs, fmt.Errorf("fetches: %d is not 1 to %d", c.Fetches, pushing))
	}
	if c.BytesPerSecond < 0 {
		errs = append(errs, fmt.Errorf("bytes_per_second: %d is negative, 0 is no limit", c.BytesPerSecond))
	}
	return errors.Join(errs...)
}

// Repairer fetches from the other servers what the catalogue names and this one
// does not hold, and removes what the catalogue has long not named.
type Repairer struct {
	cfg       RepairConfig
	shelf     *Shelf
	catalogue Catalogue
	peers     func() []*Client
	poked     chan struct{}
	pace      *pace
}

// NewRepairer returns a repairer of what is on shelf. peers tells the other
// servers, as for NewReplicator. A shelf has one Repairer at most.
func NewRepairer(cfg RepairConfig, shelf *Shelf, catalogue Catalogue, peers func() []*Client) (*Repairer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("repair config: %w", err)
	}
	if shelf == nil || catalogue.Wanted == nil || catalogue.Current == nil || peers == nil {
		return nil, errors.New("hold: repairer needs a shelf, the catalogue and the other servers")
	}
	return &Repairer{
		cfg: cfg, shelf: shelf, catalogue: catalogue, peers: peers,
		poked: make(chan struct{}, 1), pace: &pace{rate: cfg.BytesPerSecond},
	}, nil
}

// Poke makes the Repairer look at the catalogue now: it has changed, or a server
// has come back. It never blocks.
func (r *Repairer) Poke() {
	select {
	case r.poked <- struct{}{}:
	default:
	}
}

// Run repairs and sweeps until ctx ends, then returns nil. What fails is logged
// and tried again.
func (r *Repairer) Run(ctx context.Context) error {
	var due time.Time // at once
	next := time.NewTimer(0)
	defer next.Stop()
	after := func(d time.Duration) {
		due = time.Now().Add(d)
		next.Reset(d)
	}
	sweep := time.NewTicker(r.cfg.Sweep)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-r.shelf.damaged:
			if !r.mend(ctx, d) && time.Until(due) > r.cfg.Retry {
				after(r.cfg.Retry)
			}
		case <-sweep.C:
			r.sweepOnce(ctx)
		case <-r.poked:
			after(r.repair(ctx))
		case <-next.C:
			after(r.repair(ctx))
		}
	}
}

// repair fetches what is missing and says when to look again.
func (r *Repairer) repair(ctx context.Context) time.Duration {
	look, err := r.look(ctx)
	if ctx.Err() != nil {
		return r.cfg.Every
	}
	if err != nil {
		r.shelf.log.WarnContext(ctx, "catalogue not read, nothing is repaired", "err", err)
		return r.cfg.Retry
	}
	fetched, err := r.fetchAll(ctx, look.missing)
	if ctx.Err() != nil {
		return r.cfg.Every
	}
	left := look.count - fetched
	r.shelf.metrics.wanted.Set(float64(look.named))
	r.shelf.metrics.missing.Set(float64(max(0, left)))
	if len(look.missing) == 0 {
		return r.cfg.Every
	}
	if err != nil {
		r.shelf.log.WarnContext(ctx, "published blocks are missing here", "blocks", left, "err", err)
	} else {
		r.shelf.log.InfoContext(ctx, "published blocks fetched from other servers", "blocks", fetched)
	}
	if _, ours := errors.AsType[*keepError](err); ours || fetched == 0 {
		return r.cfg.Retry
	}
	// There may be more than one look remembers, and what came may be lists that
	// name yet more.
	return breath
}

// mend fetches blocks that were found damaged, d and those that wait behind it,
// and says whether all of them came.
func (r *Repairer) mend(ctx context.Context, d block.Digest) bool {
	batch := []block.Digest{d}
	for waiting := true; waiting && len(batch) < cap(r.shelf.damaged); {
		select {
		case d := <-r.shelf.damaged:
			batch = append(batch, d)
		default:
			waiting = false
		}
	}
	fetched, err := r.fetchAll(ctx, batch)
	if err != nil && ctx.Err() == nil {
		// Those that the catalogue names are missing now like any others.
		r.shelf.log.WarnContext(ctx, "damaged blocks not fetched again yet", "blocks", len(batch)-fetched, "err", err)
	}
	return err == nil
}

// fetchAll fetches the missing, as many at once as is set, and returns how many
// came and the last error. It gives up on an error of our own disk.
func (r *Repairer) fetchAll(ctx context.Context, missing []block.Digest) (fetched int, last error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		done atomic.Int64
		work = make(chan block.Digest)
		rnd  = newRound(r.peers())
		full bool
	)
	failed := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		last = err
		if _, ours := errors.AsType[*keepError](err); ours {
			full = true
		}
	}
	giveUp := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return full || ctx.Err() != nil
	}
	for range min(r.cfg.Fetches, len(missing)) {
		wg.Go(func() {
			buf := make([]byte, 0, bufferSize)
			for d := range work {
				if giveUp() {
					continue
				}
				if _, held := r.shelf.store.Has(d); held {
					done.Add(1) // it came by itself, from a publication
					continue
				}
				if err := r.pace.wait(ctx); err != nil {
					continue
				}
				if _, err := r.shelf.fetch(ctx, rnd, d, buf); err != nil {
					failed(err)
					continue
				}
				done.Add(1)
			}
		})
	}
	for _, d := range missing {
		if giveUp() {
			break
		}
		work <- d
	}
	close(work)
	wg.Wait()
	return int(done.Load()), last
}
