package archive

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
)

// Source is where the files' bytes are. An entry's number is that among the
// entries that New was given. Folders and empty files are never asked for.
type Source interface {
	// Open returns the bytes from..to of a file: just these, then io.EOF. Copy
	// opens one at a time and closes it. A source that sees that the file has
	// another version than its entry returns an error that wraps ErrChanged.
	Open(ctx context.Context, entry int, from, to int64) (io.ReadCloser, error)
	// CRC32 returns the checksum (IEEE) of a whole file, of the entry's version. It
	// is asked for until it is known, by each Copy that needs it meanwhile, and
	// never once a Copy has written the whole file.
	CRC32(ctx context.Context, entry int) (uint32, error)
}

// Copy writes the archive's bytes from..to to w. Files that the range does not
// touch are not opened; where a checksum stands in the range of a file that it
// does not have whole, the source may be asked for that.
//
// An error that wraps ErrChanged says that a file is not the one that was
// listed: then the range has not been written to its end, and whoever receives
// it must be told, by breaking the connection if nothing else is left.
func (l *Layout) Copy(ctx context.Context, w io.Writer, from, to int64, src Source) error {
	if from < 0 || from > to || to > l.size {
		return fmt.Errorf("bytes %d to %d of an archive of %d", from, to, l.size)
	}
	c := &copier{Layout: l, w: w, src: src, from: from, to: to}
	first := sort.Search(len(l.files), func(i int) bool {
		f := &l.files[i]
		return f.offset+f.localLen()+f.packed()+f.descriptorLen() > from
	})
	for i := first; i < len(l.files) && l.files[i].offset < to; i++ {
		if err := c.file(ctx, i); err != nil {
			return err
		}
	}
	first = sort.Search(len(l.files), func(i int) bool {
		return l.files[i].record+l.files[i].recordLen() > from
	})
	for i := first; i < len(l.files) && l.files[i].record < to; i++ {
		if err := c.central(ctx, i); err != nil {
			return err
		}
	}
	return c.put(l.end, l.tail)
}

// copier is one Copy.
type copier struct {
	*Layout
	w        io.Writer
	src      Source
	from, to int64
	record   []byte // for one record after another
	block    []byte
}

// overlaps reports whether the range has any of the n bytes at an offset.
func (c *copier) overlaps(at, n int64) bool { return n > 0 && at < c.to && at+n > c.from }

// put writes of a record at an offset what lies in the range.
func (c *copier) put(at int64, appended func([]byte) []byte) error {
	c.record = appended(c.record[:0])
	n := int64(len(c.record))
	if !c.overlaps(at, n) {
		return nil
	}
	return c.write(c.record[max(0, c.from-at):min(n, c.to-at)])
}

func (c *copier) write(b []byte) error {
	if _, err := c.w.Write(b); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// file writes an entry: header, data, descriptor.
func (c *copier) file(ctx context.Context, i int) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	f := &c.files[i]
	at, n := f.offset, f.localLen()
	if c.overlaps(at, n) {
		if err := c.put(at, f.local); err != nil {
			return err
		}
	}
	at += n
	n = f.packed()
	if c.overlaps(at, n) {
		if err := c.data(ctx, i, max(0, c.from-at), min(n, c.to-at)); err != nil {
			return err
		}
	}
	at += n
	if !c.overlaps(at, f.descriptorLen()) {
		return nil
	}
	sum, err := c.sum(ctx, i, c.src)
	if err != nil {
		return err
	}
	return c.put(at, func(b []byte) []byte { return f.descriptor(b, sum) })
}

// central writes an entry's record in the central directory.
func (c *copier) central(ctx context.Context, i int) error {
	sum, err := c.sum(ctx, i, c.src)
	if err != nil {
		return err
	}
	f := &c.files[i]
	return c.put(f.record, func(b []byte) []byte { return f.central(b, sum) })
}

// data writes the bytes lo..hi of a file's packed data.
func (c *copier) data(ctx context.Context, i int, lo, hi int64) error {
	f := &c.files[i]
	body := &body{l: c.Layout, file: i, at: unpacked(lo), end: min(f.size, unpacked(hi))}
	body.whole = body.at == 0 && body.end == f.size
	if body.at < body.end {
		r, err := c.src.Open(ctx, f.given, body.at, body.end)
		if err != nil {
			return fmt.Errorf("open entry %d: %w", f.given, err)
		}
		defer r.Close()
		body.r = r
	}
	if c.block == nil {
		c.block = make([]byte, block)
	}
	for at := lo; at < hi; {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		n := at / block
		held := min(blockData, f.size-n*blockData)
		head(c.block[:0], held, n*blockData+held == f.size)
		// Of this block the bytes begin..end, of which those from blockHead on are
		// the file's.
		begin, end := at-n*block, min(blockHead+held, hi-n*block)
		if data := max(begin, blockHead); data < end {
			if err := body.read(c.block[data:end]); err != nil {
				return err
			}
		}
		if err := c.write(c.block[begin:end]); err != nil {
			return err
		}
		at = n*block + end
	}
	return nil
}

// unpacked is how much of a file lies before an offset in its packed data.
func unpacked(at int64) int64 {
	return at/block*blockData + max(0, at%block-blockHead)
}

// head appends what stands before a stored block: whether it is the last, and its
// length twice (RFC 1951 section 3.2.4).
func head(b []byte, n int64, last bool) []byte {
	var final byte
	if last {
		final = 1
	}
	return le16(le16(append(b, final), uint16(n)), ^uint16(n)) //nolint:gosec // at most blockData
}

// body reads a range of a file, which must be just as long as it is to be.
type body struct {
	l       *Layout
	file    int
	r       io.Reader
	at, end int64
	whole   bool
	sum     uint32
}

// read fills p. Before the last byte of the range goes anywhere it makes sure
// that there are no more, and that the file is the one that it was.
func (b *body) read(p []byte) error {
	entry := b.l.files[b.file].given
	for rest := p; len(rest) > 0; {
		n, err := b.r.Read(rest)
		rest, b.at = rest[n:], b.at+int64(n)
		switch {
		case len(rest) == 0:
		case errors.Is(err, io.EOF):
			return fmt.Errorf("entry %d ends at byte %d, not at %d: %w", entry, b.at, b.end, ErrChanged)
		case err != nil:
			return fmt.Errorf("read entry %d: %w", entry, err)
		}
	}
	if b.whole {
		b.sum = crc32.Update(b.sum, crc32.IEEETable, p)
	}
	if b.at < b.end {
		return nil
	}
	switch _, err := io.ReadFull(b.r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("entry %d goes on after byte %d: %w", entry, b.end, ErrChanged)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read entry %d: %w", entry, err)
	}
	if !b.whole {
		return nil
	}
	return b.l.learn(b.file, b.sum)
}
