package badgerblock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"preau/cache/block"
)

// scrubPause is how long scrub waits before it looks again when there is
// nothing to read.
const scrubPause = time.Minute

// scrub reads every sealed block again and again, slowly, and drops what has
// been damaged. It goes by the digests, so it finds what a checksum misses. Where it stands is not kept: over a box's months, every block
// is reached.
func (s *Store) scrub(ctx context.Context) {
	var last block.Segment
	for wait(ctx, time.Second) {
		g := s.after(last)
		if g == nil {
			last = 0
			if !wait(ctx, scrubPause) {
				return
			}
			continue
		}
		last = g.id()
		err := s.scrubSegment(ctx, g)
		g.release()
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "segment not scrubbed", "segment", last, "err", err)
		}
	}
}

// after returns the oldest sealed segment younger than last, held; nil if
// there is none.
func (s *Store) after(last block.Segment) *segment {
	for _, g := range slices.Backward(s.all()) {
		if g.id() > last && g.sealed() && g.hold() {
			return g
		}
	}
	return nil
}

func (s *Store) scrubSegment(ctx context.Context, g *segment) error {
	var debt time.Duration
	return g.each(func(d block.Digest, p place) error {
		if g.removed.Load() {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := &storedBlock{s: s, g: g, digest: d, place: p}
		hot, known := resident(g.fd, int64(p.off), int64(p.len))
		buf, done := s.buffers.whole(int(p.len))
		b.doubt()
		_, err := b.readHashed(buf)
		done()
		if known && !hot {
			// What nobody reads shall not push out what somebody does.
			forget(g.fd, int64(p.off), int64(p.len))
		}
		if err != nil && !errors.Is(err, block.ErrNotFound) {
			return fmt.Errorf("scrub block %s: %w", d, err)
		}
		s.met.scrubbed.Add(float64(p.len))
		debt += time.Duration(float64(p.len) / float64(s.cfg.ScrubBytesPerSecond) * float64(time.Second))
		if debt > 100*time.Millisecond {
			if !wait(ctx, debt) {
				return context.Cause(ctx)
			}
			debt = 0
		}
		return nil
	})
}

// wait waits for d and reports whether ctx still lives.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
