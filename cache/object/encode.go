package object

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
)

// Keys of the KV, by their first byte. Encodings are for ever.
const (
	prefixSet      = 'k' // + Key → sealed CBOR list of objects
	prefixManifest = 'm' // + ID + page number (4, big endian) → sealed page
	prefixOwner    = 's' // + segment (4, big endian) + ID → Key
	prefixListed   = 'l' // + site + NUL + path → Key
	prefixPin      = 'p' // + Key → sealed varint of the bytes it reserves
	prefixProof    = 'v' // + ID → sealed proof
)

// pageBlocks is how many digests lie in one page of a manifest, so that a fill
// of many GB rewrites 8 KiB when it records its progress and not all of it.
const pageBlocks = 256

// headPage holds length, digest and pieces.
const headPage = 0xffffffff

var errDamaged = errors.New("record is damaged")

// encMode writes deterministic CBOR with times that keep their nanoseconds.
var encMode = func() cbor.EncMode {
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339NanoUTC
	m, err := opts.EncMode()
	if err != nil {
		panic(err) //nolint:forbidigo // a constant is wrong
	}
	return m
}()

var decMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxArrayElements: 4096, MaxMapPairs: 4096}.DecMode()
	if err != nil {
		panic(err) //nolint:forbidigo // a constant is wrong
	}
	return m
}()

func setKey(k Key) []byte { return append([]byte{prefixSet}, k[:]...) }

func pageKey(id ID, page uint32) []byte {
	b := append([]byte{prefixManifest}, id[:]...)
	return binary.BigEndian.AppendUint32(b, page)
}

func ownerPrefix(s block.Segment) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixOwner}, uint32(s))
}

func ownerKey(s block.Segment, id ID) []byte { return append(ownerPrefix(s), id[:]...) }

func listedPrefix(site string) []byte { return append(append([]byte{prefixListed}, site...), 0) }

func listedKey(site, path string) []byte { return append(listedPrefix(site), path...) }

// seal adds a checksum over key and value: a record that was flipped, torn or
// put under another key is recognised.
func seal(key, value []byte) []byte {
	h := xxhash.New()
	_, _ = h.Write(key)   // never fails
	_, _ = h.Write(value) // never fails
	return binary.BigEndian.AppendUint64(value, h.Sum64())
}

func unseal(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 8 {
		return nil, errDamaged
	}
	value := sealed[:len(sealed)-8]
	h := xxhash.New()
	_, _ = h.Write(key)   // never fails
	_, _ = h.Write(value) // never fails
	if h.Sum64() != binary.BigEndian.Uint64(sealed[len(value):]) {
		return nil, errDamaged
	}
	return value, nil
}

func encodeSet(k Key, set Set) ([]byte, error) {
	b, err := encMode.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	return seal(setKey(k), b), nil
}

func decodeSet(k Key, sealed []byte) (Set, error) {
	b, err := unseal(setKey(k), sealed)
	if err != nil {
		return nil, err
	}
	var set Set
	if err := decMode.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	for _, o := range set {
		if !o.sound() || o.Key != k {
			return nil, errDamaged
		}
	}
	return set, nil
}

// sound reports whether o can be what was once stored.
func (o *Object) sound() bool {
	return o != nil && o.Status >= 100 && o.Status <= 999 && o.Length >= block.UnknownLength && o.marksSound() == nil
}

// Record is what is written beside the blocks of a complete object, so that
// the objects can be found again from the body stores alone.
type Record struct {
	Object   *Object `cbor:"1,keyasint"`
	Manifest []byte  `cbor:"2,keyasint"`
}

// EncodeRecord encodes o and its manifest for the body store.
func EncodeRecord(o *Object, m block.Manifest) (key, value []byte, err error) {
	mb, err := m.MarshalBinary()
	if err != nil {
		return nil, nil, err
	}
	value, err = encMode.Marshal(Record{Object: o, Manifest: mb})
	if err != nil {
		return nil, nil, fmt.Errorf("encode record: %w", err)
	}
	return o.ID[:], seal(o.ID[:], value), nil
}

// DecodeRecord is the inverse of EncodeRecord.
func DecodeRecord(key, value []byte) (*Object, block.Manifest, error) {
	var m block.Manifest
	b, err := unseal(key, value)
	if err != nil {
		return nil, m, err
	}
	var r Record
	if err := decMode.Unmarshal(b, &r); err != nil {
		return nil, m, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if !r.Object.sound() || string(key) != string(r.Object.ID[:]) {
		return nil, m, errDamaged
	}
	return r.Object, m, m.UnmarshalBinary(r.Manifest)
}
