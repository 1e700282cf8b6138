// Package shelf is what the region has published, as a box keeps and serves it
// under /r/.
//
// What there is is looked up in a Catalogue whenever it is asked for, with a
// manifest of the item's blocks, so that memory goes with what is held here and
// not with what is published. Bytes lie in the cache's storage and are fetched block by
// block from a Source when somebody asks for them, or ahead of time with Fetch;
// each block is compared with the manifest before a byte of it leaves, and
// fetched elsewhere if it is another. A block that lies here for whatever item or
// version is not fetched again. Pinned items are never evicted. An item
// that is not published any more is not served any more; its bytes go at once
// when the shelf is told (Remove, Changed). When another version is published
// that is what is sent, but while it can't be had one that is whole here is, told
// apart by its ETag, unless the item may have been taken back in between.
// What lies here, or is this box's to fetch, other boxes can have too (Give).
//
// Items are cut every block.Size, or where a list says. The former lie in the
// storage like any stored body. Of the latter the storage knows the blocks and
// not how long they are; they are sent from here.
//
// The package decides neither what is wanted nor when the line may be used, and
// keeps no list of its own over a restart. Without a storage it passes through.
//
// Metrics: preau_shelf_items; preau_shelf_requests_total{result}, where result
// is hit, miss, list, not_modified, not_found, error;
// preau_shelf_blocks_total{result}: local, fetched, wrong, failed;
// preau_shelf_fetched_blocks_total{source}, preau_shelf_received_bytes_total{source}:
// region, neighbour; preau_shelf_sent_bytes_total.
package shelf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/storage"
)

// Prefix opens the paths of all published items.
const Prefix = "/r/"

// siteName is what the storage knows published items by. No site of a
// configuration can have that name.
const siteName = "published/"

// mostGone bounds the removed items that are remembered as such.
const mostGone = 10_000

// Config says how patient the shelf is. Start from DefaultConfig.
type Config struct {
	Attempts     int           // to get one block
	BlockTimeout time.Duration // for one block asked for by somebody
	FirstByte    time.Duration // before a device is told that the item can't be had now
	Quiet        time.Duration // how often Fetch looks whether people still wait
	Page         int           // items in one list
}

// DefaultConfig returns what suits a school's line.
func DefaultConfig() Config {
	return Config{Attempts: 4, BlockTimeout: 2 * time.Minute, FirstByte: 20 * time.Second, Quiet: 200 * time.Millisecond, Page: 1000}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Attempts < 1 || c.Page < 1 || c.Page > 5000 {
		errs = append(errs, errors.New("attempts, page: must be at least 1, and page at most 5000"))
	}
	if c.BlockTimeout <= 0 || c.FirstByte <= 0 || c.Quiet <= 0 {
		errs = append(errs, errors.New("block_timeout, first_byte, quiet: must be longer than 0"))
	}
	return errors.Join(errs...)
}

// Shelf is what is published. Its methods may be called concurrently.
type Shelf struct {
	cfg     Config
	cat     Catalogue
	store   func() *storage.Storage
	src     Source
	log     *slog.Logger
	metrics *metrics

	storing sync.Mutex // held while an item's object is made or removed

	mu      sync.RWMutex
	held    map[string]holding      // what the storage may have bytes of, by id
	olds    map[string]holding      // versions before those, whole, until those are
	counted int                     // of them when they were counted last
	pinned  map[string]block.Digest // the version that the storage keeps, zero: none yet
	gone    map[string]struct{}
	flights map[aim]*flight
	away    map[string]time.Time // when a new version was asked for in vain
	origins map[string]Origin    // where the last block of an item came from, by id

	recording sync.Mutex   // held while it is noted what there is of an item
	people    atomic.Int64 // who get something that is fetched for them
	lent      lent
}

// New checks cfg and registers metrics; it starts nothing. store returns the
// storage that is open now, or nil.
func New(cfg Config, cat Catalogue, store func() *storage.Storage, src Source, log *slog.Logger, reg prometheus.Registerer) (*Shelf, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("shelf config: %w", err)
	}
	s := &Shelf{
		cfg: cfg, cat: cat, store: store, src: src, log: log.With("part", "shelf"),
		held: map[string]holding{}, olds: map[string]holding{}, away: map[string]time.Time{}, pinned: map[string]block.Digest{}, gone: map[string]struct{}{}, flights: map[aim]*flight{}, origins: map[string]Origin{},
		lent: lent{of: map[string]*naming{}},
	}
	var err error
	s.metrics, err = newMetrics(reg, func() float64 { return float64(cat.Len()) })
	return s, err
}

// State is how much of an item is held.
type State struct {
	Held     int64
	Complete bool
	Pinned   bool
}

// State says how much of an item is held here.
func (s *Shelf) State(id string) (State, error) {
	it, err := s.find(id)
	if err != nil {
		return State{}, err
	}
	return s.StateOf(it)
}

// StateOf is State for who knows the item. Only its ID, digest and length count.
func (s *Shelf) StateOf(it Item) (State, error) {
	s.mu.RLock()
	_, pinned := s.pinned[it.ID]
	s.mu.RUnlock()
	out := State{Pinned: pinned}
	st := s.store()
	if st == nil {
		return out, nil
	}
	set, err := st.Objects().Lookup(key(st, it.ID, it.SHA256))
	if err != nil || len(set) == 0 {
		return out, err
	}
	if set[0].Complete {
		return State{Held: it.Length, Complete: true, Pinned: pinned}, nil
	}
	m, err := st.Objects().Manifest(set[0])
	out.Held = min(m.Held(), it.Length)
	if !kindOf(set[0]).list.IsZero() {
		out.Held = share(it.Length, m)
	}
	return out, err
}

// object returns the stored object of an item, made if there is none.
func (s *Shelf) object(ctx context.Context, st *storage.Storage, it Item) (*object.Object, error) {
	s.storing.Lock()
	defer s.storing.Unlock()
	if !s.current(it) {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, it.ID)
	}
	if err := s.hold(ctx, st, it); err != nil {
		return nil, err
	}
	k := key(st, it.ID, it.SHA256)
	set, err := st.Objects().Lookup(k)
	if err != nil {
		return nil, err
	}
	if len(set) > 0 && kindOf(set[0]).list == it.list() {
		return set[0], nil
	}
	if len(set) > 0 { // the same bytes, cut otherwise
		if _, err := st.Objects().RemoveAll(ctx, k, "replaced"); err != nil {
			return nil, err
		}
	}
	o := newObject(k, it)
	if it.Length == 0 {
		b, err := block.Manifest{SHA256: block.Sum(nil)}.MarshalBinary()
		if err != nil {
			return nil, err
		}
		o.Complete, o.Inline = true, b
	}
	return o, st.Put(ctx, o)
}
