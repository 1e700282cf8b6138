package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"preau/cache/block"
)

// Reader reads one range of a body. It is for one goroutine.
type Reader struct {
	b     *Body
	wake  chan struct{}
	count func(int64)

	// guarded by b.mu
	pos, end int64
	waiting  bool
	stuck    bool // it held up a fetch, and has not moved since
	broken   bool // bytes it has had may be of another version than those to come
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
	if len(b.readers) == 0 && len(b.segs) == 0 && !b.retrying {
		b.trouble, b.failures = time.Time{}, 0 // nobody has waited till now
	}
	b.readers[r] = struct{}{}
	b.asked = [2]time.Time{b.asked[1], time.Now()}
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

// Count has CopyTo call fn with the number of bytes after each write, so that
// what a slow reader gets shows while it gets it. It is called before CopyTo.
func (r *Reader) Count(fn func(n int64)) { r.count = fn }

// CopyTo writes the range to w as its bytes become available, and returns how
// many were written. Before it waits it flushes w. Errors: ErrChanged,
// ErrUnavailable, ErrStopped, ctx's, or w's.
func (r *Reader) CopyTo(ctx context.Context, w io.Writer) (int64, error) {
	var written int64
	flushed := true
	fl, _ := w.(flusher) //nolint:errcheck // nil where it is none
	for {
		n, err := r.step(w)
		written += n
		if n > 0 && r.count != nil {
			r.count(n)
		}
		flushed = flushed && n == 0
		switch {
		case errors.Is(err, errEnd):
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
		case err == nil, errors.Is(err, errEnd):
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

var (
	errWait = errors.New("not there yet")
	errEnd  = errors.New("end of the range") // not io.EOF, which a writer may return
)

// step writes what is held at the reader's place to w. With no w it only looks.
func (r *Reader) step(w io.Writer) (int64, error) {
	b := r.b
	b.mu.Lock()
	r.waiting = false
	end := min(r.end, b.end())
	switch {
	case r.pos >= end:
		b.mu.Unlock()
		return 0, errEnd
	case r.broken:
		b.mu.Unlock()
		return 0, fmt.Errorf("%w: what was read of it is lost", ErrUnavailable)
	}
	i := int(r.pos / block.Size)
	if held := b.have.end(r.pos); held > r.pos && !b.doubted(i) {
		if w == nil {
			b.mu.Unlock()
			return 0, nil
		}
		return r.held(w, i, end)
	}
	if err := b.hopeless(); err != nil {
		b.mu.Unlock()
		return 0, err
	}
	r.waiting = true
	if !b.coming(r.pos) {
		b.replan()
	}
	b.mu.Unlock()
	return 0, errWait
}

// hopeless says why no byte that is not held will come. Callers hold b.mu.
func (b *Body) hopeless() error {
	if b.err == nil && b.spec.Closed && len(b.segs) == 0 {
		return fmt.Errorf("%w: it is but a part of a body", ErrUnavailable)
	}
	return b.err
}

// held writes what block i holds of the range up to end: from memory, or from
// the store. It is called with b.mu held and gives it up.
func (r *Reader) held(w io.Writer, i int, end int64) (int64, error) {
	b := r.b
	from, to := b.extent(i)
	pt := b.parts[i]
	if pt != nil && pt.have.end(r.pos-from) > r.pos-from {
		// Straight from the part's memory: what is held of it does not change, and a
		// chunk is all the memory a slow reader costs.
		p, loan := pt.lend(r.pos-from, end-r.pos)
		b.mu.Unlock()
		k, err := w.Write(p)
		if err == nil && k < len(p) {
			err = io.ErrShortWrite
		}
		r.advance(int64(k), loan)
		return int64(k), err
	}
	if i < len(b.blocks) && !b.blocks[i].IsZero() {
		d := b.blocks[i]
		return r.fromStore(w, block.Piece{Off: from, Len: int(to - from), Digest: d}, end, func() { b.lost(i, d) })
	}
	if pt != nil {
		for _, p := range pt.onDisk {
			if p.Off <= r.pos && r.pos < p.Off+int64(p.Len) {
				return r.fromStore(w, p, end, func() { b.lostPiece(i, p) })
			}
		}
	}
	err := b.err // its memory was given back when the box was stopped
	if err == nil {
		err = fmt.Errorf("byte %d is counted as held but is nowhere", r.pos)
	}
	b.mu.Unlock()
	return 0, err
}

// fromStore writes what the stored piece p holds of the range; lost is called,
// with b.mu held, when the store has it no more. fromStore is called with b.mu
// held and gives it up.
func (r *Reader) fromStore(w io.Writer, p block.Piece, end int64, lost func()) (int64, error) {
	b := r.b
	pos := r.pos
	b.mu.Unlock()
	bl, err := b.m.store.Open(p.Digest)
	var n int64
	if err == nil {
		if bl.Len() != p.Len {
			err = block.ErrNotFound
		} else {
			n, err = bl.WriteRange(w, int(pos-p.Off), int(min(p.Off+int64(p.Len), end)-pos))
		}
		if cerr := bl.Close(); err == nil {
			err = cerr
		}
	}
	r.advance(n, loan{})
	if !errors.Is(err, block.ErrNotFound) {
		return n, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	lost()
	if b.tooManyLost() {
		return n, fmt.Errorf("%w: the disk loses what is stored: %w", ErrUnavailable, err)
	}
	return n, nil // the next step finds a hole and has it fetched
}

// advance moves the reader on by n bytes, which were from.
func (r *Reader) advance(n int64, from loan) {
	if n == 0 && from.of == nil {
		return
	}
	r.b.mu.Lock()
	from.back()
	if n > 0 {
		r.pos += n
		r.stuck = false
	}
	waits := r.b.waits > 0
	r.b.mu.Unlock()
	if waits {
		select {
		case r.b.moved <- struct{}{}:
		default: // it knows
		}
	}
}
