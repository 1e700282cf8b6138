// Package central is what a region's servers and the ministry's gateway say to
// one another: which objects of the watched buckets there are (Change), their
// bytes, and the deposits of schools on their way up. Types, an HTTP handler
// (Server) and its other end (Client).
//
// The gateway keeps nothing of its own: what it must remember lies in the object
// store (replication/central/store), so any number of gateways can stand behind
// one name. It opens no connection to a region: the region's servers come to it
// (replication/wire). Who publishes and who takes deposits is behind the
// interfaces Publications and Depository (replication/central/publish and
// .../deposit). The package decides nothing of the region's catalogue.
//
//	GET  /central/v1/about                            About, as JSON
//	GET  /central/v1/buckets/{bucket}/changes         Changes after a Cursor, as CBOR; waits for news if asked to
//	GET  /central/v1/buckets/{bucket}/lists/{digest}  a block list (replication/hold), as its digest names it
//	GET  /central/v1/buckets/{bucket}/bodies/{digest} bytes of the version with that list, in ranges; ?key= helps to find it
//	POST /central/v1/deposits                         begin or look up a Deposit: DepositState
//	PUT  /central/v1/deposits/{id}                    a short Deposit and its bytes, all at once: DepositState
//	PUT  /central/v1/deposits/{id}/parts/{number}     a part, with Content-Digest (RFC 9530) unless DepositState.Whole
//	POST /central/v1/deposits/{id}/completion         check and keep it: DepositState
//
// All of it is for servers of a region only.
package central

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"preau/cache/block"
	"preau/replication/identity"
)

// PartSize is how deposits are cut for the way up: every part but the last. It
// is eight blocks, and above what S3 allows for the smallest part.
const PartSize = 8 << 20

// Bounds of what is said in words.
const (
	MaxText = 4096 // bytes of a title, a description …
	MaxName = 255  // bytes of a file name
)

// Sentinels of refusals, on both ends.
var (
	// ErrGone is a version that the bucket does not have any more.
	ErrGone = errors.New("this version is not at the centre any more")
	// ErrNoBucket is a bucket that the gateway does not watch.
	ErrNoBucket = errors.New("the centre does not publish this bucket")
	// ErrWrongBytes is a part or a file that is not what its digest names.
	ErrWrongBytes = errors.New("bytes do not match their digest")
	// ErrIncomplete is a deposit whose parts are not all there.
	ErrIncomplete = errors.New("parts of the deposit are missing at the centre")
	// ErrInvalid is something that can never be accepted.
	ErrInvalid = errors.New("the centre can't accept this")
	// ErrWaiting is trouble that passes: the deposit waits, and another try comes.
	// The three after it are ErrWaiting too, and say that the object store has it.
	ErrWaiting = errors.New("the centre can't take it now")
	// ErrFull is a store, or a quota in it, without room.
	ErrFull = fmt.Errorf("%w: its object store has no room", ErrWaiting)
	// ErrDenied is credentials of the gateway's that the store refuses.
	ErrDenied = fmt.Errorf("%w: its object store refuses the gateway", ErrWaiting)
	// ErrStalled is a store that is away, read-only or does not answer in time.
	ErrStalled = fmt.Errorf("%w: its object store does not answer", ErrWaiting)
)

// What people are told of a store's trouble, and who can end it. Schools show it
// in their own language, so it has no particulars.
const (
	WhyFull    = "the centre's storage is full or its quota is reached: the ministry must make room there or raise the quota; it goes on by itself then"
	WhyDenied  = "the centre's storage refuses the gateway's keys: the ministry must unlock its account or put valid keys into its key file; it goes on by itself then"
	WhyStalled = "the centre's storage takes nothing now, being full, paused or down: the ministry must look at it (ceph status); it goes on by itself then"
)

// Why is what people are told of a store's trouble. ok is false for all else.
func Why(err error) (why string, ok bool) {
	switch {
	case errors.Is(err, ErrFull):
		return WhyFull, true
	case errors.Is(err, ErrDenied):
		return WhyDenied, true
	case errors.Is(err, ErrStalled):
		return WhyStalled, true
	}
	return "", false
}

// Meta is what is known of a file besides its bytes.
type Meta struct {
	Title       string            `cbor:"1,keyasint,omitempty"`
	Description string            `cbor:"2,keyasint,omitempty"`
	Language    string            `cbor:"3,keyasint,omitempty"`
	Level       string            `cbor:"4,keyasint,omitempty"`
	Licence     string            `cbor:"5,keyasint,omitempty"`
	Collection  string            `cbor:"6,keyasint,omitempty"` // empty: the bucket's own
	ContentType string            `cbor:"7,keyasint,omitempty"`
	Expires     time.Time         `cbor:"8,keyasint,omitzero"`
	Audience    []identity.School `cbor:"9,keyasint,omitempty"` // empty: everybody
}

// Object is one version of one object of a watched bucket.
type Object struct {
	Bucket   string       `cbor:"1,keyasint"`
	Key      string       `cbor:"2,keyasint"`
	ETag     string       `cbor:"3,keyasint"` // as the object store has it, without quotes
	Length   int64        `cbor:"4,keyasint"`
	Modified time.Time    `cbor:"5,keyasint"`
	SHA256   block.Digest `cbor:"6,keyasint"` // of the body
	// List names the list of its blocks (hold.EncodeList), which lies beside it.
	List block.Digest `cbor:"7,keyasint"`
	Meta Meta         `cbor:"8,keyasint"`
}

// ResourceID is what the object is called in a region's catalogue, in all its
// versions.
func ResourceID(bucket, key string) string {
	sum := sha256.Sum256([]byte(bucket + "\x00" + key))
	return "c-" + hex.EncodeToString(sum[:10])
}

// Change is one step of a bucket's history.
type Change struct {
	Seq uint64 `cbor:"1,keyasint"` // from 1 on, without gaps
	// Deleted: the object of this Bucket and Key is gone; no other field is set.
	Deleted bool `cbor:"2,keyasint,omitempty"`
	// Signed is an Object in deterministic CBOR, and Signature is Ed25519's over
	// it (RFC 8032), with the context string SignContext before it.
	Signed    []byte `cbor:"3,keyasint"`
	Signature []byte `cbor:"4,keyasint"`
}

// SignContext stands before what is signed, so that a signature is good for
// nothing else.
const SignContext = "preau central object 1\x00"

// Cursor is a place in a bucket's history. The zero Cursor is its beginning.
type Cursor struct {
	// Epoch names the history: another one means that the history was begun
	// anew, and what is not in it is gone.
	Epoch string `cbor:"1,keyasint,omitempty"`
	Seq   uint64 `cbor:"2,keyasint,omitempty"`
}

// Changes is a stretch of a bucket's history.
type Changes struct {
	Epoch   string   `cbor:"1,keyasint"`
	Head    uint64   `cbor:"2,keyasint"` // the latest that there is
	Changes []Change `cbor:"3,keyasint,omitempty"`
}

// About is what a gateway says of itself.
type About struct {
	Buckets  []string `json:"buckets"`            // that it publishes
	Key      []byte   `json:"key"`                // Ed25519, of signatures
	Deposits bool     `json:"deposits"`           // it takes them
	Version  string   `json:"version,omitempty"`  // of the program
	Location string   `json:"location,omitempty"` // which gateway, for people
}

// Deposit is a file on its way up from a school.
type Deposit struct {
	ID     string          `cbor:"1,keyasint"` // of the region's catalogue
	Region identity.Region `cbor:"2,keyasint"` // must be the caller's
	School identity.School `cbor:"3,keyasint"`
	Box    identity.Name   `cbor:"4,keyasint"`
	Name   string          `cbor:"5,keyasint"` // of the file
	Length int64           `cbor:"6,keyasint"`
	SHA256 block.Digest    `cbor:"7,keyasint"`
	At     time.Time       `cbor:"8,keyasint"` // when the box took it, by its clock
	Meta   Meta            `cbor:"9,keyasint"`
}

// DepositState is how far a deposit has come at the centre.
type DepositState struct {
	// Kept: it is in the object store, checked, under Bucket and Key.
	Kept   bool   `json:"kept"`
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"`
	ETag   string `json:"etag,omitempty"`
	// Parts are those that are there already, numbered from 1, of a deposit that
	// is not kept yet. PartSize is how it must be cut.
	Parts    []int `json:"parts,omitempty"`
	PartSize int64 `json:"part_size,omitempty"`
	// Whole: the gateway compares the whole with its SHA-256 whatever it is told
	// of parts, so they need no digests of their own.
	Whole bool `json:"whole,omitempty"`
}

// Publications is what a gateway publishes. All methods may be called
// concurrently.
type Publications interface {
	Buckets() []string
	// Changes returns what came after c, at most limit. With nothing to tell it
	// waits for news until wait is over. An epoch that is not the bucket's is as
	// good as none: the answer begins at the beginning.
	Changes(ctx context.Context, bucket string, c Cursor, limit int, wait time.Duration) (Changes, error)
	// List returns the block list that digest names.
	List(ctx context.Context, bucket string, digest block.Digest) ([]byte, error)
	// Body reads length bytes from off on of the version whose list digest names;
	// ErrGone if the bucket has another version now. See Located.
	Body(ctx context.Context, bucket string, digest block.Digest, off, length int64) (io.ReadCloser, error)
	// Key is the public key of signatures.
	Key() []byte
}

// Located is of Publications that find a version sooner where they are told its
// key, which need not be right.
type Located interface {
	BodyOf(ctx context.Context, bucket, key string, digest block.Digest, off, length int64) (io.ReadCloser, error)
}

// Depository takes deposits. All methods may be called concurrently, and any
// number of times: a second call of one finds what the first one did.
type Depository interface {
	Begin(ctx context.Context, d Deposit) (DepositState, error)
	// Deliver is all three in one, for a file of at most MaxDelivered bytes.
	Deliver(ctx context.Context, d Deposit, body io.Reader) (DepositState, error)
	// PutPart keeps a part, which must be what digest names: ErrWrongBytes. With
	// the zero digest only the whole is compared.
	PutPart(ctx context.Context, region identity.Region, id string, number int, body io.Reader, size int64, digest block.Digest) error
	// Complete checks that the whole is what was announced, and makes it visible.
	Complete(ctx context.Context, region identity.Region, id string) (DepositState, error)
}
