package fileblock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"preau/cache/block"
)

// Scrubbed is what a Scrub has seen.
type Scrubbed struct {
	Blocks  int // found right
	Bytes   int64
	Damaged []block.Digest // removed: to be fetched again from somewhere
}

// Scrub reads every block once from the disk, at most at bytesPerSecond, and
// removes those that are damaged. When ctx ends, it returns what it has seen
// until then along with ctx's error.
func (s *Store) Scrub(ctx context.Context, bytesPerSecond int64) (Scrubbed, error) {
	var seen Scrubbed
	if bytesPerSecond <= 0 {
		return seen, fmt.Errorf("scrub at %d bytes per second: must be more than 0", bytesPerSecond)
	}
	for _, d := range s.digests() {
		if ctx.Err() != nil {
			return seen, context.Cause(ctx)
		}
		size, err := s.scrubOne(d)
		switch {
		case errors.Is(err, block.ErrCorrupt):
			seen.Damaged = append(seen.Damaged, d)
		case errors.Is(err, block.ErrNotFound):
			continue
		case err != nil:
			return seen, fmt.Errorf("scrub: %w", err)
		default:
			seen.Blocks++
			seen.Bytes += size
		}
		pause := time.NewTimer(time.Duration(float64(max(size, 4096)) / float64(bytesPerSecond) * float64(time.Second)))
		select {
		case <-ctx.Done():
			pause.Stop()
		case <-pause.C:
		}
	}
	return seen, nil
}

// scrubOne leaves the page cache as it was: a block that nobody reads is not
// kept in memory for having been checked.
func (s *Store) scrubOne(d block.Digest) (int64, error) {
	s.mu.Lock()
	e, ok := s.blocks[d]
	if ok {
		e.checked = fileStat{} // so that open hashes it
	}
	s.mu.Unlock()
	if !ok {
		return 0, block.ErrNotFound
	}
	wasHot := s.cool(d)
	b, err := s.open(d)
	if err != nil {
		return 0, err
	}
	if !wasHot {
		forget(b.f)
	}
	return b.size, b.Close()
}

// cool has the next read of d come from the disk, and reports whether it would
// have come from memory.
func (s *Store) cool(d block.Digest) (wasHot bool) {
	f, err := os.Open(s.path(d))
	if err != nil {
		return false // open will say so
	}
	defer f.Close() //nolint:errcheck // only read
	if fi, err := f.Stat(); err == nil {
		wasHot = resident(f, fi.Size())
	}
	forget(f)
	return wasHot
}
