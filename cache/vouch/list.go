package vouch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"preau/cache/block"
)

// entrySize is the length of one entry.
const entrySize = 4 + len(block.Digest{})

// Entry vouches for one block.
type Entry struct {
	Len    int // 0: no block, the work goes on
	Digest block.Digest
}

// ErrMalformed reports that what was read is no list of digests.
var ErrMalformed = errors.New("no list of digests")

// errClosed is what comes of writing to a list that has ended.
var errClosed = errors.New("the list of digests has ended")

// Writer writes a list. Its methods may be called concurrently.
type Writer struct {
	flush func()

	mu  sync.Mutex
	w   io.Writer
	n   int64
	err error
}

// NewWriter returns a writer to w, which flush sends on at once.
func NewWriter(w io.Writer, flush func()) *Writer { return &Writer{w: w, flush: flush} }

// Block vouches for the next block.
func (w *Writer) Block(length int, d block.Digest) error {
	if length <= 0 || length > block.Size {
		return fmt.Errorf("vouch for a block of %d bytes", length)
	}
	return w.write(Entry{length, d})
}

// GoesOn says that nothing is known yet, and that it will be.
func (w *Writer) GoesOn() error { return w.write(Entry{}) }

func (w *Writer) write(e Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	var b [entrySize]byte
	binary.BigEndian.PutUint32(b[:], uint32(e.Len)) //nolint:gosec // at most block.Size
	copy(b[4:], e.Digest[:])
	n, err := w.w.Write(b[:])
	w.n += int64(n)
	if err != nil {
		w.err = fmt.Errorf("write digests: %w", err)
		return w.err
	}
	w.flush()
	return nil
}

// Close ends the list and returns how many bytes were written; once it has
// returned, nothing more is.
func (w *Writer) Close() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = errClosed
	}
	return w.n
}

// Reader reads a list, for one goroutine.
type Reader struct {
	r    io.Reader
	b    [entrySize]byte
	left int
	last bool // a block shorter than the grid was read: it is the last
	err  error
}

// NewReader returns a reader of a list that may have at most so many blocks.
func NewReader(r io.Reader, blocks int) *Reader { return &Reader{r: r, left: blocks} }

// Next returns the next entry, or io.EOF at the end of the list. An entry
// without a block is returned as it comes.
func (r *Reader) Next() (Entry, error) {
	if r.err != nil {
		return Entry{}, r.err
	}
	e, err := r.next()
	r.err = err
	return e, err
}

func (r *Reader) next() (Entry, error) {
	n, err := io.ReadFull(r.r, r.b[:])
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && n == 0:
		return Entry{}, io.EOF
	default:
		return Entry{}, fmt.Errorf("read digests: %w", err)
	}
	e := Entry{Len: int(binary.BigEndian.Uint32(r.b[:4]))}
	copy(e.Digest[:], r.b[4:])
	switch {
	case e.Len == 0 && e.Digest.IsZero():
		return e, nil
	case e.Len == 0 || e.Len > block.Size || e.Digest.IsZero():
		return Entry{}, fmt.Errorf("%w: a block of %d bytes", ErrMalformed, e.Len)
	case r.last:
		return Entry{}, fmt.Errorf("%w: a block behind the last", ErrMalformed)
	case r.left == 0:
		return Entry{}, fmt.Errorf("%w: more blocks than there are", ErrMalformed)
	}
	r.left--
	r.last = e.Len < block.Size
	return e, nil
}
