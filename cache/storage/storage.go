// Package storage is the cache's disk, put together: objects in a small
// metadata Badger, bodies in rings of small Badgers, the eviction policy
// between the two, and the fills that write into them.
//
// It opens whatever state the folder is in: after a power cut, on a full disk,
// with damaged files. What can't be read is forgotten and fetched again; the
// start never fails for it. It knows no HTTP.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/badgerblock"
	"preau/cache/evict"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/object/badgermeta"
)

// saveEvery is how often what the policy has learnt is written down.
const saveEvery = 10 * time.Minute

// Config says where and how much. Start from DefaultConfig.
type Config struct {
	Dir         string
	BudgetBytes int64   // of disk, for everything under Dir
	PinShare    float64 // the part of the budget that pins may take
	Fill        fill.Config
}

// DefaultConfig keeps up to budget bytes in dir.
func DefaultConfig(dir string, budget int64) Config {
	return Config{Dir: dir, BudgetBytes: budget, PinShare: 0.8, Fill: fill.DefaultConfig()}
}

// Storage is an open cache folder. Its methods may be called concurrently.
type Storage struct {
	cfg     Config
	log     *slog.Logger
	meta    *badgermeta.Store
	blocks  *badgerblock.Store
	objects *object.Store
	policy  *evict.Policy
	fills   *fill.Manager
	keyer   object.Keyer
	marker  atomic.Pointer[object.Marker]
	ledger  *ledger
	pins    pins
}

// Open opens the folder. The caller runs the storage or, if it never did,
// closes it. An error that matches object.ErrFull or block.ErrNoSpace means
// that the disk has no room at all now; try again later.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Storage, error) {
	s := &Storage{cfg: cfg, log: log.With("part", "storage")}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	secret, err := loadSecret(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if s.keyer, err = object.NewKeyer(secret); err != nil {
		return nil, err
	}
	own := s.keyer.Key("marks", "of a box without a region")
	if err := s.SetMarkKey(own[:]); err != nil {
		return nil, err
	}
	s.ledger = openLedger(filepath.Join(cfg.Dir, "purges"), time.Now())
	if s.policy, err = evict.New(evict.DefaultConfig(cfg.BudgetBytes)); err != nil {
		return nil, err
	}
	s.loadPolicy()

	// The body stores first: on a full disk they give up room before anything
	// is opened that needs some.
	bc := badgerblock.DefaultConfig()
	bc.Dir, bc.BudgetBytes = filepath.Join(cfg.Dir, "bodies"), cfg.BudgetBytes
	bc.ExtraUsage = cached(time.Second, func() int64 { return badgermeta.DiskUsage(s.metaDir()) })
	if s.blocks, err = badgerblock.New(bc, keeper{s}, log, reg); err != nil {
		return nil, fmt.Errorf("open bodies: %w", err)
	}
	var fresh bool
	var lost error
	if s.meta, fresh, lost, err = badgermeta.Open(badgermeta.DefaultConfig(s.metaDir()), log); err != nil {
		return nil, errors.Join(err, s.blocks.Close())
	}
	if lost != nil {
		s.log.Warn("objects are looked for beside their bodies", "err", lost)
	}
	if s.fills, err = fill.New(cfg.Fill, s.blocks, log, reg); err != nil {
		return nil, errors.Join(err, s.closeStores())
	}
	if s.objects, err = s.newObjects(s.meta, log, reg); err != nil {
		return nil, errors.Join(err, s.closeStores())
	}
	if err := s.loadPins(); err != nil {
		return nil, errors.Join(err, s.closeStores())
	}
	if fresh {
		if err := s.restoreObjects(); err != nil {
			return nil, errors.Join(err, s.closeStores())
		}
	}
	return s, nil
}

// newObjects makes the store of objects over kv.
func (s *Storage) newObjects(kv object.KV, log *slog.Logger, reg prometheus.Registerer) (*object.Store, error) {
	oc := object.DefaultConfig()
	oc.InUse = func(id object.ID) bool { return s.fills.InUse(fill.ID(id)) }
	oc.Unsaved = s.unsaved
	oc.Pinned, oc.PinRing = func(o *object.Object) bool { return s.pins.has(o.Key) }, evict.Main
	return object.New(oc, kv, policy{s.policy}, log, reg)
}

func (s *Storage) metaDir() string    { return filepath.Join(s.cfg.Dir, "objects") }
func (s *Storage) policyFile() string { return filepath.Join(s.cfg.Dir, "popularity") }

// Run lives until ctx ends; then fills are stopped, what they had is kept, and
// the folder is closed.
func (s *Storage) Run(ctx context.Context) error {
	// The stores must outlive the fills, so they don't stop with ctx.
	stores, stop := context.WithCancel(context.Background())
	defer stop()
	var parts sync.WaitGroup
	var errs [2]error
	parts.Go(func() { errs[0] = s.meta.Run(stores) })
	parts.Go(func() { errs[1] = s.blocks.Run(stores) })
	parts.Go(func() {
		if err := s.objects.Recount(stores); err != nil && stores.Err() == nil {
			s.log.WarnContext(ctx, "objects could not be counted", "err", err)
		}
	})
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
			s.savePolicy()
		}
	}
	s.fills.Close()
	stop()
	parts.Wait()
	s.savePolicy()
	return errors.Join(errs[0], errs[1], s.closeStores())
}

// Close closes a storage that was not run.
func (s *Storage) Close() error {
	s.fills.Close()
	return s.closeStores()
}

func (s *Storage) closeStores() error { return errors.Join(s.blocks.Close(), s.meta.Close()) }

// Objects is what is known of the stored responses.
func (s *Storage) Objects() *object.Store { return s.objects }

// Fills is what is being read and fetched.
func (s *Storage) Fills() *fill.Manager { return s.fills }

// Blocks is where bodies lie.
func (s *Storage) Blocks() block.Store { return s.blocks }

// Key returns the key of what parts name.
func (s *Storage) Key(parts ...string) object.Key { return s.keyer.Key(parts...) }

// Touch notes that what k names was asked for.
func (s *Storage) Touch(k object.Key) { s.policy.Touch(evict.Key(k.Hash())) }

// Usage is the disk in use, what may be used, and whether there is no room.
func (s *Storage) Usage() (used, budget int64, full bool) {
	u := s.blocks.Usage()
	return u.Bytes, u.BudgetBytes, u.Full
}

// TooLarge reports whether a body of length bytes could not be kept without
// giving up most of what else is kept.
func (s *Storage) TooLarge(length int64) bool {
	return length > s.blocks.Usage().BudgetBytes/2
}

// Create stores a new object, whose ring it chooses, and opens its body, which
// the caller releases. The stream, if not nil, is the body's beginning; it
// stays the caller's if there is an error. ErrPurged says that the response
// was asked for before a purge that means it.
func (s *Storage) Create(ctx context.Context, o *object.Object, src fill.Source, stream *fill.Stream) (*fill.Body, error) {
	return s.create(ctx, o, src, stream, nil)
}

// Lend is Create for what another keeps: while pass says so, nothing of the body is
// stored, and once it is not in use any more the object is forgotten. What is
// pinned, and what was evicted though it was wanted, is stored all the same. See
// fill.Spec for what pass must do.
func (s *Storage) Lend(ctx context.Context, o *object.Object, src fill.Source, stream *fill.Stream, pass func() bool) (*fill.Body, error) {
	return s.create(ctx, o, src, stream, pass)
}

func (s *Storage) create(ctx context.Context, o *object.Object, src fill.Source, stream *fill.Stream, pass func() bool) (*fill.Body, error) {
	var body *fill.Body
	var first *fill.Expected
	err := s.put(o, func() (err error) {
		// The body and its fetch first: whoever finds the object must find that
		// what the stream brings is on its way.
		if o.Ring == evict.Main || o.Fragment {
			pass = nil
		}
		if body, err = s.body(o, src, true, pass); err != nil {
			return err
		}
		if stream != nil {
			first = body.Expect(stream)
		}
		if err = s.objects.Put(ctx, o); err == nil {
			return nil
		}
		if first != nil {
			first.Drop(err)
		}
		body.Release()
		return err
	})
	if err != nil {
		return nil, err
	}
	if first != nil {
		first.Feed()
	}
	return body, nil
}

// Put stores a new object, whose ring it chooses, of which nothing is fetched
// yet. ErrPurged is as for Create.
func (s *Storage) Put(ctx context.Context, o *object.Object) error {
	return s.put(o, func() error { return s.objects.Put(ctx, o) })
}

// put has a new object stored, unless it was purged.
func (s *Storage) put(o *object.Object, store func() error) error {
	if o.Ring = s.policy.Admit(evict.Key(o.Key.Hash()), o.Size()); s.pins.has(o.Key) {
		o.Ring = evict.Main
	}
	s.ledger.storing.RLock()
	defer s.ledger.storing.RUnlock()
	if s.ledger.forbids(o) {
		return ErrPurged
	}
	return store()
}

// Body opens the body of o, which src can fetch; the caller releases it. What was
// but passed on when o was looked up, and has been since, is object.ErrNotFound.
func (s *Storage) Body(o *object.Object, src fill.Source) (*fill.Body, error) {
	return s.body(o, src, false, nil)
}

func (s *Storage) body(o *object.Object, src fill.Source, created bool, pass func() bool) (*fill.Body, error) {
	return s.fills.Open(fill.ID(o.ID), func() (fill.Spec, error) {
		// A manifest may have been saved since o was looked up.
		if set, err := s.objects.Lookup(o.Key); err == nil && set.ByID(o.ID) != nil {
			o = set.ByID(o.ID)
		} else if err == nil && !created && !o.Complete && !o.Fragment {
			return fill.Spec{}, fmt.Errorf("open a body: %w", object.ErrNotFound)
		}
		m, err := s.objects.Manifest(o)
		if err != nil {
			return fill.Spec{}, err
		}
		save := func(ctx context.Context, m block.Manifest, segs []block.Segment) error {
			return s.save(ctx, o.Key, o.ID, m, segs)
		}
		spec := fill.Spec{Manifest: m, Ring: o.Ring, Owner: o.Key, Source: src, Closed: o.Fragment, Save: save}
		if pass != nil {
			spec.Pass, spec.Passed = pass, func() { s.forget(o) }
		}
		return spec, nil
	})
}

// forget removes an object of which nothing was kept.
func (s *Storage) forget(o *object.Object) {
	if err := s.objects.Remove(context.Background(), o.Key, o.ID, "lent"); err != nil {
		s.log.Warn("an object of which nothing is kept could not be removed", "err", err)
	}
}

// SaveManifest records what is held of the body of an object that is not being
// filled, and in which segments. An object that is gone stays gone.
func (s *Storage) SaveManifest(ctx context.Context, o *object.Object, m block.Manifest, segs []block.Segment) error {
	return s.save(ctx, o.Key, o.ID, m, segs)
}

// save records what is held of a body; of a complete one also beside the body.
func (s *Storage) save(ctx context.Context, k object.Key, id object.ID, m block.Manifest, segs []block.Segment) error {
	o, err := s.objects.SaveManifest(ctx, k, id, m, segs)
	if errors.Is(err, object.ErrNotFound) {
		return nil // replaced or purged since: there is nothing left to record
	}
	if err != nil || !o.Complete {
		return err
	}
	return s.record(ctx, o, m)
}

// record writes what is known of a complete object beside its body.
func (s *Storage) record(ctx context.Context, o *object.Object, m block.Manifest) error {
	key, value, err := object.EncodeRecord(o, m)
	if err != nil {
		return err
	}
	if _, err := s.blocks.PutRecord(ctx, o.Ring, key, value); err != nil && !errors.Is(err, block.ErrNoSpace) {
		return fmt.Errorf("record object beside its body: %w", err)
	}
	return nil
}

// restoreObjects finds the objects again that are recorded beside their
// bodies. They are in doubt: what was invalidated meanwhile can't be known.
func (s *Storage) restoreObjects() error {
	n := 0
	err := s.blocks.Records(context.Background(), func(_ block.Segment, key, value []byte) error {
		o, m, err := object.DecodeRecord(key, value)
		if err != nil {
			return nil // damaged: its bytes are fetched again when they are asked for
		}
		if s.ledger.forbids(o) {
			return nil
		}
		o.Doubt = max(o.Doubt, object.Restored)
		if err := s.objects.Restore(context.Background(), o, m, s.blocks.Has); err != nil {
			return err
		}
		n++
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore objects: %w", err)
	}
	if n > 0 {
		s.log.Info("objects were found again", "objects", n)
	}
	return nil
}

// loadPolicy takes up what the policy had learnt; without it, it starts anew.
func (s *Storage) loadPolicy() {
	f, err := os.Open(s.policyFile())
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() //nolint:errcheck // only read
	if err := s.policy.Load(f); err != nil {
		s.log.Info("popularity starts anew", "err", err)
	}
}

func (s *Storage) savePolicy() {
	if _, _, full := s.Usage(); full {
		return
	}
	err := writeFile(s.policyFile(), func(f *os.File) error { return s.policy.Save(f) })
	if err != nil {
		s.log.Warn("popularity could not be saved", "err", err)
	}
}

// cached returns a function that asks fn at most once in every span.
func cached(every time.Duration, fn func() int64) func() int64 {
	var mu sync.Mutex
	var at time.Time
	var v int64
	return func() int64 {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) > every {
			v, at = fn(), time.Now()
		}
		return v
	}
}
