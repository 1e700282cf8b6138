// Package store is the part of S3 that the ministry's gateway needs, as an
// interface: objects in buckets, written whole or not at all.
//
// replication/central/s3store speaks it to Ceph's radosgw (or any S3), dirstore
// keeps it in a folder for demonstrations and small set-ups, and storetest is
// what both must pass. The package stores nothing itself, knows nothing of
// schools or regions, and offers no listing by delimiter, no versions, no ACLs.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Sentinels. A Store's errors are one of these, or a context's, wrapped.
var (
	// ErrNotFound is an object, an upload or a bucket that is not there.
	ErrNotFound = errors.New("not found in the object store")
	// ErrChanged is a condition that does not hold: the object is another version,
	// or exists, or does not.
	ErrChanged = errors.New("changed in the object store")
	// ErrFull is a store or a quota with no room left.
	ErrFull = errors.New("the object store is full")
	// ErrDenied is credentials that are wrong, have expired or may not do this.
	ErrDenied = errors.New("the object store refuses our credentials")
	// ErrInvalid is a request that can never succeed: a key that is too long,
	// a part that is too small.
	ErrInvalid = errors.New("not possible in the object store")
	// ErrUnavailable is a store that can't be reached, is read-only or does not
	// answer in time. Another try may succeed.
	ErrUnavailable = errors.New("the object store is not available")
)

const (
	// MaxKey is the length of the longest key, in bytes of UTF-8.
	MaxKey = 1024
	// MinPart is the size of the smallest part but the last.
	MinPart = 5 << 20
	// MaxParts is how many parts an object may have, numbered from 1.
	MaxParts = 10_000
	// MaxPage is how many objects a Page lists at most.
	MaxPage = 1000
)

// Info is what is known of an object.
type Info struct {
	Key string
	// ETag tells one version from another, without quotes: the MD5 of an object
	// put in one piece, else MD5-OF-MD5S "-" PARTS.
	ETag     string
	Size     int64
	Modified time.Time // as the store says; a listing may say it more exactly than Head
	// The rest is what Put was given. Listings leave it out.
	ContentType string
	Meta        map[string]string // names in lower case, without "x-amz-meta-"
}

// Options are given with an object. CheckOptions says what Meta may be.
type Options struct {
	ContentType string // empty: DefaultType
	Meta        map[string]string
}

// Condition has a Put succeed only if it holds when the object is written.
// It is atomic: of several writers with one condition one wins.
type Condition struct {
	Absent bool   // there must be no object of that key
	ETag   string // there must be one with this ETag; empty: never mind
}

// Page is a part of a listing.
type Page struct {
	Objects []Info // in the order of their keys' bytes
	// Next is what After must be for the next page; empty: there is none.
	Next string
}

// Part is one part of an upload.
type Part struct {
	Number int
	ETag   string // the MD5 of its bytes, in hexadecimal digits
	Size   int64
}

// Store holds objects. All methods may be called concurrently. They end when
// their context does, and soon after; each attempt against a server has a
// deadline of its own besides, so that a server that hangs holds nobody up.
type Store interface {
	// Put writes an object of size bytes. It is there when Put returns, whole and
	// durable; until then nothing is to be seen of it, nor after an error, but
	// that after ErrUnavailable or a context's error it may be there. A body that
	// is shorter or longer than size is ErrInvalid and writes nothing; one that
	// fails writes nothing either, and its error is returned, wrapped. Nobody reads
	// a body after Put has returned, so one whose Read blocks holds Put up.
	Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o Options, c Condition) (Info, error)
	// Head tells what is known of an object.
	Head(ctx context.Context, bucket, key string) (Info, error)
	// Get reads length bytes from off on; length < 0 reads to the end. If etag is
	// not empty and the object has another one, it returns ErrChanged. A range
	// that begins beyond the end is ErrInvalid; one that begins at the end is
	// empty; one that ends beyond it is cut short. The body breaks off with an
	// error of this package's, or ctx's, rather than end early.
	Get(ctx context.Context, bucket, key string, off, length int64, etag string) (io.ReadCloser, Info, error)
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, bucket, key string) error
	// List lists the objects whose key begins with prefix and is greater than
	// after, at most limit (1 to MaxPage).
	List(ctx context.Context, bucket, prefix, after string, limit int) (Page, error)

	// Begin starts an object that comes in parts, and names the upload.
	Begin(ctx context.Context, bucket, key string, o Options) (upload string, err error)
	// PutPart writes a part, over an earlier one of its number if need be.
	PutPart(ctx context.Context, bucket, key, upload string, number int, body io.Reader, size int64) (Part, error)
	// Parts lists the parts that are there, by number.
	Parts(ctx context.Context, bucket, key, upload string) ([]Part, error)
	// Complete makes the object of parts 1 to len(parts), which must be the ones
	// that are there, or it is ErrInvalid. A second Complete of
	// an upload returns ErrNotFound: Head tells what became of it.
	Complete(ctx context.Context, bucket, key, upload string, parts []Part) (Info, error)
	// Abort gives an upload up. One that is not there is no error.
	Abort(ctx context.Context, bucket, key, upload string) error

	// MakeBucket makes a bucket unless it is there.
	MakeBucket(ctx context.Context, bucket string) error
	// Ready reports whether bucket can be read now.
	Ready(ctx context.Context, bucket string) error
}

// CheckKey reports a key that no store takes: empty or nothing but spaces, too
// long, not UTF-8 text.
func CheckKey(key string) error {
	switch {
	case strings.TrimSpace(key) == "":
		return fmt.Errorf("%w: a key is empty", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: a key of %d bytes, at most %d", ErrInvalid, len(key), MaxKey)
	}
	for _, r := range key {
		if r == '\uFFFD' || r < ' ' || r == 0x7f {
			return fmt.Errorf("%w: a key with bytes that are no text", ErrInvalid)
		}
	}
	return nil
}
