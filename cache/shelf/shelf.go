// Package shelf is what the region has published, as a box keeps and serves it
// under /r/.
//
// What there is comes from outside (Set, Upsert, Remove), with a manifest of
// each item's blocks. Bytes lie in the cache's storage and are fetched block by
// block from a Source when somebody asks for them, or ahead of time with Fetch;
// each block is compared with the manifest before a byte of it leaves, and
// fetched elsewhere if it is another. Pinned items are never evicted. An item
// that is removed is gone at once, with its bytes.
//
// The package decides neither what is wanted nor when the line may be used, and
// keeps no list of its own over a restart. Without a storage it passes through.
//
// Metrics: preau_shelf_items; preau_shelf_requests_total{result}, where result
// is hit, miss, list, not_modified, not_found, error;
// preau_shelf_blocks_total{result}: local, fetched, wrong, failed;
// preau_shelf_received_bytes_total.
package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
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

// ErrUnknown reports an item that is not published.
var ErrUnknown = errors.New("no such item is published")

// Source gives blocks. Its method may be called concurrently.
type Source interface {
	// Block opens the block named d. attempt counts from 0: what an earlier one
	// gave was wrong or broke, so a later one should ask somebody else.
	Block(ctx context.Context, d block.Digest, attempt int) (io.ReadCloser, error)
}

// Config says how patient the shelf is. Start from DefaultConfig.
type Config struct {
	Attempts     int           // to get one block
	BlockTimeout time.Duration // for one block asked for by somebody
	FirstByte    time.Duration // before a device is told that the item can't be had now
	Quiet        time.Duration // how often Fetch looks whether people still wait
	MaxItems     int
}

// DefaultConfig returns what suits a school's line.
func DefaultConfig() Config {
	return Config{Attempts: 4, BlockTimeout: 2 * time.Minute, FirstByte: 20 * time.Second, Quiet: 200 * time.Millisecond, MaxItems: 100_000}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Attempts < 1 || c.MaxItems < 1 {
		errs = append(errs, errors.New("attempts, max_items: must be at least 1"))
	}
	if c.BlockTimeout <= 0 || c.FirstByte <= 0 || c.Quiet <= 0 {
		errs = append(errs, errors.New("block_timeout, first_byte, quiet: must be longer than 0"))
	}
	return errors.Join(errs...)
}

// Shelf is what is published. Its methods may be called concurrently.
type Shelf struct {
	cfg     Config
	store   func() *storage.Storage
	src     Source
	log     *slog.Logger
	metrics *metrics

	storing sync.Mutex // held while an item's object is made or removed

	mu      sync.RWMutex
	items   map[string]*entry
	gone    map[string]struct{}
	flights map[block.Digest]*flight
}

type entry struct {
	Item
	pinned bool
}

// New checks cfg and registers metrics; it starts nothing. store returns the
// storage that is open now, or nil.
func New(cfg Config, store func() *storage.Storage, src Source, log *slog.Logger, reg prometheus.Registerer) (*Shelf, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("shelf config: %w", err)
	}
	s := &Shelf{
		cfg: cfg, store: store, src: src, log: log.With("part", "shelf"),
		items: map[string]*entry{}, gone: map[string]struct{}{}, flights: map[block.Digest]*flight{},
	}
	var err error
	s.metrics, err = newMetrics(reg, func() float64 { return float64(s.Len()) })
	return s, err
}

// Len is how many items there are.
func (s *Shelf) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.items)
}

// Items lists what is published, by ID.
func (s *Shelf) Items() []Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Item, 0, len(s.items))
	for _, id := range slices.Sorted(maps.Keys(s.items)) {
		out = append(out, s.items[id].Item)
	}
	return out
}

// Set publishes items and nothing else. Those that can't be are left out, and
// the error tells of them.
func (s *Shelf) Set(ctx context.Context, items []Item) error {
	var errs []error
	keep := map[string]bool{}
	for _, it := range items {
		keep[it.ID] = true
		errs = append(errs, s.Upsert(ctx, it))
	}
	for _, it := range s.Items() {
		if !keep[it.ID] {
			errs = append(errs, s.Remove(ctx, it.ID))
		}
	}
	return errors.Join(append(errs, s.Sync(ctx))...)
}

// Upsert publishes one item, in place of what had its ID. Other bytes are
// another version: what is held of the old one goes.
func (s *Shelf) Upsert(ctx context.Context, it Item) error {
	if err := it.Validate(); err != nil {
		return fmt.Errorf("publish %q: %w", it.ID, err)
	}
	s.mu.Lock()
	old := s.items[it.ID]
	if old == nil && len(s.items) >= s.cfg.MaxItems {
		s.mu.Unlock()
		return fmt.Errorf("publish %q: there are %d items already", it.ID, s.cfg.MaxItems)
	}
	next := &entry{Item: it}
	next.Blocks = slices.Clone(it.Blocks)
	if old != nil {
		next.pinned = old.pinned
	}
	s.items[it.ID] = next
	delete(s.gone, it.ID)
	s.mu.Unlock()
	if old == nil || old.SHA256 == it.SHA256 {
		return nil
	}
	err := s.drop(ctx, old.Item)
	if next.pinned {
		err = errors.Join(err, s.Want(it.ID, true))
	}
	return err
}

// Remove takes an item away. When it returns without an error nothing is left
// of it but what is being sent already. One that is not there is no error.
func (s *Shelf) Remove(ctx context.Context, id string) error {
	s.mu.Lock()
	old := s.items[id]
	delete(s.items, id)
	if old != nil {
		if len(s.gone) >= mostGone {
			clear(s.gone)
		}
		s.gone[id] = struct{}{}
	}
	s.mu.Unlock()
	if old == nil {
		return nil
	}
	return s.drop(ctx, old.Item)
}

// drop removes what the storage has of an item that is no longer published.
func (s *Shelf) drop(ctx context.Context, it Item) error {
	st := s.store()
	if st == nil {
		return nil // Sync does it when there is one again
	}
	s.storing.Lock()
	defer s.storing.Unlock()
	return s.dropKey(ctx, st, key(st, it))
}

func (s *Shelf) dropKey(ctx context.Context, st *storage.Storage, k object.Key) error {
	_, err := st.Objects().RemoveAll(ctx, k, "purged")
	return errors.Join(err, st.Unpin(k))
}

// Want says whether an item is pinned: kept whatever else wants the room. An
// error that matches storage.ErrPinsFull says that pins have no more room.
func (s *Shelf) Want(id string, pinned bool) error {
	s.mu.Lock()
	e := s.items[id]
	if e == nil {
		s.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	e.pinned = pinned
	it := e.Item
	s.mu.Unlock()
	st := s.store()
	if st == nil {
		return nil
	}
	if !pinned {
		return st.Unpin(key(st, it))
	}
	if err := st.Pin(key(st, it), it.Length); err != nil {
		return fmt.Errorf("pin %q: %w", id, err)
	}
	return nil
}

// Sync brings the storage in line with what is published: call it when one has
// been opened. Items that went while it was closed are removed from it.
func (s *Shelf) Sync(ctx context.Context) error {
	st := s.store()
	if st == nil {
		return nil
	}
	s.mu.RLock()
	current := map[object.Key]bool{}
	var pinned []string
	for id, e := range s.items {
		current[key(st, e.Item)] = true
		if e.pinned {
			pinned = append(pinned, id)
		}
	}
	s.mu.RUnlock()
	var old []object.Key
	err := st.Objects().Listed(ctx, siteName, func(o *object.Object) bool {
		if !current[o.Key] {
			old = append(old, o.Key)
		}
		return true
	})
	errs := []error{err}
	s.storing.Lock()
	for _, k := range old {
		errs = append(errs, s.dropKey(ctx, st, k))
	}
	s.storing.Unlock()
	for _, id := range pinned {
		if err := s.Want(id, true); !errors.Is(err, ErrUnknown) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// State is how much of an item is held.
type State struct {
	Held     int64
	Complete bool
	Pinned   bool
}

// State says how much of an item is held here.
func (s *Shelf) State(id string) (State, error) {
	e, ok := s.find(id)
	if !ok {
		return State{}, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	st := s.store()
	if st == nil {
		return State{Pinned: e.pinned}, nil
	}
	return s.state(st, e)
}

func (s *Shelf) state(st *storage.Storage, e entry) (State, error) {
	out := State{Pinned: e.pinned}
	set, err := st.Objects().Lookup(key(st, e.Item))
	if err != nil || len(set) == 0 {
		return out, err
	}
	if set[0].Complete {
		return State{Held: e.Length, Complete: true, Pinned: e.pinned}, nil
	}
	m, err := st.Objects().Manifest(set[0])
	out.Held = min(m.Held(), e.Length)
	return out, err
}

func (s *Shelf) find(id string) (entry, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.items[id]
	if e == nil {
		return entry{}, false
	}
	return *e, true
}

// current reports whether it is still what is published under its ID.
func (s *Shelf) current(it Item) bool {
	e, ok := s.find(it.ID)
	return ok && e.SHA256 == it.SHA256
}

// key names one version of an item in the storage.
func key(st *storage.Storage, it Item) object.Key {
	return st.Key(siteName, it.ID, it.SHA256.String())
}

// object returns the stored object of an item, made if there is none.
func (s *Shelf) object(ctx context.Context, st *storage.Storage, it Item) (*object.Object, error) {
	s.storing.Lock()
	defer s.storing.Unlock()
	if !s.current(it) {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, it.ID)
	}
	k := key(st, it)
	set, err := st.Objects().Lookup(k)
	if err != nil {
		return nil, err
	}
	if len(set) > 0 {
		return set[0], nil
	}
	now := time.Now()
	o := &object.Object{
		ID: object.NewID(), Key: k, Site: siteName, Status: http.StatusOK, Header: http.Header{"Etag": {it.etag()}},
		RequestTime: now, ResponseTime: now, Length: it.Length, Ranges: true, Lists: Prefix + it.ID + "/" + it.SHA256.String(),
	}
	if it.Length == 0 {
		b, err := block.Manifest{SHA256: block.Sum(nil)}.MarshalBinary()
		if err != nil {
			return nil, err
		}
		o.Complete, o.Inline = true, b
	}
	return o, st.Put(ctx, o)
}
