package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"preau/cache/block"
)

// copySize is how much a reader that follows a fetch takes at a time; it is
// all the memory a slow reader costs.
const copySize = 32 << 10

var copies = sync.Pool{New: func() any { return new([copySize]byte) }}

// Reader reads one range of a body. It is for one goroutine.
type Reader struct {
	b    *Body
	wake chan struct{}

	// guarded by b.mu
	pos, end int64
	waiting  bool
}

// NewReader reads from..to (-1: to the end of the body). The caller holds the
// body and must Close the reader. From now on what it will need is fetched.
func (b *Body) NewReader(from, to int64) *Reader {
	if to < 0 {
		to = endless
	}
	r := &Reader{b: b, wake: make(chan struct{}, 1), pos: from, end: to}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readers == nil {
		b.readers = map[*Reader]struct{}{}
	}
	b.readers[r] = struct{}{}
	b.replan()
	return r
}

// Close ends the reader's claim on bytes that are not fetched yet.
func (r *Reader) Close() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	delete(r.b.readers, r)
	r.b.replan()
}

// nudge wakes the reader if it waits.
func (r *Reader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flusher is what http.ResponseWriter offers beside Write.
type flusher interface{ Flush() }

// CopyTo writes the range to w as its bytes become available, and returns how
// many were written. Before it waits it flushes w. Errors: ErrChanged,
// ErrUnavailable, ErrStopped, ctx's, or w's.
func (r *Reader) CopyTo(ctx context.Context, w io.Writer) (int64, error) {
	var written int64
	flushed := true
	fl, _ := w.(flusher)
	for {
		n, err := r.step(w)
		written += n
		flushed = flushed && n == 0
		switch {
		case errors.Is(err, io.EOF):
			return written, nil
		case !errors.Is(err, errWait):
			if err != nil {
				return written, err
			}
			if err := ctx.Err(); err != nil {
				return written, err
			}
			continue
		}
		if fl != nil && !flushed {
			fl.Flush()
			flushed = true
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return written, ctx.Err()
		}
	}
}

// Wait returns when the first byte of the range is held, the range turns out
// to be empty, or it can't be had (with the reason).
func (r *Reader) Wait(ctx context.Context) error {
	for {
		_, err := r.step(nil)
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, errWait):
			return err
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errWait = errors.New("not there yet")

// step writes what is held at the reader's place to w. With no w it only looks.
func (r *Reader) step(w io.Writer) (int64, error) {
	b := r.b
	b.mu.Lock()
	r.waiting = false
	end := min(r.end, b.end())
	if r.pos >= end {
		b.mu.Unlock()
		return 0, io.EOF
	}
	i := int(r.pos / block.Size)
	from, _ := b.extent(i)
	if b.have.end(r.pos) > r.pos {
		if w == nil {
			b.mu.Unlock()
			return 0, nil
		}
		pt := b.parts[i]
		if pt != nil && len(pt.onDisk) > 0 && pt.have.end(r.pos-from) == r.pos-from {
			b.load(i, pt)
		}
		if pt != nil && pt.have.end(r.pos-from) > r.pos-from {
			buf := copies.Get().(*[copySize]byte)
			defer copies.Put(buf)
			n := pt.read(r.pos-from, buf[:min(copySize, end-r.pos)])
			b.mu.Unlock()
			k, err := w.Write(buf[:n])
			r.advance(int64(k))
			return int64(k), err
		}
		if i < len(b.blocks) && !b.blocks[i].IsZero() {
			return r.fromStore(w, i, end)
		}
		// load found its piece gone: it is not held after all.
		if b.have.end(r.pos) > r.pos {
			b.mu.Unlock()
			return 0, fmt.Errorf("byte %d is counted as held but is nowhere", r.pos)
		}
	}
	if b.err != nil {
		err := b.err
		b.mu.Unlock()
		return 0, err
	}
	if b.spec.Closed && len(b.segs) == 0 {
		b.mu.Unlock()
		return 0, fmt.Errorf("%w: it is but a part of a body", ErrUnavailable)
	}
	r.waiting = true
	if !b.coming(r.pos) {
		b.replan()
	}
	b.mu.Unlock()
	return 0, errWait
}

// fromStore writes what block i holds of the range. It is called with b.mu
// held and gives it up.
func (r *Reader) fromStore(w io.Writer, i int, end int64) (int64, error) {
	b := r.b
	d := b.blocks[i]
	from, to := b.extent(i)
	pos := r.pos
	b.mu.Unlock()
	bl, err := b.m.store.Open(d)
	var n int64
	if err == nil {
		if int64(bl.Len()) != to-from {
			err = block.ErrNotFound
		} else {
			n, err = bl.WriteRange(w, int(pos-from), int(min(to, end)-pos))
		}
		if cerr := bl.Close(); err == nil {
			err = cerr
		}
	}
	r.advance(n)
	if errors.Is(err, block.ErrNotFound) {
		b.lost(i, d)
		b.mu.Lock()
		losses := b.losses
		b.mu.Unlock()
		if losses > mostLosses {
			return n, fmt.Errorf("%w: the disk loses what is stored: %w", ErrUnavailable, err)
		}
		return n, nil // the next step finds a hole and has it fetched
	}
	return n, err
}

func (r *Reader) advance(n int64) {
	r.b.mu.Lock()
	r.pos += n
	r.b.mu.Unlock()
}
