package hold

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/restic/chunker"

	"preau/cache/block"
)

// Where a file is cut depends on what stands there (content-defined chunking,
// Muthitacharoen et al., "A Low-bandwidth Network File System", SOSP 2001), so
// that a new version with something put in near its start has the old one's
// blocks from there on; taper.go says how a file ends. The polynomial and the sizes
// are part of what blocks are called: with others everything would cross the lines
// once more.
const (
	polynomial = chunker.Pol(0x2dff254ed10c6f)
	minContent = 256 << 10
	cutBits    = 18 // a cut every 256 KiB from minContent on: half a MiB on average
	// MaxContent is the largest file that is cut by its content: were every block
	// of it minContent long, a list could just name them. Larger ones are cut
	// every block.Size.
	MaxContent = 7 << 30
)

// Entry is one block of a file.
type Entry struct {
	Digest block.Digest
	Length int // in bytes, 1 to block.Size
}

// Cut is a file in blocks.
type Cut struct {
	Entries []Entry
	Length  int64
	SHA256  block.Digest // of the whole
}

// SplitContent is Split with cuts where the content says, of a file of size
// bytes. It fails with io.ErrUnexpectedEOF if r has not that many. A size below
// 0 is not known: r is read to its end, and fails with ErrTooLarge if that is
// further than a list can tell.
func SplitContent(ctx context.Context, r io.Reader, size int64, put func(ctx context.Context, d block.Digest, p []byte) error) (Cut, error) {
	r = whole{r}
	if size >= 0 {
		r = io.LimitReader(r, size+1) // one more shows that there is more
	}
	next := func(buf []byte) ([]byte, error) {
		n, err := io.ReadFull(r, buf)
		return buf[:n], err
	}
	limit := MaxDigests
	if size <= MaxContent {
		limit = MaxEntries
		c := chunker.NewWithBoundaries(r, polynomial, minContent, block.Size)
		c.SetAverageBits(cutBits)
		ends := &tapered{size: size, next: func(buf []byte) ([]byte, error) {
			piece, err := c.Next(buf[:0])
			return piece.Data, err
		}}
		next = ends.piece
	}
	cut, err := pieces(ctx, limit, put, next)
	if err == nil && size >= 0 && cut.Length != size {
		return Cut{}, fmt.Errorf("split: %w: %d bytes or more, want %d", io.ErrUnexpectedEOF, cut.Length, size)
	}
	return cut, err
}

// listMark opens a list that tells lengths. The other form opens with a digest.
const listMark = "\x00preau\x00\x02"

const (
	lengthSize = 3
	entrySize  = len(block.Digest{}) + lengthSize
	// MaxEntries is how many entries a list with lengths may have.
	MaxEntries = (block.Size - len(listMark)) / entrySize
)

// EncodeList writes the blocks of a file, to be kept as a block itself. Where
// all are block.Size long, but the last, it is what EncodeManifest writes.
func EncodeList(entries []Entry) ([]byte, error) {
	even := true
	for i, e := range entries {
		switch {
		case e.Digest.IsZero():
			return nil, fmt.Errorf("encode list: block %d has no digest", i)
		case e.Length < 1 || e.Length > block.Size:
			return nil, fmt.Errorf("encode list: block %d of %d bytes", i, e.Length)
		}
		even = even && (e.Length == block.Size || i == len(entries)-1)
	}
	if even {
		digests := make([]block.Digest, len(entries))
		for i, e := range entries {
			digests[i] = e.Digest
		}
		return EncodeManifest(digests)
	}
	if len(entries) > MaxEntries {
		return nil, fmt.Errorf("encode list of %d blocks, at most %d fit: %w", len(entries), MaxEntries, ErrTooLarge)
	}
	b := make([]byte, 0, len(listMark)+len(entries)*entrySize)
	b = append(b, listMark...)
	for _, e := range entries {
		b = append(b, byte(e.Length>>16), byte(e.Length>>8), byte(e.Length))
		b = append(b, e.Digest[:]...)
	}
	return b, nil
}

// OnlyBlock is the list of a file of one block, if that is what list names: whoever
// knows the file's SHA-256 need not ask for it.
func OnlyBlock(sum, list block.Digest, length int64) (raw []byte, entries []Entry, ok bool) {
	if length < 1 || length > block.Size {
		return nil, nil, false
	}
	entries = []Entry{{Digest: sum, Length: int(length)}}
	raw, err := EncodeList(entries)
	return raw, entries, err == nil && block.Sum(raw) == list
}

// DecodeList reads what EncodeList or EncodeManifest wrote of a file of length
// bytes, and refuses all else.
func DecodeList(b []byte, length int64) ([]Entry, error) {
	entries, err := decodeList(b, length)
	if err != nil {
		return nil, fmt.Errorf("decode list: %w", err)
	}
	return entries, nil
}

func decodeList(b []byte, length int64) ([]Entry, error) {
	if len(b) == 0 {
		return nil, errors.New("no blocks")
	}
	if len(b) < len(listMark) || string(b[:len(listMark)]) != listMark {
		digests, err := parseDigests(b)
		if err != nil {
			return nil, err
		}
		if len(digests) != block.NumBlocks(length) {
			return nil, fmt.Errorf("%d blocks, a file of %d bytes has %d", len(digests), length, block.NumBlocks(length))
		}
		entries := make([]Entry, len(digests))
		for i, d := range digests {
			entries[i] = Entry{Digest: d, Length: block.BlockLen(length, i)}
		}
		return entries, nil
	}
	b = b[len(listMark):]
	if len(b)%entrySize != 0 || len(b) > MaxEntries*entrySize {
		return nil, fmt.Errorf("%d bytes are no whole number of blocks, or too many", len(b))
	}
	entries := make([]Entry, 0, len(b)/entrySize)
	left, even := length, true
	for ; len(b) > 0; b = b[entrySize:] {
		var n [4]byte
		copy(n[1:], b[:lengthSize])
		e := Entry{Digest: block.Digest(b[lengthSize:entrySize]), Length: int(binary.BigEndian.Uint32(n[:]))}
		switch {
		case e.Digest.IsZero():
			return nil, fmt.Errorf("block %d has no digest", len(entries))
		case e.Length < 1 || e.Length > block.Size || int64(e.Length) > left:
			return nil, fmt.Errorf("block %d of %d bytes, %d are left of the file", len(entries), e.Length, left)
		}
		left -= int64(e.Length)
		even = even && (e.Length == block.Size || left == 0)
		entries = append(entries, e)
	}
	switch {
	case left != 0:
		return nil, fmt.Errorf("its blocks are %d bytes short of the file", left)
	case even:
		return nil, errors.New("it tells lengths that need no telling")
	}
	return entries, nil
}

// listed reads the digests of a list in either form, whatever the file's length.
func listed(b []byte) ([]block.Digest, error) {
	if len(b) < len(listMark) || string(b[:len(listMark)]) != listMark {
		return DecodeManifest(b)
	}
	b = b[len(listMark):]
	if len(b)%entrySize != 0 || len(b) == 0 {
		return nil, errors.New("decode list: it is no whole number of blocks")
	}
	var out []block.Digest
	for ; len(b) > 0; b = b[entrySize:] {
		out = append(out, block.Digest(b[lengthSize:entrySize]))
	}
	return out, nil
}

// Digests are the names of all blocks, in their order.
func Digests(entries []Entry) []block.Digest {
	out := make([]block.Digest, len(entries))
	for i, e := range entries {
		out[i] = e.Digest
	}
	return out
}
