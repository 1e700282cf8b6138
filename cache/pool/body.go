package pool

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"preau/cache/block"
	"preau/cache/vouch"
)

var (
	errAltered = errors.New("what a neighbour sent is not what was vouched for")
	errStalled = errors.New("the neighbour's body brings nothing")
	errShort   = errors.New("the neighbour's body ends too early")
	errClosed  = http.ErrBodyReadAfterClose
)

// slice is how long one Read takes at most while something comes: a block over
// a slow line may take minutes, and whoever reads must see that it goes on.
const slice = 5 * time.Second

// body is a response's body: the neighbour's bytes, of which none goes on before
// its whole block has been compared with the digest that the authority gave.
type body struct {
	o      *Origin
	v      *vouched
	n      *answer
	lent   bool
	parent context.Context // the request's

	total int64 // of the representation; -1: not known
	index int   // of the next block
	skip  int   // of its bytes, the first that are not asked for
	left  int64 // bytes to give; -1: to the end

	closing atomic.Bool

	mu     sync.Mutex // held while Read or Close do something to buf
	buf    *buffer
	entry  vouch.Entry // what is being read, if its length is not 0
	filled int
	sum    hash.Hash // of what is read of it
	ready  int       // where what is compared and not given begins in buf
	until  int       // and where it ends
	err    error
	given  sync.Once // back

	compared atomic.Pointer[named] // the block that is being given
}

// named is a block with its name.
type named struct {
	index  int
	digest block.Digest
}

// Digest implements fill.Compared.
func (b *body) Digest(i int) (block.Digest, bool) {
	if c := b.compared.Load(); c != nil && c.index == i {
		return c.digest, true
	}
	return block.Digest{}, false
}

func newBody(parent context.Context, o *Origin, v *vouched, n *answer, lent bool, buf *buffer) *body {
	start := v.span.gridStart()
	return &body{
		o: o, v: v, n: n, lent: lent, parent: parent, buf: buf, total: v.span.total,
		sum: sha256.New(), index: int(start / block.Size), skip: int(v.span.off - start), left: v.span.length(),
	}
}

// Source says who sent it.
func (b *body) Source() string { return Source }

// Lent reports whether the box that sends it is the one to keep it for all of
// them: it need not be kept here too.
func (b *body) Lent() bool { return b.lent }

// Read implements io.Reader. It may return no bytes and no error, when some
// came that are not compared yet.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closing.Load():
		return 0, errClosed
	case len(p) == 0:
		return 0, nil
	}
	if b.wait(); b.ready == b.until {
		if b.err != nil {
			b.release()
		}
		return 0, b.err
	}
	n := copy(p, b.buf.at(b.ready, b.until))
	b.took(n)
	return n, nil
}

// Give implements fill.Giver.
func (b *body) Give() (chunks []*block.Chunk, length int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing.Load() || b.ready < b.until || b.skip > 0 || b.total < 0 {
		return nil, 0
	}
	index := b.index
	if b.wait(); b.ready == b.until || b.buf.of == nil || b.until != block.BlockLen(b.total, index) {
		return nil, 0 // what there is, or why there is nothing, is to be read
	}
	n := b.until
	b.took(n)
	return b.buf.give(), int64(n)
}

// wait returns when some bytes are ready, when none will be, or after a while.
// Callers hold mu.
func (b *body) wait() {
	until := time.Now().Add(slice)
	for b.err == nil && b.ready == b.until {
		if b.left == 0 {
			b.err = io.EOF
			return
		}
		if err := b.next(); err != nil {
			b.err = b.blame(err)
			return
		}
		if b.ready == b.until && time.Now().After(until) {
			return
		}
	}
}

// took takes note that n more bytes were given. Callers hold mu.
func (b *body) took(n int) {
	b.ready += n
	if b.left >= 0 {
		b.left -= int64(n)
	}
}

// next takes the next step: it learns what the next block is, or reads some of
// it, and makes it ready when it is whole.
func (b *body) next() error {
	if b.entry.Len == 0 {
		e, err := b.v.list.Next()
		switch {
		case errors.Is(err, io.EOF) && b.left < 0:
			return io.EOF
		case errors.Is(err, io.EOF):
			return &unvouched{io.ErrUnexpectedEOF}
		case err != nil:
			return &unvouched{err}
		case e.Len == 0:
			return nil // the authority is at it
		case e.Len > b.buf.size(), b.total >= 0 && e.Len != block.BlockLen(b.total, b.index):
			return &unvouched{fmt.Errorf("%w: block %d of %d bytes", vouch.ErrMalformed, b.index, e.Len)}
		}
		b.entry, b.filled = e, 0
		b.sum.Reset()
	}
	stall := time.AfterFunc(b.o.cfg.BodyStall, func() { b.n.cancel(errStalled) })
	p := b.buf.at(b.filled, b.entry.Len)
	n, err := b.n.resp.Body.Read(p)
	stall.Stop()
	b.filled += n
	_, _ = b.sum.Write(p[:n]) // never fails, and p is still near the processor
	b.o.metrics.received.Add(float64(n))
	if b.filled == b.entry.Len {
		return b.compare()
	}
	if errors.Is(err, io.EOF) {
		return errShort
	}
	return err
}

// compare makes a block ready that is what it should be.
func (b *body) compare() error {
	var d block.Digest
	if b.sum.Sum(d[:0]); d != b.entry.Digest {
		return errAltered
	}
	b.compared.Store(&named{b.index, d})
	b.ready, b.until = min(b.skip, b.entry.Len), b.entry.Len
	if b.left >= 0 {
		b.until = b.ready + int(min(int64(b.until-b.ready), b.left))
	}
	b.skip, b.entry = 0, vouch.Entry{}
	b.index++
	return nil
}

// unvouched is an error of the authority's.
type unvouched struct{ err error }

func (e *unvouched) Error() string { return "the authority stopped vouching: " + e.err.Error() }
func (e *unvouched) Unwrap() error { return e.err }

// blame says what came of the body, and has whoever broke it left alone, so
// that the rest is taken from somebody else.
func (b *body) blame(err error) error {
	name := b.n.name
	var unvouched *unvouched
	result := brokeCut
	switch {
	case err == io.EOF: //nolint:errorlint // one that is wrapped is not the end of the body
		return err
	case b.parent.Err() != nil, b.closing.Load():
		return err // whoever asked wants no more of it
	case errors.As(err, &unvouched):
		b.o.metrics.broken.WithLabelValues(brokeUnvouched).Inc()
		if errors.Is(err, vouch.ErrMalformed) {
			b.o.well.Failed(authority)
		}
		return err
	case errors.Is(err, errAltered):
		result = brokeAltered
		b.o.metrics.altered.Inc()
		if b.n.sure {
			b.o.log.Warn("a neighbour sent an altered block", "neighbour", name)
			b.o.reports.Report(name, "altered")
		}
	case errors.Is(context.Cause(b.n.ctx), errStalled):
		result, err = brokeStalled, errStalled
	}
	b.o.metrics.broken.WithLabelValues(result).Inc()
	b.o.failed(name, result)
	return fmt.Errorf("neighbour %s: %w", name, err)
}

// release gives back what the body needs no more. Callers hold mu.
func (b *body) release() {
	b.given.Do(func() {
		b.n.close()
		b.v.close()
		b.buf.back()
		b.ready, b.until = 0, 0
	})
}

// Close implements io.Closer. A Read under way is broken off.
func (b *body) Close() error {
	b.closing.Store(true)
	b.n.cancel(errClosed)
	_ = b.v.resp.Body.Close() // ends a wait for digests
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release()
	return nil
}
