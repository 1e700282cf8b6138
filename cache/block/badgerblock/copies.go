package badgerblock

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"preau/cache/block"
)

// This file is about blocks that lie in several segments. That happens: what
// was found damaged is fetched and put again, and a drop of what was being
// written does not outlive a crash. Where a copy is counted on because it is
// there already, its bytes are looked at: who puts a block again may do so
// because the stored one is of no use.

var errOtherBytes = errors.New("bytes are not those of the block")

// present returns the segment that has d, stored as p. Copies that differ are
// dropped. Those in segments that are about to go don't count. The error is for
// a p that is not d's.
func (s *Store) present(d block.Digest, p []byte) (block.Segment, bool, error) {
	for {
		list := s.list.Load()
		for _, g := range *list {
			if !g.hold() {
				continue
			}
			seg, ok, err := s.presentIn(g, d, p)
			g.release()
			if ok || err != nil {
				return seg, ok, err
			}
		}
		// As in find: it may have been carried from one that we had not yet
		// looked at to one that is newer.
		if s.list.Load() == list {
			return 0, false, nil
		}
	}
}

func (s *Store) presentIn(g *segment, d block.Digest, p []byte) (block.Segment, bool, error) {
	at, ok := g.find(d)
	if !ok {
		return 0, false, nil
	}
	b := &storedBlock{s: s, g: g, digest: d, place: at}
	if err := b.compare(p); err != nil {
		if block.Sum(p) != d {
			return 0, false, errOtherBytes
		}
		_ = b.damaged(err) //nolint:errcheck // says so; p takes its place
		return 0, false, nil
	}
	return g.id(), !g.retiring.Load(), nil
}

// compare returns an error if the block is not stored as p. It drops nothing.
func (b *storedBlock) compare(p []byte) error {
	if len(p) != int(b.place.len) {
		return fmt.Errorf("%d bytes are stored of %d", b.place.len, len(p))
	}
	// That it was verified is not enough: who puts it may know better.
	rest := p
	return b.pieces(func(piece []byte) error {
		if !bytes.Equal(piece, rest[:len(piece)]) {
			return errOtherBytes
		}
		rest = rest[len(piece):]
		return nil
	}, func() error { return nil })
}

// check returns an error if the block's bytes are not right, which the digest
// says: another copy may go because this one is there. It drops nothing.
func (b *storedBlock) check() error {
	h := sha256.New()
	return b.pieces(func(piece []byte) error {
		h.Write(piece)
		return nil
	}, func() error {
		if block.Digest(h.Sum(nil)) != b.digest {
			return errOtherBytes
		}
		return nil
	})
}

// pieces hands out all bytes of the block, piece by piece, and then calls end.
// If neither objects, the block counts as verified. It waits for no buffer, so
// it may be called by who has one.
func (b *storedBlock) pieces(fn func(piece []byte) error, end func() error) error {
	before, err := statOf(b.g.fd)
	if err != nil {
		return err
	}
	b.doubt()
	buf, done := b.s.buffers.chunk()
	defer done()
	r := io.NewSectionReader(b.g.vlog, int64(b.place.off), int64(b.place.len))
	for left := int(b.place.len); left > 0; {
		piece := buf[:min(left, len(buf))]
		if _, err := io.ReadFull(r, piece); err != nil {
			return errors.Join(errGone, err)
		}
		if err := fn(piece); err != nil {
			return err
		}
		left -= len(piece)
	}
	if err := end(); err != nil {
		return err
	}
	b.remember(before)
	return nil
}

// damaged drops the block, and every other copy of it that is damaged too, and
// returns what to say about it.
func (b *storedBlock) damaged(why error) error {
	if b.dropThis(why) {
		for _, g := range b.s.all() {
			if g == b.g || !g.hold() {
				continue
			}
			if p, ok := g.find(b.digest); ok {
				other := &storedBlock{s: b.s, g: g, digest: b.digest, place: p}
				if err := other.check(); err != nil {
					other.dropThis(err)
				}
			}
			g.release()
		}
	}
	return fmt.Errorf("read block %s: %w: %w", b.digest, block.ErrCorrupt, why)
}

// dropThis drops this copy of the block, unless another took its place in the
// same segment, and reports whether it was still there.
func (b *storedBlock) dropThis(why error) bool {
	b.doubt() // those who have it open must not read on
	found, err := b.g.dropIf(b.digest, func(p place) bool { return p.off == b.place.off })
	if err != nil {
		b.s.log.Warn("drop not noted on disk", "digest", b.digest, "err", err)
	}
	if found {
		b.s.met.damaged.Inc()
		b.s.log.Warn("damaged block dropped", "digest", b.digest, "segment", b.g.id(), "reason", why)
		if b.s.cfg.OnDamage != nil {
			b.s.cfg.OnDamage(b.digest, b.g.id())
		}
	}
	return found
}
