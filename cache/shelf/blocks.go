package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/storage"
)

var errWrong = errors.New("the block is not the one that the manifest names")

// local reads a block from the storage; false if it is not there.
func (s *Shelf) local(st *storage.Storage, d block.Digest, length int) ([]byte, bool) {
	if st == nil {
		return nil, false
	}
	b, err := st.Blocks().Open(d)
	if err != nil {
		return nil, false
	}
	defer func() { _ = b.Close() }() // nothing was written
	if b.Len() != length {
		return nil, false
	}
	p := make([]byte, length)
	if n, err := b.ReadAt(p, 0); n < length || err != nil && !errors.Is(err, io.EOF) {
		return nil, false
	}
	return p, true
}

// block returns a block of an item, verified: from the storage or from the
// source, once for all who want it at the same time. What was fetched is kept.
func (s *Shelf) block(ctx context.Context, st *storage.Storage, ring block.Ring, of string, p Piece) ([]byte, error) {
	if b, ok := s.local(st, p.Digest, p.Length); ok {
		s.metrics.blocks.WithLabelValues("local").Inc()
		return b, nil
	}
	f := s.join(ctx, st, ring, Request{Of: of, Digest: p.Digest, Length: p.Length})
	defer s.leave(f)
	return f.wait(ctx)
}

// fetchBlock gets a block from the source, from another place if one gave
// something else.
func (s *Shelf) fetchBlock(ctx context.Context, req Request) ([]byte, error) {
	var errs []error
	d, p := req.Digest, make([]byte, req.Length)
	for attempt := range s.cfg.Attempts {
		req.Attempt = attempt
		err := s.tryBlock(ctx, req, p)
		if err == nil {
			s.metrics.blocks.WithLabelValues("fetched").Inc()
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errWrong) {
			s.metrics.blocks.WithLabelValues("wrong").Inc()
			s.log.WarnContext(ctx, "a parent gave a wrong block", "block", d.String(), "attempt", attempt)
		}
		errs = append(errs, err)
	}
	s.metrics.blocks.WithLabelValues("failed").Inc()
	return nil, fmt.Errorf("fetch block %s: %w", d, errors.Join(errs...))
}

func (s *Shelf) tryBlock(ctx context.Context, req Request, p []byte) error {
	in, err := s.src.Block(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()                         // what was wanted has been read
	defer context.AfterFunc(ctx, func() { _ = in.Close() })() // ends a read that gets nothing
	n, err := io.ReadFull(in, p)
	if !in.Shared {
		s.metrics.received.WithLabelValues(string(in.From)).Add(float64(n))
	}
	if err != nil {
		return fmt.Errorf("%w: it ends after %d bytes: %w", errWrong, n, err)
	}
	if block.Sum(p) != req.Digest {
		return errWrong
	}
	s.came(req.Of, in.From)
	if !in.Shared {
		s.metrics.fetched.WithLabelValues(string(in.From)).Inc()
	}
	return nil
}

// source gives an item's bytes to its fill. They are verified before the first
// of a block is seen.
type source struct {
	s    *Shelf
	st   *storage.Storage
	it   Item
	ring block.Ring
}

// Ranges implements fill.Source.
func (*source) Ranges() bool { return true }

// Ready implements fill.Source: who is to be asked is the source's to know.
func (*source) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Open implements fill.Source.
func (f *source) Open(ctx context.Context, from, to int64) (*fill.Stream, error) {
	if !f.s.current(f.it) {
		return nil, fmt.Errorf("%w: it is not published any more", fill.ErrChanged)
	}
	if to < 0 || to > f.it.Length {
		to = f.it.Length
	}
	if from >= f.it.Length {
		return &fill.Stream{Body: io.NopCloser(eof{}), From: from, To: from, Total: f.it.Length, Proven: true}, nil
	}
	return &fill.Stream{Body: f.read(ctx, from, to), From: from, To: to, Total: f.it.Length, Proven: true}, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// read returns the bytes from..to.
func (f *source) read(ctx context.Context, from, to int64) *reader {
	r := &reader{f: f, pos: from, end: to}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// reader reads verified blocks, one at a time.
type reader struct {
	f        *source
	ctx      context.Context
	cancel   context.CancelFunc
	pos, end int64
	left     []byte // of the block under way
}

func (r *reader) Read(p []byte) (int, error) {
	if r.pos >= r.end {
		return 0, io.EOF
	}
	if len(r.left) == 0 {
		i := int(r.pos / block.Size)
		b, err := r.f.s.block(r.ctx, r.f.st, r.f.ring, r.f.it.ID, Piece{r.f.it.Blocks[i], block.BlockLen(r.f.it.Length, i)})
		if err != nil {
			return 0, err
		}
		from := int64(i) * block.Size
		r.left = b[r.pos-from : min(int64(len(b)), r.end-from)]
	}
	n := copy(p, r.left)
	r.left, r.pos = r.left[n:], r.pos+int64(n)
	return n, nil
}

// Close may be called under a Read, which then ends.
func (r *reader) Close() error {
	r.cancel()
	return nil
}
