// Package hold keeps the bytes that a region's servers hold themselves:
// published files, until something further upstream has them.
//
// A file is cut into blocks (Split), each named by its digest, and every block
// is put on this server's Shelf. Ensure then brings every block to a majority of
// the region's servers, where each is synced to disk before it is acknowledged.
// Only after that does the caller commit the catalogue's entry: acknowledged
// means kept. What Ensure leaves undone, and whatever a disk loses later, a
// Repairer fetches from the other servers, and it removes the blocks that the
// catalogue has not named for a day.
//
// A Shelf and a Repairer go together, one of each on a server. Server has the
// HTTP handlers and Client their other end. The package does not know what a
// block means, does not read the catalogue (it is told which digests that
// names), evicts nothing that is named, and opens no connection but through the
// http.RoundTripper that it is given.
//
// # What a block on the shelf is safe from
//
// A publication takes time: its blocks are on the servers before the catalogue
// names them. A block that has been put, or that has been reported as held, is
// therefore claimed: it stays for the grace of the Shelf, counted by a clock that
// nobody can set. Claims are kept in memory; so that a restart loses none of
// them, nothing at all is removed before the Shelf has been up for its grace. A
// publication must commit within the grace of its Ensure, or call Ensure again.
//
// # Metrics
//
//	preau_hold_requests_total{op,result}     requests answered: get, put, missing; ok, filled, absent, damaged, refused, no_space, failed
//	preau_hold_pushed_blocks_total{result}   blocks sent to other servers by Ensure: ok, failed
//	preau_hold_fetches_total{result}         blocks asked of other servers: ok, absent, wrong, failed, unkept
//	preau_hold_fetched_bytes_total           bytes of the blocks fetched from other servers
//	preau_hold_damaged_blocks_total          blocks found damaged on this server's disk
//	preau_hold_wanted_blocks                 digests that the catalogue named at the last look, repeats counted
//	preau_hold_missing_blocks                of these, digests that were not here after the last repair, repeats counted
//	preau_hold_removed_blocks_total          blocks removed because nothing names them
//	preau_hold_removed_bytes_total           their bytes
//	preau_hold_sweeps_total{result}          looks for such blocks: ok, postponed, failed
package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
)

// ring is the only ring of a store that is no cache: nothing is evicted.
const ring block.Ring = 0

var (
	// ErrWrongBytes reports bytes that are not those that their digest names.
	ErrWrongBytes = errors.New("bytes do not match their digest")
	// ErrTooLarge reports a file that has more blocks than a list of digests
	// can name.
	ErrTooLarge = errors.New("file is too large to publish")
)

// Store is the part of a store of blocks that a Shelf needs.
type Store interface {
	// Store's Put returns when the block is on disk and synced, whoever wrote
	// it: a power cut right after it loses nothing.
	block.Store
	// Walk calls fn for each block held, in any order, until fn or ctx ends it.
	// Blocks put or removed meanwhile may or may not be seen. fn does
	// not call the Store.
	Walk(ctx context.Context, fn func(d block.Digest, size int64, modified time.Time) error) error
	// Remove deletes a block that is not needed any more. One that is not
	// there is no error.
	Remove(d block.Digest) error
}

// Shelf is what one server holds. All methods may be called concurrently. It
// owns no goroutine.
type Shelf struct {
	store   Store
	claims  *claims
	damaged chan block.Digest
	log     *slog.Logger
	metrics *metrics
}

// New returns the shelf over store, with metrics registered for it and for all
// that is built on it. grace is how long a block stays that nothing names; a day
// is a good value.
func New(store Store, grace time.Duration, log *slog.Logger, reg prometheus.Registerer) (*Shelf, error) {
	if store == nil {
		return nil, errors.New("hold: no store")
	}
	if grace <= 0 {
		return nil, fmt.Errorf("hold: grace of %s must be positive: a publication needs time between its blocks and its entry", grace)
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Shelf{
		store:   store,
		claims:  newClaims(grace, maxClaims),
		damaged: make(chan block.Digest, 1024),
		log:     log.With("part", "hold"),
		metrics: m,
	}, nil
}

// Put keeps p, which must be what d names, synced to disk, and says whether it
// was not there before. A copy that is there already is read and checked, not
// trusted. p is not kept after Put returns. Errors: ErrWrongBytes,
// block.ErrNoSpace, ctx's, or the disk's.
func (s *Shelf) Put(ctx context.Context, d block.Digest, p []byte) (added bool, err error) {
	if len(p) == 0 || len(p) > block.Size {
		return false, fmt.Errorf("block of %d bytes, want 1 to %d", len(p), block.Size)
	}
	if block.Sum(p) != d {
		return false, fmt.Errorf("put block %s: %w", d, ErrWrongBytes)
	}
	// First the claim, then the look: a sweep either sees the claim or has
	// removed the block before we look.
	s.claims.add(d)
	held, err := s.sound(d)
	if err != nil {
		return false, fmt.Errorf("put block %s: %w", d, err)
	}
	// Also for a block that is there: another Put may not have synced it yet.
	if err := s.keep(ctx, d, p); err != nil {
		return false, err
	}
	return !held, nil
}

// keep writes p, which has been checked.
func (s *Shelf) keep(ctx context.Context, d block.Digest, p []byte) error {
	if _, err := s.store.Put(ctx, ring, d, p); err != nil {
		if errors.Is(err, syscall.ENOSPC) && !errors.Is(err, block.ErrNoSpace) {
			err = fmt.Errorf("%w: %w", block.ErrNoSpace, err)
		}
		return fmt.Errorf("put block %s: %w", d, err)
	}
	return nil
}

// sound reports whether d is here and good. A bad copy has been dropped when it
// returns false. An error says that the disk doesn't tell.
func (s *Shelf) sound(d block.Digest) (bool, error) {
	if _, held := s.store.Has(d); !held {
		return false, nil
	}
	b, err := s.open(d)
	switch {
	case errors.Is(err, block.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	b.Close()
	return true, nil
}

// open returns a block of which the bytes have been checked once. One that is
// damaged is dropped and reported for repair.
func (s *Shelf) open(d block.Digest) (block.Block, error) {
	b, err := s.store.Open(d)
	if err != nil {
		s.noticed(d, err)
		return nil, fmt.Errorf("open block %s: %w", d, err)
	}
	// A block checks all its bytes before the first of them leaves.
	var first [1]byte
	if _, err := b.ReadAt(first[:], 0); err != nil {
		b.Close()
		s.noticed(d, err)
		return nil, fmt.Errorf("open block %s: %w", d, err)
	}
	return b, nil
}

// noticed reports d for repair if err says that it was damaged; the store has
// dropped it then. Any other error may pass (too many open files, say) and must
// not cost a copy.
func (s *Shelf) noticed(d block.Digest, err error) {
	if errors.Is(err, block.ErrCorrupt) {
		s.Damaged(d)
	}
}

// Damaged tells that d was found damaged and dropped, by a scrub for instance,
// so that the Repairer fetches it again at once. It never blocks.
func (s *Shelf) Damaged(d block.Digest) {
	s.metrics.damaged.Inc()
	s.log.Warn("block was damaged and is to be fetched again", "digest", d.String())
	select {
	case s.damaged <- d:
	default:
		// The next look at the catalogue finds what does not fit here.
	}
}

// Read returns the whole of a block, checked. buf is used if it is large enough.
// Errors: block.ErrNotFound, also for a block that turned out to be damaged.
func (s *Shelf) Read(d block.Digest, buf []byte) ([]byte, error) {
	b, err := s.open(d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	n := b.Len()
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if got, err := b.ReadAt(buf, 0); got < n {
		s.noticed(d, err)
		return nil, fmt.Errorf("read block %s: %w", d, err)
	}
	return buf, nil
}

// Missing returns those of digests that are not here, in their order. Those that
// are here stay for the grace of the shelf. A block that nobody has relied on of
// late is read and checked first: whoever asks is about to count it as a copy.
func (s *Shelf) Missing(ctx context.Context, digests []block.Digest) ([]block.Digest, error) {
	checked := s.claims.add(digests...)
	var missing []block.Digest
	for i, d := range digests {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		_, held := s.store.Has(d)
		if held && !checked[i] {
			// A disk that doesn't tell has no copy to count on.
			sound, err := s.sound(d)
			held = sound && err == nil
		}
		if !held {
			missing = append(missing, d)
		}
	}
	return missing, nil
}
