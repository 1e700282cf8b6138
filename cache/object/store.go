package object

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/memo"
)

// ErrFull reports that the disk has no room for metadata.
var ErrFull = errors.New("no space for metadata")

// ErrStopScan ends a Scan without an error.
var ErrStopScan = errors.New("stop the scan")

// Policy is the part of the eviction policy that the store carries out.
type Policy interface {
	Retire(key uint64, from block.Ring, size int64) (keep bool, to block.Ring)
	NextRing(used []int64) block.Ring
}

// Config bounds the store. Start from DefaultConfig.
type Config struct {
	// CacheBytes bounds the decoded objects kept in memory.
	CacheBytes int64
	// SegmentBytes is about how much lies in one segment: a kept object of many
	// segments is judged once, not once for each of them.
	SegmentBytes int64
	// InUse reports whether the body of an object is being read or filled; such
	// an object is never evicted.
	InUse func(ID) bool
	// Unsaved lists blocks in a segment that nothing yet saved here leads to, as
	// the fills that put them there have not come to saving their manifests.
	Unsaved func(block.Segment) []Unsaved
	// Pinned reports whether an object is to stay whatever the policy says; it
	// is carried to PinRing then.
	Pinned  func(*Object) bool
	PinRing block.Ring
}

// DefaultConfig returns a store that keeps 16 MiB of objects in memory.
func DefaultConfig() Config {
	never := func(ID) bool { return false }
	none := func(block.Segment) []Unsaved { return nil }
	return Config{CacheBytes: 16 << 20, SegmentBytes: 64 << 20, InUse: never, Unsaved: none, Pinned: func(*Object) bool { return false }}
}

// Unsaved is what was put of one object since its manifest was saved.
type Unsaved struct {
	ID      ID
	Key     Key
	Digests []block.Digest
}

// Store keeps objects. All methods may be called concurrently.
type Store struct {
	cfg     Config
	kv      KV
	policy  Policy
	log     *slog.Logger
	metrics *metrics
	cache   *memo.Cache[Set]
	count   atomic.Int64

	locks [64]sync.Mutex // by key: one change of a set at a time

	mu       sync.Mutex
	retiring map[block.Segment]map[block.Digest][]owner
	judged   map[ID]int // kept: in how many more segments it need not be judged
}

type owner struct {
	id  ID
	key Key
}

// New checks cfg and registers metrics.
func New(cfg Config, kv KV, policy Policy, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if cfg.CacheBytes < 1<<20 {
		return nil, errors.New("object config: cache_bytes: must be at least 1 MiB")
	}
	if cfg.SegmentBytes <= 0 {
		return nil, errors.New("object config: segment_bytes: must be more than 0")
	}
	if cfg.InUse == nil || cfg.Unsaved == nil || cfg.Pinned == nil {
		return nil, errors.New("object config: InUse, Unsaved and Pinned must be given; start from DefaultConfig")
	}
	cache, err := memo.New(memo.Options[Set]{Most: int(cfg.CacheBytes), Weigh: weigh})
	if err != nil {
		return nil, fmt.Errorf("object cache: %w", err)
	}
	s := &Store{cfg: cfg, kv: kv, policy: policy, log: log.With("part", "object"), cache: cache, retiring: map[block.Segment]map[block.Digest][]owner{}, judged: map[ID]int{}}
	if s.metrics, err = newMetrics(reg, func() float64 { return float64(s.count.Load()) }); err != nil {
		return nil, err
	}
	return s, nil
}

// weigh estimates the memory of a decoded set.
func weigh(s Set) uint32 {
	n := 100
	for _, o := range s {
		n += 400 + len(o.Inline) + len(o.Marks) + len(o.VaryKey) + len(o.Lists)
		for k, v := range o.Header {
			n += len(k) + 64
			for _, x := range v {
				n += len(x) + 16
			}
		}
	}
	return uint32(n)
}

func (s *Store) lock(k Key) *sync.Mutex { return &s.locks[k[0]%64] }

// Lookup returns the stored variants of k, newest first; none is no error.
func (s *Store) Lookup(k Key) (Set, error) {
	if set, ok := s.cache.Get(k); ok {
		s.metrics.lookups.WithLabelValues("memory").Inc()
		return set, nil
	}
	mu := s.lock(k)
	mu.Lock()
	defer mu.Unlock()
	set, err := s.read(k)
	if err == nil {
		s.cache.Set(k, set)
		result := "disk"
		if len(set) == 0 {
			result = "none"
		}
		s.metrics.lookups.WithLabelValues(result).Inc()
	}
	return set, err
}

// read gets the set of k from the KV. A damaged record counts as none: what it
// told will be fetched again.
func (s *Store) read(k Key) (Set, error) {
	b, err := s.kv.Get(setKey(k))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up object: %w", err)
	}
	set, err := decodeSet(k, b)
	if err != nil {
		s.metrics.damaged.Inc()
		s.log.Warn("a stored object's record is damaged and is forgotten", "err", err)
		return nil, nil
	}
	return set, nil
}

// edit changes the set of k under its lock. fn returns the new set and what
// else is to be written with it; the same set means no change.
func (s *Store) edit(k Key, fn func(Set) (Set, []Change, error)) error {
	mu := s.lock(k)
	mu.Lock()
	defer mu.Unlock()
	old, ok := s.cache.Get(k)
	if !ok {
		var err error
		if old, err = s.read(k); err != nil {
			return err
		}
	}
	set, changes, err := fn(slices.Clone(old))
	if err != nil {
		return err
	}
	if len(set) == 0 {
		changes = append(changes, Change{Key: setKey(k), Delete: true})
	} else {
		b, err := encodeSet(k, set)
		if err != nil {
			return err
		}
		changes = append(changes, Change{Key: setKey(k), Value: b})
	}
	if err := s.kv.Write(changes); err != nil {
		return fmt.Errorf("write object: %w", err)
	}
	s.count.Add(int64(len(set) - len(old)))
	s.cache.Set(k, set)
	return nil
}

// Put stores o in place of the variant that answers the same requests.
func (s *Store) Put(_ context.Context, o *Object) error {
	if b, err := encMode.Marshal(o); err != nil {
		return fmt.Errorf("encode object: %w", err)
	} else if len(b) > MaxRecord {
		return ErrTooLarge
	}
	return s.edit(o.Key, func(set Set) (Set, []Change, error) {
		var gone []Change
		set = slices.DeleteFunc(set, func(x *Object) bool {
			same := sameVariant(x, o) || x.ID == o.ID
			if same && x.ID != o.ID {
				gone = append(gone, s.forget(x)...)
				s.metrics.removed.WithLabelValues("replaced").Inc()
			}
			return same
		})
		set = slices.Insert(set, 0, o)
		for len(set) > MaxVariants {
			gone = append(gone, s.forget(set[len(set)-1])...)
			s.metrics.removed.WithLabelValues("replaced").Inc()
			set = set[:len(set)-1]
		}
		if o.Lists != "" {
			gone = append(gone, Change{Key: listedKey(o.Site, o.Lists), Value: o.Key[:]})
		}
		return set, gone, nil
	})
}

// sameVariant reports whether a and b, of one key, answer the same requests.
func sameVariant(a, b *Object) bool {
	return a.VaryKey == b.VaryKey && slices.Equal(a.VaryNames, b.VaryNames)
}

// Update replaces the stored object with o's ID; one that is gone stays gone
// (ErrNotFound).
func (s *Store) Update(_ context.Context, o *Object) error {
	return s.edit(o.Key, func(set Set) (Set, []Change, error) {
		i := slices.IndexFunc(set, func(x *Object) bool { return x.ID == o.ID })
		if i < 0 {
			return nil, nil, ErrNotFound
		}
		// Since o was read a manifest may have been saved, or its blocks moved.
		n, now := *o, set[i]
		n.Inline, n.Length, n.Complete, n.Ring, n.Proven = now.Inline, now.Length, now.Complete, now.Ring, now.Proven
		o = &n
		set[i] = o
		if i > 0 { // it was vouched for just now: newest first
			copy(set[1:i+1], set[:i])
			set[0] = o
		}
		return set, nil, nil
	})
}

// Remove forgets one object; one that is gone already is no error. cause is
// one of evicted, invalidated, purged, changed, unusable.
func (s *Store) Remove(_ context.Context, k Key, id ID, cause string) error {
	return s.edit(k, func(set Set) (Set, []Change, error) {
		var changes []Change
		set = slices.DeleteFunc(set, func(x *Object) bool {
			if x.ID == id {
				changes = s.forget(x)
				s.metrics.removed.WithLabelValues(cause).Inc()
			}
			return x.ID == id
		})
		return set, changes, nil
	})
}

// Invalidate marks every variant of k as not to be used before its authority
// has vouched for it, and reports how many there were.
func (s *Store) Invalidate(_ context.Context, k Key) (int, error) {
	n := 0
	err := s.edit(k, func(set Set) (Set, []Change, error) {
		for i, o := range set {
			c := *o
			c.Doubt = Invalidated
			set[i] = &c
		}
		n = len(set)
		return set, nil, nil
	})
	return n, err
}

// RemoveAll forgets every variant of k and reports how many there were.
func (s *Store) RemoveAll(_ context.Context, k Key, cause string) (int, error) {
	n := 0
	err := s.edit(k, func(set Set) (Set, []Change, error) {
		var changes []Change
		for _, o := range set {
			changes = append(changes, s.forget(o)...)
			s.metrics.removed.WithLabelValues(cause).Inc()
		}
		n = len(set)
		return nil, changes, nil
	})
	return n, err
}

// forget lists the changes that remove what belongs to o beside its record.
// Its blocks stay until their segments are retired; nothing leads to them.
func (s *Store) forget(o *Object) []Change {
	var out []Change
	if len(o.Inline) == 0 {
		out = append(out, Change{Key: pageKey(o.ID, headPage), Delete: true})
		for page := range pages(o.Length) {
			out = append(out, Change{Key: pageKey(o.ID, page), Delete: true})
		}
	}
	if o.Lists != "" {
		out = append(out, Change{Key: listedKey(o.Site, o.Lists), Delete: true})
	}
	if o.Proven != 0 {
		out = append(out, Change{Key: proofKey(o.ID), Delete: true})
	}
	return out
}

// Count is the number of stored objects, as far as it is known: after a start
// Recount brings it up to date.
func (s *Store) Count() int64 { return s.count.Load() }

// Recount counts the stored objects. It reads all of them and is meant for the
// background.
func (s *Store) Recount(ctx context.Context) error {
	before := s.count.Load()
	var n int64
	err := s.kv.Scan([]byte{prefixSet}, true, func(_, _ []byte) error { n++; return ctx.Err() })
	if err == nil {
		s.count.Add(n - before)
	}
	return err
}

// Listed calls fn for the objects of a site that people may see listed, in the
// order of their paths, until fn returns false.
func (s *Store) Listed(ctx context.Context, site string, fn func(*Object) bool) error {
	return s.kv.Scan(listedPrefix(site), false, func(key, value []byte) error {
		if len(value) != len(Key{}) {
			return ctx.Err()
		}
		path := string(key[len(listedPrefix(site)):])
		// Not Lookup: a listing must not push what is being served out of memory.
		set, ok := s.cache.Get(Key(value))
		if !ok {
			var err error
			if set, err = s.read(Key(value)); err != nil {
				return err
			}
		}
		for _, o := range set {
			if o.Lists == path {
				if !fn(o) {
					return ErrStopScan
				}
				break
			}
		}
		return ctx.Err()
	})
}
