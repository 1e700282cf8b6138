// Package badgerblock keeps blocks in Badger, as rings of small stores.
//
// One large Badger never gives a cache's room back (its garbage collection
// waits for compactions that a store of few keys and large values does not
// have), so blocks lie in segments: folders of a few MiB, each a Badger of its
// own. Every ring writes to its newest segment only. A full segment is sealed:
// its Badger is closed for good, an index of digests is written beside the
// value log, and blocks are read from the value log by descriptors of our own,
// with sendfile where the client's connection allows it. Room is made by
// retiring a ring's oldest segment: a Keeper says what of it is worth keeping,
// that is put again into a newer one, and the folder is removed. If nearly all
// of it is worth keeping, nothing is copied: the folder gets a new name, by
// which it is the ring's newest. At no time do the segments, with what is
// allocated for those being written or about to be, exceed the budget.
//
// What is here that Badger would do otherwise, and why:
//
//   - No Badger is ever opened twice. A segment that a crash left unsealed is
//     read as a value log, entry by entry, and sealed. So nothing a disk does
//     to the other files can stop a start.
//   - Everything a segment may grow to is allocated when it is created. Badger
//     writes through memory maps, and a page that finds no room kills the
//     process.
//   - No byte reaches a client from inside Badger, whose locks a client that
//     stops reading would hold.
//
// What is read cold is verified by the checksum that Badger wrote with it, before
// a byte of it leaves; the scrub, and whatever moves or trusts a copy, goes by the
// digest.
//
// A Store knows nothing of objects, of popularity or of the network. It may
// lose blocks, by a power cut or a bad disk: then it says ErrNotFound. It never
// gives out bytes that do not match their digest.
//
// Metrics: preau_block_puts_total{result="stored|present|refused|failed"},
// preau_block_put_bytes_total, preau_block_verified_bytes_total,
// preau_block_damaged_total, preau_block_retired_segments_total,
// preau_block_relabelled_segments_total, preau_block_moved_bytes_total,
// preau_block_scrubbed_bytes_total, preau_block_disk_bytes,
// preau_block_budget_bytes, preau_block_ring_bytes{ring},
// preau_block_segments, preau_block_full.
package badgerblock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/block/lockfile"
)

const (
	lockName = "lock"
	nextName = "next"
	segments = "segments"
)

// ErrClosed reports a call after Close.
var ErrClosed = errors.New("block store is closed")

// Keep is one block that survives the segment it is in, and the ring it is to
// go to.
type Keep struct {
	Digest block.Digest
	Ring   block.Ring
}

// Move tells where a block was carried to.
type Move struct {
	Digest block.Digest
	To     block.Segment
}

// Keeper decides what survives when a segment is retired. Its methods are
// called by one goroutine at a time and with no lock held, so they may call
// the Store. A Put or PutRecord from within them must be given the ctx they
// were called with: it then makes no room of its own, which would wait for
// ever, but uses what is set aside for carrying forward.
//
// A disk that others have filled can cost segments without the Keeper being
// asked or told: whether a block is there, Has and Open say.
type Keeper interface {
	// NextRing says from which ring room is to be made. used[i] is the disk
	// space of ring i's segments, 0 if it was asked for all of them, several
	// times over, and gave up nothing. A ring that has nothing to give up is
	// passed over for the one that uses most.
	NextRing(used []int64) block.Ring
	// Retire returns which blocks of segment s of ring r to carry forward. An
	// error leaves s where it is. Where room is short, or nearly all is kept,
	// all blocks may go to the ring that most are to go to.
	Retire(ctx context.Context, r block.Ring, s block.Segment) ([]Keep, error)
	// Moved tells where blocks went, before their old segment is removed. What
	// Retire asked for and moves lacks turned out to be damaged or gone. An
	// error leaves the segment where it is. It is also called when a few
	// nearly empty segments are put together, without Retire.
	Moved(ctx context.Context, from block.Segment, moves []Move) error
	// Relabelled tells that segment from, with the blocks of it that are kept
	// and all records, becomes segment to, in place of Moved. Nothing was
	// copied, so the records need not be put again. It is called before the
	// change; an error leaves the segment where it is. Should the process be
	// killed before Retired(from), from may still be there and to never exist,
	// so from must not be forgotten yet; to is not used for anything else.
	Relabelled(ctx context.Context, from, to block.Segment, kept []block.Digest) error
	// Retired tells that segment s is gone.
	Retired(ctx context.Context, s block.Segment)
}

// Store is a block.Store in Badger. Its methods may be called concurrently.
type Store struct {
	cfg     Config
	segment int64 // how much is in a full segment, about
	geo     geometry
	reserve int64
	keeper  Keeper
	log     *slog.Logger
	met     *metrics
	lock    *lockfile.Lock
	space   func(dir string) (free, total int64, err error)

	rings    []*ring
	carriers []*ring                    // like rings, for what is carried forward
	list     atomic.Pointer[[]*segment] // newest first; replaced, never changed
	listMu   sync.Mutex                 // held to replace it
	next     block.Segment              // guarded by listMu
	stored   block.Segment              // what the file next says
	foreign  int64                      // disk space of what is not a segment
	pending  atomic.Int64               // disk space of removed segments still read

	claimMu  sync.Mutex
	claimed  atomic.Int64 // disk space set aside for segments about to be created; added to with claimMu held
	toCreate int64        // how many of these the retirement under way may still create; guarded by trim

	flightMu sync.Mutex
	flight   map[block.Digest]*request

	trim       chan struct{} // holds a token while room is made
	stuckUntil time.Time     // guarded by trim, as is the next
	stuckFor   time.Duration // 0 unless the last attempt failed
	stuckRoom  int64         // least headroom that was seen since
	full       atomic.Bool

	wake    chan struct{}
	running atomic.Bool
	closed  atomic.Bool
	writes  sync.RWMutex // held for reading while writing, for writing by Close

	buffers buffers
	step    func(name string) // for tests: called between the steps of a relabelling
}

var _ block.Store = (*Store)(nil)

// ring is one queue of segments.
type ring struct {
	number block.Ring
	name   string

	queueMu sync.Mutex
	queue   []*request

	mu     sync.Mutex // held while writing and while active changes
	active *segment
}

// New opens the store in cfg.Dir, which no other process may have open. It
// reads the index of every segment and mends what a crash left; it starts
// nothing. Damage costs blocks, never the start. keeper's methods are not
// called before Run or Put are.
func New(cfg Config, keeper Keeper, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	return open(cfg, keeper, log, reg, diskSpace)
}

func open(cfg Config, keeper Keeper, log *slog.Logger, reg prometheus.Registerer, space func(string) (int64, int64, error)) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("block store config: %w", err)
	}
	if keeper == nil || log == nil || reg == nil {
		return nil, errors.New("block store: keeper, log and reg must be given")
	}
	s := &Store{
		cfg:    cfg,
		keeper: keeper,
		log:    log.With("part", "block"),
		space:  space,
		flight: make(map[block.Digest]*request),
		trim:   make(chan struct{}, 1),
		wake:   make(chan struct{}, 1),
	}
	s.buffers.init()
	for i, r := range cfg.Rings {
		s.rings = append(s.rings, &ring{number: block.Ring(i), name: r.Name})
		s.carriers = append(s.carriers, &ring{number: block.Ring(i), name: r.Name})
	}
	s.list.Store(&[]*segment{})
	met, err := newMetrics(s, reg)
	if err != nil {
		return nil, fmt.Errorf("block store metrics: %w", err)
	}
	s.met = met
	if err := s.start(); err != nil {
		met.unregister()
		return nil, fmt.Errorf("open block store: %w", err)
	}
	return s, nil
}

// Run seals full segments, keeps room for the next one, and reads everything
// again in the course of time. It returns nil when ctx ends. A Store works
// without it, but its writers then do the sealing.
func (s *Store) Run(ctx context.Context) error {
	s.running.Store(true)
	defer s.running.Store(false)
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.cfg.ScrubBytesPerSecond > 0 {
		wg.Go(func() { s.scrub(ctx) })
	}
	if err := s.mergeSmall(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "small segments not merged", "err", err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.sealFull()
		s.reportBadIndexes(ctx)
		if err := s.makeRoom(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, block.ErrNoSpace) {
			s.log.WarnContext(ctx, "no room made", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// reportBadIndexes says once of each index that it was found to be damaged.
func (s *Store) reportBadIndexes(ctx context.Context) {
	for _, g := range s.all() {
		if x := g.idx.Load(); x != nil && x.bad.Load() && !x.said.Swap(true) {
			s.log.WarnContext(ctx, "index of a segment is damaged: some of its blocks are lost until the next start, which rebuilds it", "segment", g.id())
		}
	}
}

// Close seals what is being written and closes the store. Run must have
// returned. Blocks that are open stay readable.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.writes.Lock() // until the last write has ended
	defer s.writes.Unlock()
	var errs []error
	for _, r := range slices.Concat(s.rings, s.carriers) {
		r.mu.Lock()
		r.fillUp()
		r.mu.Unlock()
	}
	for _, g := range s.all() {
		if err := s.seal(g); err != nil {
			errs = append(errs, err)
		}
	}
	for _, g := range s.replaceList(func([]*segment) []*segment { return nil }) {
		g.release()
	}
	s.met.unregister()
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close block store: %w", err)
	}
	return nil
}

// all returns the segments, newest first.
func (s *Store) all() []*segment { return *s.list.Load() }

// replaceList replaces the list of segments and returns the old one.
func (s *Store) replaceList(fn func(old []*segment) []*segment) []*segment {
	s.listMu.Lock()
	defer s.listMu.Unlock()
	old := s.all()
	fresh := fn(slices.Clone(old))
	slices.SortFunc(fresh, func(a, b *segment) int { return cmp.Compare(b.id(), a.id()) })
	s.list.Store(&fresh)
	return old
}

// find returns the newest segment that has d, held. With lasting, segments
// that are about to go don't count.
func (s *Store) find(d block.Digest, lasting bool) (*segment, place, bool) {
	for {
		list := s.list.Load()
		for _, g := range *list {
			if lasting && g.retiring.Load() || !g.hold() {
				continue
			}
			if p, ok := g.find(d); ok {
				return g, p, true
			}
			g.release()
		}
		// A block that is carried forward while we look may be in neither
		// place that we saw.
		if s.list.Load() == list {
			return nil, place{}, false
		}
	}
}

// Has implements block.Store. It does not look at the block's bytes.
func (s *Store) Has(d block.Digest) (block.Segment, bool) {
	g, _, ok := s.find(d, false)
	if !ok {
		return 0, false
	}
	defer g.release()
	return g.id(), true
}

// Drop implements block.Store. It holds after a restart too, unless the
// segment was still being written when the process was killed.
func (s *Store) Drop(d block.Digest) {
	for _, g := range s.all() {
		if !g.hold() {
			continue
		}
		if _, err := g.drop(d); err != nil {
			s.log.Warn("drop not noted on disk", "digest", d, "err", err)
		}
		g.release()
	}
}

// Each calls fn for every block in segment seg, in no particular order.
func (s *Store) Each(ctx context.Context, seg block.Segment, fn func(d block.Digest, length int) error) error {
	for _, g := range s.all() {
		if g.id() != seg || !g.hold() {
			continue
		}
		defer g.release()
		return g.each(func(d block.Digest, p place) error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			return fn(d, int(p.len))
		})
	}
	return nil
}

// Records calls fn for every record, those of the oldest segment first and in
// the order in which they were put. Damaged ones are left out.
func (s *Store) Records(ctx context.Context, fn func(seg block.Segment, key, value []byte) error) error {
	list := s.all()
	for _, g := range slices.Backward(list) {
		if !g.hold() {
			continue
		}
		err := g.records(func(key, value []byte) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fn(g.id(), key, value)
		})
		g.release()
		if err != nil {
			return fmt.Errorf("records of segment %d: %w", g.id(), err)
		}
	}
	return nil
}

// Segments returns the numbers of all segments, oldest first.
func (s *Store) Segments() []block.Segment {
	var ids []block.Segment
	for _, g := range slices.Backward(s.all()) {
		ids = append(ids, g.id())
	}
	return ids
}
