package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// UnknownLength is the Length of a body whose end has not been seen yet.
const UnknownLength = -1

// MaxBlocks bounds the blocks of one manifest: 16 TiB of body.
const MaxBlocks = 1 << 24

// manifestVersion opens every encoded manifest. Encodings are for ever: a new
// shape takes a new number and the old ones stay readable.
const manifestVersion = 1

// Piece is a part of one block that is held before its block is whole: what a
// fill had when it was stopped.
type Piece struct {
	Off    int64 // in the body
	Len    int
	Digest Digest
}

// Manifest lists what is held of one body. It may be partial while a fill runs.
type Manifest struct {
	Length int64    // bytes of the whole body, or UnknownLength
	Blocks []Digest // by position; a zero digest is a block not held
	Pieces []Piece  // parts of blocks not held
	SHA256 Digest   // of the whole body; zero until it is known
}

// NumBlocks says how many blocks a body of length bytes has.
func NumBlocks(length int64) int {
	if length <= 0 {
		return 0
	}
	return int((length + Size - 1) / Size)
}

// BlockLen is the length of block i of a body of length bytes.
func BlockLen(length int64, i int) int { //nolint:revive // Len would not say of what
	return int(min(Size, length-int64(i)*Size))
}

// Complete reports whether every byte of the body is held.
func (m Manifest) Complete() bool {
	if m.Length < 0 || len(m.Blocks) != NumBlocks(m.Length) {
		return false
	}
	for _, d := range m.Blocks {
		if d.IsZero() {
			return false
		}
	}
	return true
}

// Held is the number of bytes of the body that are held.
func (m Manifest) Held() int64 {
	var n int64
	for i, d := range m.Blocks {
		switch {
		case d.IsZero():
		case m.Length < 0:
			n += Size
		default:
			n += int64(BlockLen(m.Length, i))
		}
	}
	for _, p := range m.Pieces {
		n += int64(p.Len)
	}
	return n
}

// Validate reports the first thing that can't be true of a manifest.
func (m Manifest) Validate() error {
	switch {
	case m.Length < UnknownLength:
		return fmt.Errorf("manifest length %d is negative", m.Length)
	case m.Length > MaxBlocks*Size || len(m.Blocks) > MaxBlocks:
		return errors.New("manifest is longer than any body we keep")
	case m.Length >= 0 && len(m.Blocks) > NumBlocks(m.Length):
		return fmt.Errorf("manifest has %d blocks, a body of %d bytes has %d", len(m.Blocks), m.Length, NumBlocks(m.Length))
	}
	for _, p := range m.Pieces {
		if p.Off < 0 || p.Len <= 0 || p.Len > Size || p.Off/Size != (p.Off+int64(p.Len)-1)/Size ||
			p.Off > MaxBlocks*Size || m.Length >= 0 && p.Off+int64(p.Len) > m.Length {
			return fmt.Errorf("manifest piece at %d of %d bytes lies outside one block of the body", p.Off, p.Len)
		}
	}
	return nil
}

// AppendBinary appends the encoding of m to b: version, length + 1, SHA-256,
// blocks, pieces; all integers as unsigned varints.
func (m Manifest) AppendBinary(b []byte) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return b, err
	}
	b = append(b, manifestVersion)
	b = binary.AppendUvarint(b, uint64(m.Length+1))
	b = append(b, m.SHA256[:]...)
	b = binary.AppendUvarint(b, uint64(len(m.Blocks)))
	for _, d := range m.Blocks {
		b = append(b, d[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Pieces)))
	for _, p := range m.Pieces {
		b = binary.AppendUvarint(b, uint64(p.Off))
		b = binary.AppendUvarint(b, uint64(p.Len))
		b = append(b, p.Digest[:]...)
	}
	return b, nil
}

// MarshalBinary is AppendBinary to nothing.
func (m Manifest) MarshalBinary() ([]byte, error) { return m.AppendBinary(nil) }

// UnmarshalBinary decodes what AppendBinary wrote and refuses all else.
func (m *Manifest) UnmarshalBinary(b []byte) error {
	d := decoder{rest: b}
	if v := d.byte(); d.err == nil && v != manifestVersion {
		return fmt.Errorf("manifest version %d is not known here", v)
	}
	out := Manifest{Length: int64(d.uvarint(MaxBlocks*Size+1)) - 1}
	d.digest(&out.SHA256)
	if n := d.count(len(Digest{})); n > 0 {
		out.Blocks = make([]Digest, n)
		for i := range out.Blocks {
			d.digest(&out.Blocks[i])
		}
	}
	if n := d.count(len(Digest{}) + 2); n > 0 {
		out.Pieces = make([]Piece, n)
		for i := range out.Pieces {
			p := &out.Pieces[i]
			p.Off, p.Len = int64(d.uvarint(math.MaxInt64)), int(d.uvarint(Size))
			d.digest(&p.Digest)
		}
	}
	if d.err == nil && len(d.rest) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return fmt.Errorf("decode manifest: %w", d.err)
	}
	if err := out.Validate(); err != nil {
		return err
	}
	*m = out
	return nil
}

var errShort = errors.New("ends too early")

// decoder reads from a slice and remembers the first error.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || len(d.rest) < n {
		if d.err == nil {
			d.err = errShort
		}
		return nil
	}
	p := d.rest[:n]
	d.rest = d.rest[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) digest(to *Digest) { copy(to[:], d.take(len(to))) }

func (d *decoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > limit {
		d.err = errors.New("number out of range")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads a number of items of at least size bytes each, and refuses one
// that the rest can't hold, so that a forged count allocates nothing.
func (d *decoder) count(size int) int {
	n := d.uvarint(MaxBlocks)
	if d.err == nil && n > uint64(len(d.rest)/size) {
		d.err = errShort
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}
