package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"preau/replication/identity"
)

// Version is the protocol's. A box takes no other.
const Version = 1

// Bounds on what is read from the other side, and kept when writing.
const (
	MaxPayload  = 1 << 20 // of one frame, compressed
	MaxExpanded = 4 << 20 // of one frame
	MaxRecords  = 1 << 16 // in one frame
	MaxParts    = 1 << 10 // frames that move the cursor once
	maxHeader   = 32 << 10
	maxChain    = 4
	maxText     = 64
)

// Mode is how a stream begins.
type Mode uint8

// The modes.
const (
	ModeChanges  Mode = 1 // what changed after the cursor, deletions too
	ModeSnapshot Mode = 2 // everything there is, up to Until; then changes
)

// Reason is why a server ends a stream. The list is closed.
type Reason string

// The reasons.
const (
	ReasonRevoked  Reason = "revoked"  // the box is out of the region
	ReasonMoved    Reason = "moved"    // the box has another stream
	ReasonDraining Reason = "draining" // the server goes away: take another
	ReasonBehind   Reason = "behind"   // the server lacks what the box has: take another
	ReasonAgain    Reason = "again"    // come again, to a new decision on where to begin
)

// Kinds of frames, and the prefix each begins with: its kind, Version, the
// header's length (2 bytes) and the payload's (4), big endian.
const (
	frameHello   = 1
	frameBatch   = 2
	frameGoodbye = 3
	prefixLength = 8
)

// Hello begins a stream.
type Hello struct {
	Region identity.Region `cbor:"1,keyasint"`
	Epoch  uint64          `cbor:"2,keyasint"`
	Mode   Mode            `cbor:"3,keyasint"`
	After  uint64          `cbor:"4,keyasint,omitempty"` // the first batch follows on this
	// Until ends a snapshot: whoever has everything up to it may drop what it
	// held before and was not sent again.
	Until  uint64        `cbor:"5,keyasint,omitempty"`
	Again  bool          `cbor:"6,keyasint,omitempty"` // the snapshot begins anew, at 0
	Now    uint64        `cbor:"7,keyasint"`           // what the server has applied
	Server identity.Name `cbor:"8,keyasint"`
	Chain  [][]byte      `cbor:"9,keyasint,omitempty"` // certificates of who signs, leaf first, DER
	// Floor is the index up to which the region has forgotten purges and marks
	// of what was deleted, FloorTime the time (ms since 1970) before which.
	Floor     uint64 `cbor:"10,keyasint,omitempty"`
	FloorTime int64  `cbor:"11,keyasint,omitempty"`
}

// batchHeader says what of the feed a payload is.
type batchHeader struct {
	After uint64          `cbor:"1,keyasint"`
	Upto  uint64          `cbor:"2,keyasint"`
	Part  uint16          `cbor:"3,keyasint,omitempty"`
	More  bool            `cbor:"4,keyasint,omitempty"`
	Count uint32          `cbor:"5,keyasint,omitempty"`
	View  identity.School `cbor:"6,keyasint,omitempty"` // whose: empty is everybody's
	At    uint64          `cbor:"7,keyasint,omitempty"` // what had been applied when it was made, where signed
	Sig   []byte          `cbor:"8,keyasint,omitempty"`
}

type goodbyeHeader struct {
	Reason Reason `cbor:"1,keyasint"`
}

var encMode = sync.OnceValues(func() (cbor.EncMode, error) {
	return cbor.CoreDetEncOptions().EncMode()
})

var decMode = sync.OnceValues(func() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 64,
		MaxMapPairs:      32,
	}.DecMode()
})

// marshal is for values of this package's types, which always can be.
func marshal(v any) ([]byte, error) {
	enc, err := encMode()
	if err != nil {
		return nil, fmt.Errorf("feed encoding: %w", err)
	}
	return enc.Marshal(v)
}

func unmarshal(b []byte, v any) error {
	dec, err := decMode()
	if err != nil {
		return fmt.Errorf("feed decoding: %w", err)
	}
	return dec.Unmarshal(b, v)
}

// appendFrame appends a frame's prefix and header. The payload follows it on
// the wire.
func appendFrame(dst []byte, kind byte, header any, payload int) ([]byte, error) {
	h, err := marshal(header)
	if err != nil {
		return nil, err
	}
	if len(h) > maxHeader || payload > MaxPayload {
		return nil, fmt.Errorf("a frame of %d and %d bytes is too large for the feed", len(h), payload)
	}
	dst = append(dst, kind, Version)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(h)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(payload))
	return append(dst, h...), nil
}

// appendHeartbeat appends the frame of a batch without records. It is written by
// hand because it is nearly all that a server writes while nothing happens.
func appendHeartbeat(dst []byte, after, upto uint64) []byte {
	var h [20]byte
	header := append(h[:0], 0xa2, 0x01)
	header = appendHead(header, 0x00, after)
	header = append(header, 0x02)
	header = appendHead(header, 0x00, upto)
	return append(append(dst, frameBatch, Version, 0, byte(len(header)), 0, 0, 0, 0), header...)
}

// frameReader takes frames off a stream. Its buffer is used again for the next.
type frameReader struct {
	r      io.Reader
	prefix [prefixLength]byte
	buf    []byte
}

// next returns one frame; io.EOF only between frames. Errors are ErrRefused or
// the reader's.
func (f *frameReader) next() (kind byte, header, payload []byte, err error) {
	if _, err := io.ReadFull(f.r, f.prefix[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, nil, nil, fmt.Errorf("read a frame: %w", err)
		}
		return 0, nil, nil, err
	}
	kind, version := f.prefix[0], f.prefix[1]
	hl, pl := int(binary.BigEndian.Uint16(f.prefix[2:])), int(binary.BigEndian.Uint32(f.prefix[4:]))
	switch {
	case version != Version:
		return 0, nil, nil, fmt.Errorf("%w: version %d of the protocol, this box knows %d: upgrade one of them", ErrRefused, version, Version)
	case kind < frameHello || kind > frameGoodbye:
		return 0, nil, nil, fmt.Errorf("%w: a frame of unknown kind %d", ErrRefused, kind)
	case hl > maxHeader || pl > MaxPayload || kind != frameBatch && pl > 0:
		return 0, nil, nil, fmt.Errorf("%w: a frame of %d and %d bytes", ErrRefused, hl, pl)
	}
	if n := hl + pl; cap(f.buf) < n {
		f.buf = make([]byte, max(n, 512))
	}
	b := f.buf[:hl+pl]
	if _, err := io.ReadFull(f.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, nil, fmt.Errorf("read a frame of %d bytes: %w", len(b), err)
	}
	return kind, b[:hl], b[hl:], nil
}

func (h *Hello) check() error {
	switch {
	case h.Mode != ModeChanges && h.Mode != ModeSnapshot:
		return fmt.Errorf("%w: a stream of unknown mode %d", ErrRefused, h.Mode)
	case len(h.Chain) > maxChain || len(h.Server) > maxText || len(h.Region) > maxText:
		return fmt.Errorf("%w: a hello with too much in it", ErrRefused)
	case h.Mode == ModeChanges && (h.Until != 0 || h.Again),
		h.Mode == ModeSnapshot && (h.After >= h.Until || h.Again && h.After != 0):
		return fmt.Errorf("%w: a hello that contradicts itself (after %d, until %d)", ErrRefused, h.After, h.Until)
	}
	return nil
}

func (h *batchHeader) check(payload int) error {
	switch {
	case h.Upto < h.After, h.Part >= MaxParts, h.Count > MaxRecords, len(h.View) > maxText, len(h.Sig) > 256,
		(h.Count == 0) != (payload == 0), h.More && h.Upto == h.After:
		return fmt.Errorf("%w: a batch that cannot be (after %d, upto %d, part %d, %d records in %d bytes)",
			ErrRefused, h.After, h.Upto, h.Part, h.Count, payload)
	}
	return nil
}
