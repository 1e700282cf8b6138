package badgerblock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"preau/cache/block"
)

// This file knows how Badger v4 lays out a value log without encryption:
//
//	file:  key id (8) | base IV (12) | entry ...
//	entry: meta (1) | user meta (1) | key length | value length | expiry
//	       | key | value | CRC-32C of all before, big endian (4)
//
// with the three numbers as unsigned varints, and the key followed by its
// 8-byte version. TestLayout fails should a later Badger change it.

const (
	vlogName       = "000001.vlog"
	vlogHeader     = 20
	maxEntryHeader = 22
	versionLen     = 8

	kindBlock  = 'b'
	kindRecord = 'r'

	blockKeyLen  = 1 + len(block.Digest{})
	maxRecordKey = 4096
)

// commitKey is the key of the mark that ends a transaction.
var commitKey = []byte("!badger!txn")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errStop     = errors.New("stop")
	errBadEntry = errors.New("not an entry")
)

// entry is the outline of one entry. key is without the version and valid
// only during the call it is handed to.
type entry struct {
	key   []byte
	start int64 // of the entry
	value int64 // of the value
	len   int   // of the value
}

// end is the first byte after the entry.
func (e entry) end() int64 { return e.value + int64(e.len) + crc32.Size }

// parseHeader reads an entry's header from p. It returns the lengths of
// header, key with version, and value.
func parseHeader(p []byte) (header, key, value int, err error) {
	if len(p) < 5 {
		return 0, 0, 0, io.ErrUnexpectedEOF
	}
	n := 2
	var nums [3]uint64
	for i := range nums {
		v, w := binary.Uvarint(p[n:])
		if w <= 0 {
			return 0, 0, 0, errBadEntry
		}
		nums[i] = v
		n += w
	}
	// Nothing else is ever written here; a zeroed page has key length 0.
	if nums[0] <= versionLen || nums[0] > 1+maxRecordKey+versionLen || nums[1] > block.Size || nums[2] != 0 {
		return 0, 0, 0, errBadEntry
	}
	return n, int(nums[0]), int(nums[1]), nil
}

const (
	// scanBuffer is a good length for scan's buffer when a whole log is read.
	scanBuffer = 64 << 10
	// commitBuffer is enough for any header and key.
	commitBuffer = 2 * (maxEntryHeader + 1 + maxRecordKey + versionLen)
	// glance is what is read of an entry whose value is not worth reading with.
	glance = 128
)

// scan calls fn for each entry of the value log f from offset from on, up to
// the length size. It reads headers and keys only, into buf, so it takes a
// value's bytes on trust. It returns where the last good entry ends; that the
// log ends with something else is no error. An error of fn ends it; errStop
// does so silently.
func scan(f io.ReaderAt, buf []byte, from, size int64, fn func(entry) error) (int64, error) {
	at, want := from, glance
	var have []byte // what was read at haveAt
	var haveAt int64
	refill := func(n int) error {
		n, err := f.ReadAt(buf[:min(int64(n), size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read value log: %w", err)
		}
		have, haveAt = buf[:n], at
		return nil
	}
	for at < size {
		for _, n := range []int{0, want, len(buf)} {
			if n > 0 {
				if err := refill(n); err != nil {
					return at, err
				}
			}
			if rel := at - haveAt; rel < int64(len(have)) {
				if h, k, _, err := parseHeader(have[rel:]); err == nil && int(rel)+h+k <= len(have) {
					break
				}
			}
		}
		rel := at - haveAt
		if rel >= int64(len(have)) {
			return at, nil
		}
		p := have[rel:]
		h, k, v, err := parseHeader(p)
		if err != nil || h+k > len(p) {
			return at, nil
		}
		e := entry{key: p[h : h+k-versionLen], start: at, value: at + int64(h+k), len: v}
		if e.end() > size {
			return at, nil
		}
		at = e.end()
		if want = len(buf); v > len(buf)/4 {
			want = glance
		}
		if err := fn(e); err != nil {
			if errors.Is(err, errStop) {
				return at, nil
			}
			return at, err
		}
	}
	return at, nil
}

// digestOf returns the digest in the key of a block.
func digestOf(key []byte) (d block.Digest, ok bool) {
	if len(key) != blockKeyLen || key[0] != kindBlock {
		return d, false
	}
	copy(d[:], key[1:])
	return d, true
}

func isCommit(key []byte) bool { return bytes.Equal(key, commitKey) }

// checkEntry reports whether p, a whole entry, has the checksum it ends with.
func checkEntry(p []byte) bool {
	n := len(p) - crc32.Size
	return n > 0 && crc32.Checksum(p[:n], castagnoli) == binary.BigEndian.Uint32(p[n:])
}
