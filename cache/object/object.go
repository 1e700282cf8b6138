// Package object keeps what the cache knows of each stored response: its key,
// status, fields, times, variants and the manifest of its body. It is the
// truth about what is held; bodies lie in a block.Store and are found through
// the manifests kept here.
//
// Keys are keyed hashes: a URL that is itself a secret (a share token, a pad's
// name) can't be read from the store. The package decides nothing about HTTP
// (rfc9111 and profile do) and nothing about room (evict does); it carries out
// the policy's verdicts when a body store is retired.
//
// Metrics: preau_object_stored, preau_object_lookups_total{result},
// preau_object_removed_total{cause}, preau_object_damaged_total.
package object

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"sync"
	"time"

	"preau/cache/block"
)

// ErrNotFound reports that nothing is stored under a key.
var ErrNotFound = errors.New("object not found")

// ErrTooLarge reports an object whose fields take more than MaxRecord bytes.
var ErrTooLarge = errors.New("the response's fields are too large to keep")

// MaxRecord bounds the stored size of one object without its manifest.
const MaxRecord = 64 << 10

// MaxVariants bounds how many variants (RFC 9111 §4.1) one key may have; the
// oldest make room.
const MaxVariants = 32

// Key names what a request asks for: the keyed hash of the site and the
// target URI as the site's profile wants it.
type Key [32]byte

// String returns the key in hexadecimal.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Hash is the key as the eviction policy knows it.
func (k Key) Hash() uint64 { return binary.BigEndian.Uint64(k[:8]) }

// Keyer makes keys that can't be turned back into URLs without its secret. Its
// method may be called concurrently.
type Keyer struct{ macs *sync.Pool }

// mac is what it takes to make a key. Every request needs one, and to make it
// anew costs more than to use it.
type mac struct {
	hash.Hash
	buf []byte
}

// NewKeyer makes a Keyer; secret is the box's own and at least 16 bytes.
func NewKeyer(secret []byte) (Keyer, error) {
	if len(secret) < 16 {
		return Keyer{}, errors.New("key secret is shorter than 16 bytes")
	}
	secret = append([]byte(nil), secret...)
	return Keyer{&sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }}}, nil
}

// Key returns the key of parts, which are kept apart from one another.
func (k Keyer) Key(parts ...string) Key {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.Reset()
	m.buf = m.buf[:0]
	for _, p := range parts {
		m.buf = binary.BigEndian.AppendUint64(m.buf, uint64(len(p)))
		m.buf = append(m.buf, p...)
	}
	m.Write(m.buf)
	return Key(m.Sum(m.buf[:0]))
}

// ID names one version of one variant; it is never used again.
type ID [16]byte

// NewID returns a fresh ID.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// Object is one stored response. It is a value: once given to the Store it is
// not changed, a change is a new Object with the same ID.
type Object struct {
	ID           ID          `cbor:"1,keyasint"`
	Key          Key         `cbor:"2,keyasint"`
	Site         string      `cbor:"3,keyasint"`
	Status       int         `cbor:"4,keyasint"`
	Header       http.Header `cbor:"5,keyasint"`
	RequestTime  time.Time   `cbor:"6,keyasint"`
	ResponseTime time.Time   `cbor:"7,keyasint"`
	VaryNames    []string    `cbor:"8,keyasint,omitempty"`
	VaryKey      string      `cbor:"9,keyasint,omitempty"`
	Length       int64       `cbor:"10,keyasint"` // of the body, or block.UnknownLength
	Ring         block.Ring  `cbor:"11,keyasint"`
	Complete     bool        `cbor:"12,keyasint"`
	Ranges       bool        `cbor:"13,keyasint"`           // the authority can be asked for the rest of this version
	Lists        string      `cbor:"14,keyasint,omitempty"` // path under which people may see it listed
	Inline       []byte      `cbor:"15,keyasint,omitempty"` // the manifest, where it is short
	Doubt        Doubt       `cbor:"16,keyasint,omitempty"`
	// Fragment: a part whose version can't be named to the authority, so that
	// nothing may be joined to it (RFC 9111 §3.4). It answers for ranges that lie
	// within it and for nothing else.
	Fragment bool `cbor:"17,keyasint,omitempty"`
	// Marks are those of the response, one after the other, and MarkKey says
	// with which key they were made. Records of earlier versions have none.
	Marks   []byte    `cbor:"18,keyasint,omitempty"`
	MarkKey MarkKeyID `cbor:"19,keyasint,omitempty"`
	// Proven is the ResponseTime, in Unix seconds, at which the object was when its
	// proof was kept; 0: there is none.
	Proven int64 `cbor:"20,keyasint,omitempty"`
}

// Doubt says whether an object may be used as its fields say.
type Doubt uint8

// The doubts.
const (
	NoDoubt Doubt = iota
	// Restored: it was found again after the metadata was lost, so an
	// invalidation may have been forgotten. To be validated if that is possible.
	Restored
	// Invalidated: its authority said that it changed (RFC 9111 §4.4). Not to be
	// used before it is validated.
	Invalidated
)

// Size is what the object counts for in the policy, in bytes.
func (o *Object) Size() int64 {
	if o.Length >= 0 {
		return o.Length
	}
	return block.UnknownLength
}

// manifest returns the inline manifest.
func (o *Object) manifest() (m block.Manifest, ok bool) {
	if len(o.Inline) == 0 {
		return m, false
	}
	return m, m.UnmarshalBinary(o.Inline) == nil
}

// Set is all stored variants of one key, newest first.
type Set []*Object

// ByID finds an object of the set.
func (s Set) ByID(id ID) *Object {
	for _, o := range s {
		if o.ID == id {
			return o
		}
	}
	return nil
}
