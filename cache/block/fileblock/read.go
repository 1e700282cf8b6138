package fileblock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"preau/cache/block"
)

const (
	// For ranges shorter than sendfileFrom, sendfile costs more than it saves.
	sendfileFrom = 256 << 10
	// pieceLen is how much is written between two looks at whether the file
	// still is what was checked.
	pieceLen = 256 << 10
	copyLen  = 64 << 10
)

var (
	wholes = sync.Pool{New: func() any { return new([block.Size]byte) }}
	pieces = sync.Pool{New: func() any { return new([copyLen]byte) }}

	errChanged = errors.New("block was damaged while it was read")
)

// Open implements block.Store. The bytes are checked here; a damaged block is
// removed, and the error matches block.ErrCorrupt.
func (s *Store) Open(d block.Digest) (block.Block, error) {
	b, err := s.open(d)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (s *Store) open(d block.Digest) (*fileBlock, error) {
	s.mu.Lock()
	e, ok := s.blocks[d]
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	if !ok {
		s.mu.Unlock()
		return nil, block.ErrNotFound
	}
	size := e.size
	// Under mu, so that the file is the entry's.
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		s.unlist(d, e)
		s.mu.Unlock()
		s.log.Warn("Block was removed by somebody else", "digest", d)
		return nil, block.ErrNotFound
	}
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("open block: %w", err)
	}
	b := &fileBlock{s: s, e: e, f: f, digest: d, size: size}
	if err := b.check(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

// fileBlock is one open block.
type fileBlock struct {
	s      *Store
	e      *entry
	f      *os.File
	digest block.Digest
	size   int64
	closed bool
}

// Len implements block.Block.
func (b *fileBlock) Len() int { return int(b.size) }

// Close implements block.Block.
func (b *fileBlock) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	return b.f.Close()
}

// check returns nil if the file's bytes are right: because they were when they
// were last looked at and nothing has happened to them, or by hashing them.
func (b *fileBlock) check() error {
	st, err := statOf(b.f)
	if err != nil {
		return fmt.Errorf("read block %s: %w", b.digest, err)
	}
	b.s.mu.Lock()
	known := b.e.checked == st
	b.s.mu.Unlock()
	if known && resident(b.f, b.size) {
		return nil
	}
	return b.hash(st)
}

// hash reads all of the block. st is how the file was before.
func (b *fileBlock) hash(st fileStat) error {
	buf := wholes.Get().(*[block.Size]byte) //nolint:errcheck // the pool holds nothing else
	defer wholes.Put(buf)
	p := buf[:b.size]
	_, err := b.f.ReadAt(p, 0)
	switch {
	case errors.Is(err, io.EOF) || st.size != b.size:
	case err != nil:
		// The disk can't read it: as good as damaged, and as bad.
		b.drop("err", err)
		return fmt.Errorf("read block %s: %w: %w", b.digest, block.ErrCorrupt, err)
	case block.Sum(p) == b.digest:
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		if !st.young() {
			b.e.checked = st
		}
		return nil
	}
	b.drop()
	return fmt.Errorf("read block %s: %w", b.digest, block.ErrCorrupt)
}

// drop removes the block if its name still leads to this file.
func (b *fileBlock) drop(attrs ...any) {
	b.s.metrics.damaged.Inc()
	b.s.log.Warn("Damaged block removed", append(attrs, "digest", b.digest)...)
	if _, err := b.s.remove(b.digest, func(e *entry) bool { return e == b.e }); err != nil {
		b.s.log.Warn("Damaged block could not be removed", "digest", b.digest, "err", err)
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		if b.s.blocks[b.digest] == b.e {
			b.s.unlist(b.digest, b.e)
		}
	}
}

// ReadAt implements io.ReaderAt.
func (b *fileBlock) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, fmt.Errorf("read block %s: negative offset %d", b.digest, off)
	case b.closed:
		return 0, fmt.Errorf("read block %s: %w", b.digest, os.ErrClosed)
	case off >= b.size:
		return 0, io.EOF
	}
	if err := b.check(); err != nil {
		return 0, err
	}
	var eof error
	if int64(len(p)) > b.size-off {
		p, eof = p[:b.size-off], io.EOF
	}
	if n, err := b.f.ReadAt(p, off); err != nil {
		return n, fmt.Errorf("read block %s: %w", b.digest, err)
	}
	return len(p), eof
}

// WriteRange implements block.Block. From 256 KiB on, a w with ReadFrom gets
// the file itself within an *io.LimitedReader, which net hands to sendfile.
func (b *fileBlock) WriteRange(w io.Writer, off, n int) (int64, error) {
	if off < 0 || n < 0 || off > b.Len() || n > b.Len()-off {
		return 0, fmt.Errorf("write %d bytes from %d of block %s, which has %d", n, off, b.digest, b.size)
	}
	if b.closed {
		return 0, fmt.Errorf("write block %s: %w", b.digest, os.ErrClosed)
	}
	rf, direct := w.(io.ReaderFrom)
	direct = direct && n >= sendfileFrom
	if direct {
		if _, err := b.f.Seek(int64(off), io.SeekStart); err != nil {
			return 0, fmt.Errorf("write block %s: %w", b.digest, err)
		}
	}
	var done int64
	for done < int64(n) {
		if err := b.check(); err != nil {
			if done > 0 && errors.Is(err, block.ErrCorrupt) {
				// What went out before was right, but it is not nothing.
				err = fmt.Errorf("write block %s: %w", b.digest, errChanged)
			}
			return done, err
		}
		want := min(int64(n)-done, pieceLen)
		var m int64
		var err error
		if direct {
			if m, err = rf.ReadFrom(&io.LimitedReader{R: b.f, N: want}); err == nil && m < want {
				err = fmt.Errorf("write block %s: %w", b.digest, errChanged)
			}
		} else {
			m, err = b.copyOut(w, int64(off)+done, want)
		}
		done += m
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (b *fileBlock) copyOut(w io.Writer, off, n int64) (done int64, err error) {
	buf := pieces.Get().(*[copyLen]byte) //nolint:errcheck // the pool holds nothing else
	defer pieces.Put(buf)
	for done < n {
		p := buf[:min(n-done, copyLen)]
		if _, err := b.f.ReadAt(p, off+done); err != nil {
			return done, fmt.Errorf("write block %s: %w", b.digest, err)
		}
		m, err := w.Write(p)
		done += int64(m)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
