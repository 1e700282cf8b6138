package hold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"preau/cache/block"
)

const (
	// maxNamed bounds what a sweep remembers of the catalogue: 16 TiB of files
	// in 128 MiB of memory. A larger region keeps what it could remove.
	maxNamed = 1 << 24
	// sweptAtOnce is how many blocks are found before they are removed.
	sweptAtOnce = 4096
)

var (
	errBehind   = errors.New("this server's catalogue is behind")
	errYoung    = errors.New("the server has not been up for long enough")
	errNothing  = errors.New("the catalogue names nothing at all")
	errTooMany  = errors.New("the catalogue names more than a sweep can remember")
	errFoundAll = errors.New("enough found")
)

// names is a set of digests, each cut to eight bytes and sorted. A digest that
// only begins like one of them counts as one: it stays, which is safe.
type names []uint64

func (n names) has(d block.Digest) bool {
	_, found := slices.BinarySearch(n, short(d))
	return found
}

// sweepOnce sweeps, and logs and counts what became of it.
func (r *Repairer) sweepOnce(ctx context.Context) {
	removed, bytes, err := r.sweep(ctx)
	log, m := r.shelf.log, r.shelf.metrics
	if removed > 0 {
		log.InfoContext(ctx, "blocks removed that nothing names", "blocks", removed, "bytes", bytes)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil:
		m.sweeps.WithLabelValues("ok").Inc()
	case errors.Is(err, errBehind) || errors.Is(err, errYoung):
		m.sweeps.WithLabelValues("postponed").Inc()
		log.DebugContext(ctx, "sweep postponed", "err", err)
	default:
		m.sweeps.WithLabelValues("failed").Inc()
		log.WarnContext(ctx, "sweep given up, nothing more is removed", "err", err)
	}
}

// sweep removes the blocks that the catalogue does not name, that nobody claims
// and that are older than the grace. In any doubt it removes nothing: a block too
// many costs a megabyte, one too few costs a file.
func (r *Repairer) sweep(ctx context.Context) (removed int, bytes int64, err error) {
	switch {
	case !r.shelf.claims.settled():
		return 0, 0, errYoung
	case !r.catalogue.Current():
		return 0, 0, errBehind
	}
	var known names
	err = r.named(ctx, func(d block.Digest) error {
		if len(known) >= maxNamed {
			return errTooMany
		}
		known = append(known, short(d))
		return nil
	}, func(_ block.Digest, err error) error {
		// What a list names that we can't read, we can't know.
		return err
	})
	switch {
	case err != nil:
		return 0, 0, err
	case len(known) == 0:
		// An empty catalogue beside a full disk is more often an accident than a
		// wish.
		return 0, 0, errNothing
	}
	if known, err = r.spared(ctx, known); err != nil {
		return 0, 0, err
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for {
		found, more, err := r.unnamed(ctx, known)
		if err != nil {
			return removed, bytes, err
		}
		n, freed, err := r.remove(ctx, found)
		removed, bytes = removed+n, bytes+freed
		if err != nil {
			return removed, bytes, err
		}
		// A full round of which nothing could go would come back the same.
		if !more || n == 0 {
			return removed, bytes, nil
		}
	}
}

// spared adds to known what is to stay though it is not wanted.
func (r *Repairer) spared(ctx context.Context, known names) (names, error) {
	if r.catalogue.Spare == nil {
		return known, nil
	}
	var full error
	var buf []byte
	err := r.catalogue.Spare(ctx, func(list block.Digest) bool {
		known = append(known, short(list))
		if p, err := r.shelf.Read(list, buf); err == nil {
			buf = p
			digests, err := listed(p)
			if err == nil {
				for _, d := range digests {
					known = append(known, short(d))
				}
			}
		} // what a list names that is not here can be fetched again
		if len(known) >= maxNamed {
			full = errTooMany
		}
		return full == nil
	})
	return known, errors.Join(err, full)
}

// aged is a block that is old enough to go.
type aged struct {
	digest block.Digest
	size   int64
}

// unnamed walks the disk for old blocks that are not in known, and says whether
// there may be more of them than it returns.
func (r *Repairer) unnamed(ctx context.Context, known names) (found []aged, more bool, _ error) {
	// The time on the disk is set by a clock that may jump. It can only keep a
	// block: that it is old enough to go, the shelf's own clock has to say too.
	before := time.Now().Add(-r.shelf.claims.grace)
	err := r.shelf.store.Walk(ctx, func(d block.Digest, size int64, modified time.Time) error {
		if known.has(d) || modified.After(before) || r.shelf.claims.claimed(d) {
			return nil
		}
		if len(found) == sweptAtOnce {
			return errFoundAll
		}
		found = append(found, aged{digest: d, size: size})
		return nil
	})
	if errors.Is(err, errFoundAll) {
		return found, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("walk the blocks: %w", err)
	}
	return found, false, nil
}

func (r *Repairer) remove(ctx context.Context, found []aged) (removed int, bytes int64, _ error) {
	for _, a := range found {
		if ctx.Err() != nil {
			return removed, bytes, context.Cause(ctx)
		}
		// Entries that came since we read the catalogue were ensured first, and so
		// are claimed, unless we have been cut off from those who would claim.
		if !r.catalogue.Current() {
			return removed, bytes, errBehind
		}
		gone, err := r.shelf.claims.unlessClaimed(a.digest, func() error { return r.shelf.store.Remove(a.digest) })
		if err != nil {
			return removed, bytes, fmt.Errorf("remove block %s: %w", a.digest, err)
		}
		if gone {
			removed, bytes = removed+1, bytes+a.size
			r.shelf.metrics.removed.Inc()
			r.shelf.metrics.removedBytes.Add(float64(a.size))
		}
	}
	return removed, bytes, nil
}
