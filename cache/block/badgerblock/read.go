package badgerblock

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"preau/cache/block"
)

const (
	// For ranges shorter than sendfileFrom, sendfile costs more than a read
	// and a write: measured, by half at 64 KiB; it gains from 256 KiB on.
	sendfileFrom = 256 << 10
	// Blocks of up to alwaysCheck bytes are read whole and verified each time:
	// that is quicker than finding out whether it could be left out.
	alwaysCheck = 16 << 10
	// racy is how young a change of a file may be for its time to be of no
	// use in telling it from the next: clocks of file systems tick slowly.
	racy = 50 * time.Millisecond
)

var errGone = errors.New("bytes are missing")

// Open implements block.Store.
func (s *Store) Open(d block.Digest) (block.Block, error) {
	g, p, ok := s.find(d, false)
	if !ok {
		return nil, block.ErrNotFound
	}
	return &storedBlock{s: s, g: g, digest: d, place: p}, nil
}

// storedBlock is one block of a segment that it holds.
type storedBlock struct {
	s      *Store
	g      *segment
	digest block.Digest
	place  place
	own    *os.File // for sendfile, whose position is the file's
	closed bool
}

// Len implements block.Block.
func (b *storedBlock) Len() int { return int(b.place.len) }

// Close implements block.Block.
func (b *storedBlock) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	var err error
	if b.own != nil {
		err = b.own.Close()
	}
	b.g.release()
	return err
}

// ReadAt implements io.ReaderAt.
func (b *storedBlock) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read block %s: negative offset %d", b.digest, off)
	}
	if b.closed {
		return 0, fmt.Errorf("read block %s: %w", b.digest, os.ErrClosed)
	}
	size := int64(b.place.len)
	if off >= size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > size-off {
		p, eof = p[:size-off], io.EOF
	}
	whole, done, err := b.verify()
	if err != nil {
		return 0, err
	}
	defer done()
	if whole != nil {
		return copy(p, whole[off:]), eof
	}
	if err := b.pread(p, off); err != nil {
		return 0, err
	}
	return len(p), eof
}

// WriteRange implements block.Block. A range of 256 KiB or more goes to w's
// ReadFrom, if it has one, as an *os.File within an *io.LimitedReader: what
// net and net/http hand to sendfile. A w whose ReadFrom would rather copy by
// small pieces (net/http over TLS) should be handed over without it.
func (b *storedBlock) WriteRange(w io.Writer, off, n int) (int64, error) {
	if off < 0 || n < 0 || off > b.Len() || n > b.Len()-off {
		return 0, fmt.Errorf("write %d bytes from %d of block %s, which has %d", n, off, b.digest, b.Len())
	}
	if b.closed {
		return 0, fmt.Errorf("write block %s: %w", b.digest, os.ErrClosed)
	}
	whole, done, err := b.verify()
	if err != nil {
		return 0, err
	}
	if n == 0 {
		done()
		return 0, nil
	}
	rf, direct := w.(io.ReaderFrom)
	direct = direct && n >= sendfileFrom
	if whole != nil && len(whole) <= alwaysCheck {
		// A client may hold on to a buffer of this size, not to a large one.
		defer done()
		m, err := w.Write(whole[off : off+n])
		return int64(m), err
	}
	// The pages were verified a moment ago, so they are in memory.
	done()
	if direct {
		if f := b.ownFile(); f != nil {
			return b.sendfile(rf, f, off, n)
		}
	}
	return b.copyOut(w, off, n)
}

// ownFile returns a descriptor whose position nobody else moves, or nil if the
// folder is gone already.
func (b *storedBlock) ownFile() *os.File {
	if b.own == nil {
		f, err := os.Open(filepath.Join(b.g.dir(), vlogName))
		if err != nil {
			return nil
		}
		// Another file may have taken the name.
		mine, err1 := statOf(f.Fd())
		theirs, err2 := statOf(b.g.fd)
		if err1 != nil || err2 != nil || mine.ino != theirs.ino || mine.dev != theirs.dev {
			_ = f.Close() //nolint:errcheck // only opened to look at
			return nil
		}
		b.own = f
	}
	return b.own
}

func (b *storedBlock) sendfile(w io.ReaderFrom, f *os.File, off, n int) (int64, error) {
	if _, err := f.Seek(int64(b.place.off)+int64(off), io.SeekStart); err != nil {
		return 0, fmt.Errorf("write block %s: %w", b.digest, err)
	}
	m, err := w.ReadFrom(&io.LimitedReader{R: f, N: int64(n)})
	if err == nil && m < int64(n) {
		return m, b.cutShort(m)
	}
	return m, err
}

// copyOut writes through a buffer, which a slow client may hold for long: so
// there are a few large ones, and small ones for the rest.
func (b *storedBlock) copyOut(w io.Writer, off, n int) (int64, error) {
	buf, done := b.s.buffers.chunk()
	defer done()
	var sum int64
	for n > 0 {
		p := buf[:min(n, len(buf))]
		if err := b.pread(p, int64(off)); err != nil {
			if sum > 0 {
				err = b.cutShort(sum)
			}
			return sum, err
		}
		m, err := w.Write(p)
		sum += int64(m)
		if err != nil {
			return sum, err
		}
		off += m
		n -= m
	}
	return sum, nil
}

// cutShort is the error for a block that ended after m bytes were written.
func (b *storedBlock) cutShort(m int64) error {
	err := b.damaged(errGone)
	if m > 0 {
		return fmt.Errorf("write block %s: %w", b.digest, io.ErrUnexpectedEOF)
	}
	return err
}

// pread reads bytes of the block that were verified before.
func (b *storedBlock) pread(p []byte, off int64) error {
	n, err := b.g.vlog.ReadAt(p, int64(b.place.off)+off)
	if n == len(p) {
		return nil
	}
	return b.damaged(errors.Join(errGone, err))
}

// verify makes sure that the block's bytes are right. It returns all of them
// if it had to read them, for use until done is called; else nil.
func (b *storedBlock) verify() (whole []byte, done func(), err error) {
	if ok, err := b.verified(); err != nil {
		return nil, nil, b.damaged(err)
	} else if ok {
		return nil, func() {}, nil
	}
	buf, done := b.s.buffers.whole(int(b.place.len) + entryMore)
	before, err := statOf(b.g.fd)
	if err != nil {
		done()
		return nil, nil, b.damaged(err)
	}
	b.doubt()
	whole, err = b.readWhole(buf)
	if err != nil {
		done()
		return nil, nil, err
	}
	b.remember(before)
	return whole, done, nil
}

// remember notes that the block was verified just now, if its file is as it
// was before.
func (b *storedBlock) remember(before fileStat) {
	now := time.Now()
	after, err := statOf(b.g.fd)
	if err != nil || after != before || now.UnixNano()-after.ctime <= int64(racy) {
		return
	}
	if b.place.ord >= 0 {
		set(b.g.checksFor(after, now).bits, b.place.ord)
	} else {
		b.g.seen.Store(b.place.off, after)
	}
}

// doubt has whoever reads the block from now on verify it. It comes before the
// bytes are read to be verified: what comes from the disk then is in memory, and
// would count as verified to others while it is not, or is found to be damaged.
// The kernel reads more from a disk than it is asked for, so that is true of the
// whole segment.
func (b *storedBlock) doubt() {
	hot, known := resident(b.g.fd, int64(b.place.off), int64(b.place.len))
	switch c := b.g.checked.Load(); {
	case known && !hot:
		b.g.checked.Store(nil)
		b.g.seen.Clear()
	case b.place.ord < 0:
		b.g.seen.Delete(b.place.off)
	case c != nil:
		unset(c.bits, b.place.ord)
	}
}

// verified reports whether the block was verified since its file changed, and
// is still in memory since. Whether it is in memory is asked first: see doubt.
func (b *storedBlock) verified() (bool, error) {
	if b.place.len == 0 || b.place.ord >= 0 && b.place.len <= alwaysCheck {
		return false, nil
	}
	if yes, known := resident(b.g.fd, int64(b.place.off), int64(b.place.len)); known && !yes {
		return false, nil
	}
	st, err := statOf(b.g.fd)
	if b.place.ord < 0 {
		// Whoever reads by small pieces should not pay for the whole each time.
		seen, ok := b.g.seen.Load(b.place.off)
		return err == nil && ok && seen == st, nil // reading it will tell
	}
	return err == nil && isSet(b.g.checksFor(st, time.Now()).bits, b.place.ord), err
}

// readWhole reads the block's entry into buf, which must be longer than the block
// by entryMore, and verifies it by Badger's checksum. That was made when the
// block was put and covers the digest and the length too, so another block's
// bytes don't pass. It is far less work than a digest, finds any three bits
// and any burst of 32 that changed, and of all else misses one in 2^32, which
// is left to the scrub. Where it is wrong, or the place is no entry's, the
// digest decides: a block whose checksum alone was hit is not lost.
func (b *storedBlock) readWhole(buf []byte) ([]byte, error) {
	size := int(b.place.len)
	head := headerLen(size) + blockKeyLen + versionLen
	total := head + size + crc32.Size
	if total > len(buf) || head > int(b.place.off) {
		return b.readHashed(buf)
	}
	p := buf[:total]
	if _, err := b.g.vlog.ReadAt(p, int64(b.place.off)-int64(head)); err != nil {
		return b.readHashed(buf)
	}
	if d, ok := digestOf(p[head-versionLen-blockKeyLen : head-versionLen]); !ok || d != b.digest || !checkEntry(p) {
		return b.readHashed(buf)
	}
	b.s.met.verified.Add(float64(size))
	return p[head : head+size], nil
}

// entryMore is how much longer than its value an entry may be.
const entryMore = maxEntryHeader + blockKeyLen + versionLen + crc32.Size

// readHashed reads the block into buf and compares it with its digest: for what
// looks for damage that a checksum may miss, and for what gives the bytes a new
// checksum.
func (b *storedBlock) readHashed(buf []byte) ([]byte, error) {
	size := int(b.place.len)
	if size > len(buf) {
		return nil, b.damaged(fmt.Errorf("its length is said to be %d", size))
	}
	p := buf[:size]
	if n, err := b.g.vlog.ReadAt(p, int64(b.place.off)); n < size {
		return nil, b.damaged(errors.Join(errGone, err))
	}
	if block.Sum(p) != b.digest {
		return nil, b.damaged(errors.New("digest is wrong"))
	}
	b.s.met.verified.Add(float64(size))
	return p, nil
}

// buffers bounds what reading takes in memory, however many clients there are
// and however slow they read.
type buffers struct {
	large, small, tiny sync.Pool
	reading            chan struct{} // tokens for verifying
	holding            chan struct{} // tokens for what is written from while a client reads
}

const (
	wholeLen = block.Size + 128
	chunkLen = 256 << 10
	tinyLen  = 32 << 10

	maxReading = 12
	maxHolding = 24
)

func (b *buffers) init() {
	b.large.New = func() any { return new([wholeLen]byte) }
	b.small.New = func() any { return new([chunkLen]byte) }
	b.tiny.New = func() any { return new([tinyLen]byte) }
	b.reading = make(chan struct{}, maxReading)
	b.holding = make(chan struct{}, maxHolding)
}

// whole returns a buffer of at least n bytes. Until done is called it is one
// of few, and others may be waiting for it.
func (b *buffers) whole(n int) (buf []byte, done func()) {
	if n <= tinyLen {
		p := b.tiny.Get().(*[tinyLen]byte) //nolint:errcheck // the pool holds nothing else
		return p[:], func() { b.tiny.Put(p) }
	}
	b.reading <- struct{}{}
	p := b.large.Get().(*[wholeLen]byte) //nolint:errcheck // the pool holds nothing else
	return p[:], func() {
		b.large.Put(p)
		<-b.reading
	}
}

// chunk returns a buffer to copy through, as large as there is one left.
func (b *buffers) chunk() (buf []byte, done func()) {
	select {
	case b.holding <- struct{}{}:
		p := b.small.Get().(*[chunkLen]byte) //nolint:errcheck // the pool holds nothing else
		return p[:], func() {
			b.small.Put(p)
			<-b.holding
		}
	default:
		p := b.tiny.Get().(*[tinyLen]byte) //nolint:errcheck // the pool holds nothing else
		return p[:], func() { b.tiny.Put(p) }
	}
}
