// Package block names the bodies of stored responses by their content and says
// what a store of such blocks must do.
//
// A body is cut into blocks of Size bytes (the last one may be shorter), each
// named by its SHA-256. The block is the unit of storage, verification,
// transfer and deduplication. The package holds no bytes itself: badgerblock
// keeps them in Badger, blocktest holds the suite every Store must pass.
package block

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Size is the length in bytes of every block but a body's last.
const Size = 1 << 20

var (
	// ErrNotFound reports that a block is not in the store, or was there and
	// turned out to be damaged: either way it must be fetched again.
	ErrNotFound = errors.New("block not found")
	// ErrNoSpace reports that nothing more can be kept now: the disk has
	// reached its reserve, or everything left is pinned. The caller passes the
	// bytes through and keeps nothing.
	ErrNoSpace = errors.New("no space for blocks")
	// ErrCorrupt reports that bytes read are not those that were put. A Store
	// drops such a block before it returns the error, so that the next Open
	// answers ErrNotFound. Errors of this kind also match ErrNotFound.
	ErrCorrupt = fmt.Errorf("block is damaged: %w", ErrNotFound)
)

// Digest is the SHA-256 of a block and its name. The zero Digest names nothing.
type Digest [sha256.Size]byte

// Sum returns the digest of p.
func Sum(p []byte) Digest { return sha256.Sum256(p) }

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns d in lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText is String, for JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDigest.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}

// ParseDigest is the inverse of String.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("digest has %d characters, want %d", len(s), 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest: %w", err)
	}
	return d, nil
}

// Ring numbers one of the queues in which a Store keeps its blocks in the
// order in which they came. What the rings are for is the eviction policy's
// business.
type Ring uint8

// Segment numbers one piece of a ring: the unit in which room is made.
// Numbers are never used twice in the life of a data folder; 0 names nothing.
type Segment uint32

// Store keeps blocks. All methods may be called concurrently.
type Store interface {
	// Put keeps p under d, which must be Sum(p), and returns the segment it
	// lies in. A block that is already there is not written again. p is not
	// kept after Put returns. Errors: ErrNoSpace, ctx's, or the disk's.
	Put(ctx context.Context, r Ring, d Digest, p []byte) (Segment, error)
	// Open returns the block named d for reading, or ErrNotFound. The caller
	// must Close it; until then its bytes stay readable even if the segment
	// is removed.
	Open(d Digest) (Block, error)
	// Has reports in which segment d lies.
	Has(d Digest) (Segment, bool)
	// Drop forgets a block that was found to be wrong.
	Drop(d Digest)
}

// Block is one stored block, open for reading. What it hands out is verified:
// bytes are checked against the digest, or a checksum that was made when they
// were put, before the first of them leaves, again whenever the file under them
// has changed since, and again when they were read cold from disk. A failed check returns ErrCorrupt and drops the block.
// A Block is for one goroutine.
type Block interface {
	io.Closer
	io.ReaderAt
	// Len is the block's length in bytes.
	Len() int
	// WriteRange writes bytes off to off+n to w, without copying through user
	// space where w allows it and the block is large enough for that to pay.
	// The count is of bytes written to w. Nothing wrong is ever written: on
	// ErrCorrupt the count is 0.
	WriteRange(w io.Writer, off, n int) (int64, error)
}
