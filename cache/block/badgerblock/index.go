package badgerblock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"preau/cache/block"
)

// The index of a sealed segment: a header, then one record for each block in
// the order of digests, all big endian.
//
//	header: magic (8) | count (4) | length of the value log (8) | sum of the blocks' lengths (8)
//	        | CRC-32C of the records (4) | CRC-32C of the header before (4)
//	record: digest (32) | offset of the value (4) | its length (4)
//	        | CRC-32C of the record before (4)
//
// The whole is checked when it is opened. As it stays open for months, each
// record is checked again whenever it is used.
const (
	indexName   = "index"
	indexMagic  = "preauBX2"
	indexHeader = 8 + 4 + 8 + 8 + 4 + 4
	indexRecord = 32 + 4 + 4 + 4
)

var errBadIndex = errors.New("index is damaged")

// place is where a block's bytes lie in its segment's value log. ord is the
// block's number in the index, -1 as long as there is none.
type place struct {
	off uint32
	len uint32
	ord int32
}

type indexed struct {
	digest block.Digest
	place  place
}

// index finds a sealed segment's blocks. Only the filter is in memory: 10 bits
// a block.
type index struct {
	f      *os.File
	count  int
	values int64 // length of the value log
	bytes  int64 // sum of the blocks' lengths
	filter filter
	bad    atomic.Bool // damage was found since it was opened
	said   atomic.Bool // and reported
}

// writeIndex writes the index of dir and makes it durable.
func writeIndex(dir string, list []indexed, values int64) error {
	slices.SortFunc(list, func(a, b indexed) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	tmp := filepath.Join(dir, indexName+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create index: %w", err)
	}
	defer os.Remove(tmp) //nolint:errcheck // it has its name by then, or is no use
	if err := fillIndex(f, list, values); err != nil {
		return errors.Join(fmt.Errorf("write index: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, indexName)); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return syncDir(dir)
}

func fillIndex(f *os.File, list []indexed, values int64) error {
	if _, err := f.Seek(indexHeader, io.SeekStart); err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 64<<10)
	var total int64
	var rec [indexRecord]byte
	for _, e := range list {
		copy(rec[:32], e.digest[:])
		binary.BigEndian.PutUint32(rec[32:], e.place.off)
		binary.BigEndian.PutUint32(rec[36:], e.place.len)
		binary.BigEndian.PutUint32(rec[40:], crc32.Checksum(rec[:40], castagnoli))
		total += int64(e.place.len)
		if _, err := w.Write(rec[:]); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	h := make([]byte, 0, indexHeader)
	h = append(h, indexMagic...)
	h = binary.BigEndian.AppendUint32(h, uint32(len(list)))
	h = binary.BigEndian.AppendUint64(h, uint64(values))
	h = binary.BigEndian.AppendUint64(h, uint64(total))
	h = binary.BigEndian.AppendUint32(h, sum.Sum32())
	h = binary.BigEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
	if _, err := f.WriteAt(h, 0); err != nil {
		return err
	}
	return f.Sync()
}

// openIndex opens the index of dir, checking every byte of it. The errors are
// the file system's, or errBadIndex.
func openIndex(dir string) (*index, error) {
	f, err := os.Open(filepath.Join(dir, indexName))
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := &index{f: f}
	if err := x.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

func (x *index) load() error {
	fi, err := x.f.Stat()
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	var h [indexHeader]byte
	if _, err := x.f.ReadAt(h[:], 0); err != nil {
		return errBadIndex
	}
	if string(h[:8]) != indexMagic || crc32.Checksum(h[:indexHeader-4], castagnoli) != binary.BigEndian.Uint32(h[indexHeader-4:]) {
		return errBadIndex
	}
	x.count = int(binary.BigEndian.Uint32(h[8:]))
	x.values = int64(binary.BigEndian.Uint64(h[12:]))
	x.bytes = int64(binary.BigEndian.Uint64(h[20:]))
	if fi.Size() != indexHeader+int64(x.count)*indexRecord {
		return errBadIndex
	}
	x.filter = newFilter(x.count)
	sum := crc32.New(castagnoli)
	err = x.each(func(p []byte) error {
		sum.Write(p)
		for ; len(p) > 0; p = p[indexRecord:] {
			x.filter.add(p)
		}
		return nil
	})
	if err != nil || sum.Sum32() != binary.BigEndian.Uint32(h[28:]) {
		return errBadIndex
	}
	return nil
}

// each hands out all records, some at a time. Its own errors are errBadIndex.
func (x *index) each(fn func(records []byte) error) error {
	const some = 1600
	buf := make([]byte, min(some, x.count)*indexRecord)
	for i := 0; i < x.count; i += some {
		p := buf[:min(some, x.count-i)*indexRecord]
		if _, err := x.f.ReadAt(p, indexHeader+int64(i)*indexRecord); err != nil {
			return fmt.Errorf("%w: %w", errBadIndex, err)
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// find looks d up. Digests are spread evenly, so a record lies near where its
// first bytes say; with 32,768 records it is off by 90 on average.
func (x *index) find(d block.Digest) (place, bool) {
	if x.count == 0 || !x.filter.has(d[:]) {
		return place{}, false
	}
	const window = 200
	var buf [window * indexRecord]byte
	hi, _ := bits.Mul64(binary.BigEndian.Uint64(d[:8]), uint64(x.count))
	lo, end := 0, x.count // it is in [lo, end)
	at := int(hi) - window/2
	for lo < end {
		n := min(window, end-lo)
		at = min(max(at, lo), end-n)
		p := buf[:n*indexRecord]
		if _, err := x.f.ReadAt(p, indexHeader+int64(at)*indexRecord); err != nil {
			x.bad.Store(true)
			return place{}, false
		}
		first, last := p[:32], p[(n-1)*indexRecord:][:32]
		switch {
		case bytes.Compare(d[:], first) < 0:
			end = at
			at -= window
		case bytes.Compare(d[:], last) > 0:
			lo = at + n
			at += window
		default:
			i, ok := searchRecords(p, d)
			if !ok {
				return place{}, false
			}
			return x.placeOf(p[i*indexRecord:][:indexRecord], int32(at+i))
		}
	}
	return place{}, false
}

func searchRecords(p []byte, d block.Digest) (int, bool) {
	lo, hi := 0, len(p)/indexRecord
	for lo < hi {
		mid := (lo + hi) / 2
		switch bytes.Compare(p[mid*indexRecord:][:32], d[:]) {
		case 0:
			return mid, true
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// placeOf returns the place in rec, record ord of x. If rec is damaged, its
// block counts as lost: the next start finds that the index as a whole is not
// what it was, and makes a new one from the value log.
func (x *index) placeOf(rec []byte, ord int32) (place, bool) {
	p := place{off: binary.BigEndian.Uint32(rec[32:]), len: binary.BigEndian.Uint32(rec[36:]), ord: ord}
	if crc32.Checksum(rec[:40], castagnoli) != binary.BigEndian.Uint32(rec[40:]) ||
		p.len > block.Size || int64(p.off)+int64(p.len) > x.values {
		x.bad.Store(true)
		return place{}, false
	}
	return p, true
}

// filter is a Bloom filter in lines of 64 bytes: one line, and thus one miss
// of the processor's cache, for each question. Digests need no further
// hashing: their own bytes say which line and which bits.
type filter []uint64

const (
	lineWords  = 8
	filterBits = 6
)

func newFilter(n int) filter {
	lines := max((n*10+511)/512, 1)
	return make(filter, lines*lineWords)
}

func (f filter) line(d []byte) filter {
	// Bytes 8 to 16: the first eight also order the index.
	hi, _ := bits.Mul64(binary.BigEndian.Uint64(d[8:]), uint64(len(f)/lineWords))
	return f[hi*lineWords:][:lineWords]
}

func (f filter) add(d []byte) {
	l, h := f.line(d), binary.BigEndian.Uint64(d[16:])
	for range filterBits {
		l[h&7] |= 1 << (h >> 3 & 63)
		h >>= 9
	}
}

func (f filter) has(d []byte) bool {
	l, h := f.line(d), binary.BigEndian.Uint64(d[16:])
	for range filterBits {
		if l[h&7]&(1<<(h>>3&63)) == 0 {
			return false
		}
		h >>= 9
	}
	return true
}
