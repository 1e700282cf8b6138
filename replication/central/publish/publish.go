// Package publish tells the regions what lies in the ministry's buckets.
//
// A Publisher watches buckets of an object store. Each new or changed object is
// streamed once: its blocks are hashed, not stored (they stay in the object), its
// metadata is read, and what comes of it is signed and appended to the bucket's
// history (publish/history), from where any gateway gives it to the regions. What
// is deleted is told the same way. Whatever is put by whichever S3 tool is found
// by passes over the whole bucket, which compare its listing with the history's
// table and cost about a call for each thousand objects; bucket notifications
// (Hints) only make it quicker. One gateway of several makes the passes, the one
// that has the lease; all follow hints and answer regions.
//
// Everything is kept in a bucket of the gateways' own in the same store, so a
// gateway can be killed at any time and another one goes on.
//
// What is not believed: that the store lists everything (a pass that misses more
// than half of a bucket is made twice, and every deletion is confirmed by asking
// for the object), that an object stays the same while it is read, that metadata
// makes sense. A field that can't be understood is left out. An audience that
// can't be understood holds the object back: it is withdrawn, with the reason in
// the log, until that is mended. An object whose key ends in "/" and that is
// empty marks a folder for some tools, and is no document.
//
// Of metadata these fields are read (x-amz-meta-…): title, description, language,
// level, licence, collection, expires, and audience, which is codes of schools
// between commas. To change the metadata of an object S3 writes it anew; a store
// that does not, and keeps its time, tells it by a hint only.
//
// The package stores no file, deletes none, and knows no region.
//
// # Metrics
//
//	preau_central_publish_changes_total{kind}            changes appended to histories: published, deleted, held
//	preau_central_publish_looks_total{result}            objects looked at: published, deleted, held, same, again, refused, failed
//	preau_central_publish_hashed_bytes_total             bytes read and hashed
//	preau_central_publish_metadata_faults_total{field}   fields of metadata that were left out
//	preau_central_publish_hints_total{result}            objects named by bucket notifications: taken, dropped, foreign, invalid
//	preau_central_publish_passes_total{result}           passes over a bucket: ok, doubtful, failed
//	preau_central_publish_pass_seconds                   how long the last whole pass over a bucket took
//	preau_central_publish_objects{bucket}                objects listed by the last whole pass
//	preau_central_publish_held_objects{bucket}           of these, objects held back
//	preau_central_publish_in_hand                        objects being looked at, or waiting for it
//	preau_central_publish_leader                         1 if this gateway makes the passes
//	preau_central_publish_appends_total{result}          writes to histories: ok, failed
//	preau_central_publish_compactions_total{result}      histories written anew: ok, failed
package publish

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
)

// Config says what is published. The zero value is not usable; start from
// DefaultConfig.
type Config struct {
	Buckets []string `toml:"buckets"`
	// System is the gateways' own bucket. It must have no versions, and no rule
	// that removes objects by age.
	System string `toml:"system_bucket"`
	// Gateway is what this gateway is called among those of one system bucket, at
	// every start the same: one that was killed goes on at once where it was,
	// rather than wait until its own lease has run out. Empty: another one each
	// time. Two of one name do everything twice, and no harm.
	Gateway string `toml:"gateway"`
	// Every is the time between passes over a bucket, give or take a tenth.
	Every time.Duration `toml:"every"`
	// Look is how often other gateways' news are looked for.
	Look time.Duration `toml:"look"`
	// Workers is how many objects are looked at at once. Each takes up to 8 MiB of
	// memory. Large objects have half of them at most.
	Workers int `toml:"workers"`
	// PageRows, FoldRows and TailBytes are those of history.Config, for each bucket.
	PageRows  int   `toml:"page_rows"`
	FoldRows  int   `toml:"fold_rows"`
	TailBytes int64 `toml:"tail_bytes"`
	// Spare is how many changes a history may have beyond twice the objects of its
	// bucket before it is compacted: written anew without those that no longer count.
	Spare int `toml:"spare"`
}

// DefaultConfig is good for some ten buckets and a million objects. Buckets is
// for the operator to name.
func DefaultConfig() Config {
	h := history.DefaultConfig()
	return Config{
		System: "preau-central", Every: 10 * time.Minute, Look: 3 * time.Second, Workers: 8,
		PageRows: h.PageRows, FoldRows: h.FoldRows, TailBytes: h.TailBytes, Spare: 100_000,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Buckets) == 0, "buckets: none is named")
	bad(len(c.Buckets) > 100, "buckets: %d, at most 100", len(c.Buckets))
	for i, b := range c.Buckets {
		err := store.CheckBucket(b)
		bad(err != nil, "buckets: %w", err)
		bad(slices.Contains(c.Buckets[:i], b), "buckets: %q is named twice", b)
		bad(b == c.System, "buckets: %q is the system_bucket, it can't be published", b)
	}
	err := store.CheckBucket(c.System)
	bad(err != nil, "system_bucket: %w", err)
	bad(len(c.Gateway) > 200, "gateway: a name of %d bytes, at most 200", len(c.Gateway))
	bad(c.Every < time.Second, "every: %s is less than 1s", c.Every)
	bad(c.Look < 10*time.Millisecond || c.Look > time.Minute, "look: %s is not within 10ms and 1m", c.Look)
	bad(c.Spare < 1, "spare: %d is less than 1", c.Spare)
	bad(c.Workers < 2 || c.Workers > 256, "workers: %d is not within 2 and 256", c.Workers)
	// The rest is the history's to judge; what is its own is filled in.
	h := c.history("bucket", make([]byte, ed25519.PublicKeySize))
	h.System = "system"
	if err := h.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) history(bucket string, key ed25519.PublicKey) history.Config {
	return history.Config{System: c.System, Bucket: bucket, Key: key, PageRows: c.PageRows, FoldRows: c.FoldRows, TailBytes: c.TailBytes}
}

const (
	maxHints  = 10_000
	maxInHand = 2048
	// settle is how long a hint waits for others of its kind, and for the object
	// to be there: Ceph tells before it has answered the writer.
	settle = time.Second
	// large is an object that takes a worker for long.
	large = 1 << 30
)

// Publisher watches buckets and says what is in them. All methods may be called
// concurrently.
type Publisher struct {
	cfg     Config
	st      store.Store
	key     ed25519.PrivateKey
	pub     ed25519.PublicKey
	log     *slog.Logger
	met     *metrics
	buckets map[string]*bucket
	queue   *queue
	lease   *lease

	hintMu   sync.Mutex
	hinted   map[hint]bool
	missed   bool // hints were dropped
	hintNews chan struct{}
}

// bucket is a watched bucket.
type bucket struct {
	name    string
	log     *slog.Logger
	hist    atomic.Pointer[history.History]
	opening chan struct{} // one at a time
	results chan result   // on their way into the history
	places  places

	// Of the passes, which are one after the other.
	doubtful bool // the last pass missed more than half of it
	sweeps   int
}

var _ central.Publications = (*Publisher)(nil)

// New checks cfg and registers metrics; it starts nothing. key signs what is
// published.
func New(cfg Config, st store.Store, key ed25519.PrivateKey, log *slog.Logger, reg prometheus.Registerer) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("publish config: %w", err)
	}
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("publish: the signing key is not one of Ed25519")
	}
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("publish: the signing key has no public one")
	}
	met, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg: cfg, st: st, key: key, pub: pub, log: log.With("part", "publish"), met: met, buckets: map[string]*bucket{},
		queue: newQueue(met.inHand), hinted: map[hint]bool{}, hintNews: make(chan struct{}, 1),
	}
	p.lease = newLease(st, cfg.System, cfg.Gateway, p.log, met.leader)
	for _, name := range cfg.Buckets {
		p.buckets[name] = &bucket{
			name: name, log: p.log.With("bucket", name), opening: make(chan struct{}, 1),
			results: make(chan result, maxInHand),
		}
	}
	return p, nil
}

// Run publishes until ctx ends, then returns nil. What fails is logged and tried
// again, but for a history that is signed by another key: that is for the
// operator to decide.
func (p *Publisher) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer p.queue.close()
	defer stop(nil)
	defer context.AfterFunc(ctx, p.queue.close)()

	for _, name := range p.cfg.Buckets {
		b := p.buckets[name]
		wg.Go(func() {
			if err := p.follow(ctx, b); err != nil {
				stop(err)
			}
		})
		wg.Go(func() { p.commit(ctx, b) })
	}
	for i := range p.cfg.Workers {
		wg.Go(func() { p.work(ctx, i < p.cfg.Workers/2) })
	}
	wg.Go(func() { p.takeHints(ctx) })
	wg.Go(func() { p.lease.run(ctx) })
	p.passes(ctx)
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// follow keeps a bucket's history open and up to date. It returns an error that
// only an operator can mend, or nil when ctx has ended.
func (p *Publisher) follow(ctx context.Context, b *bucket) error {
	wait := p.cfg.Look
	looks := 0
	for ctx.Err() == nil {
		h, err := p.history(ctx, b)
		if err == nil {
			err = h.Refresh(ctx)
		}
		if err == nil {
			if rows, _ := h.Behind(); rows >= 4*p.cfg.FoldRows { // else passes do it
				err = h.Fold(ctx)
			}
		}
		if looks++; err == nil && looks%10 == 0 {
			err = h.Current(ctx)
		}
		switch {
		case err == nil:
			wait = p.cfg.Look
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, history.ErrOtherKey):
			return err
		default:
			p.forget(b, h, err)
			b.log.WarnContext(ctx, "the history can't be read now", "err", err, "again_in", wait)
			wait = min(2*wait, time.Minute)
		}
		pause(ctx, wait)
	}
	return nil
}

// history is a bucket's history, opened if need be.
func (p *Publisher) history(ctx context.Context, b *bucket) (*history.History, error) {
	if h := b.hist.Load(); h != nil {
		return h, nil
	}
	select {
	case b.opening <- struct{}{}:
		defer func() { <-b.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h := b.hist.Load(); h != nil {
		return h, nil
	}
	if err := p.st.MakeBucket(ctx, p.cfg.System); err != nil {
		return nil, fmt.Errorf("make the gateways' bucket %s: %w", p.cfg.System, err)
	}
	h, err := history.Open(ctx, p.cfg.history(b.name, p.pub), p.st)
	if err != nil {
		return nil, err
	}
	head, _ := h.Head()
	b.log.InfoContext(ctx, "history opened", "epoch", h.Epoch(), "head", head)
	b.hist.Store(h)
	return h, nil
}

// forget drops a history that another one has replaced, so that the next who
// needs it opens that.
func (p *Publisher) forget(b *bucket, h *history.History, err error) {
	if h != nil && errors.Is(err, history.ErrEpoch) {
		b.hist.CompareAndSwap(h, nil)
	}
}

// pause waits for d, or for ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
