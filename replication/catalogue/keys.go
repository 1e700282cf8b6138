package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"time"

	"preau/replication/kv"
)

// The rows of the store, by the first byte of their keys.
//
//	'm'                                   meta
//	's' index(8) place(4)                 a record: the change index
//	'r' kind(1) id                        where it is: index(8) place(4) dead(1)
//	'x' kind(1) id 0 kind(1) id           the second names the first: inherits(1)
//	'p' key                               popularity: index(8) at(8) sum(8) of(8)
//	'n' box                               a record with a Contact
//	'c' number(8)                         a command that was carried out: id(16) Result
//
// Numbers are big-endian, so that keys sort by them. Only 'r', 'x', 'p' and
// 'n' are written to in the middle, so that a batch touches few pages of a
// tree.
const (
	rowMeta    = 'm'
	rowRecord  = 's'
	rowPlace   = 'r'
	rowRef     = 'x'
	rowPopular = 'p'
	rowContact = 'n'
	rowCommand = 'c'
)

// layout is the version of all this.
const layout = 1

// meta is what there is once. The row is a byte of layout and then the CBOR.
type meta struct {
	Version   uint8           `cbor:"1,keyasint"` // highest of any entry
	Index     uint64          `cbor:"2,keyasint"`
	Term      uint64          `cbor:"3,keyasint"`
	Floor     uint64          `cbor:"4,keyasint"`
	FloorTime time.Time       `cbor:"5,keyasint,omitzero"`
	Walked    uint64          `cbor:"6,keyasint"` // how far Prune has looked
	Faded     []byte          `cbor:"7,keyasint"` // where it stopped in popularity
	Commands  uint64          `cbor:"8,keyasint"` // carried out ever
	Counts    map[Kind]uint64 `cbor:"9,keyasint"` // living records
}

func (m meta) clone() meta {
	m.Counts = maps.Clone(m.Counts)
	if m.Counts == nil {
		m.Counts = map[Kind]uint64{}
	}
	return m
}

func (m meta) row() ([]byte, error) {
	p, err := encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode meta: %w", err)
	}
	return append([]byte{layout}, p...), nil
}

// parseMeta reads the row of a program that reads versions up to reads.
func parseMeta(row []byte, reads byte) (meta, error) {
	var m meta
	if len(row) == 0 {
		return m, fmt.Errorf("%w: its first row is empty", ErrDamaged)
	}
	if row[0] > layout {
		return m, fmt.Errorf("its layout is version %d, this program knows up to %d; upgrade this server: %w", row[0], layout, ErrNewer)
	}
	if row[0] != layout {
		return m, fmt.Errorf("%w: it has layout %d, which there never was", ErrDamaged, row[0])
	}
	if err := decode(row[1:], &m); err != nil {
		return m, fmt.Errorf("%w: its first row: %w", ErrDamaged, err)
	}
	if m.Version > reads {
		return m, fmt.Errorf("it holds entries of version %d, this program reads up to %d; upgrade this server: %w", m.Version, reads, ErrNewer)
	}
	return m.clone(), nil
}

func readMeta(r kv.Reader, reads byte) (meta, error) {
	row, err := r.Get([]byte{rowMeta})
	if err == nil {
		return parseMeta(row, reads)
	}
	if !errors.Is(err, kv.ErrNotFound) {
		return meta{}, err
	}
	empty := true
	if err := r.Scan(nil, nil, func(_, _ []byte) bool { empty = false; return false }); err != nil {
		return meta{}, err
	}
	if !empty {
		return meta{}, fmt.Errorf("%w: the store has rows, but no first one; is it another program's?", ErrDamaged)
	}
	return meta{}.clone(), nil
}

// place is where in the change index a record stands.
type place struct {
	index uint64
	nth   uint32 // within the entry
}

func (p place) key() string {
	var k [13]byte
	k[0] = rowRecord
	binary.BigEndian.PutUint64(k[1:], p.index)
	binary.BigEndian.PutUint32(k[9:], p.nth)
	return string(k[:])
}

func (p place) row(dead bool) []byte {
	k := append([]byte(p.key()[1:]), 0)
	if dead {
		k[12] = 1
	}
	return k
}

func parsePlace(row []byte) (p place, dead bool, err error) {
	if len(row) != 13 {
		return p, false, fmt.Errorf("%w: a record's place has %d bytes", ErrDamaged, len(row))
	}
	return place{binary.BigEndian.Uint64(row), binary.BigEndian.Uint32(row[8:])}, row[12] != 0, nil
}

func placeKey(k Kind, id string) string { return string([]byte{rowPlace, byte(k)}) + id }

// refOwner begins the keys of all that names the record; ids hold no zero byte.
func refOwner(k Kind, id string) string { return string([]byte{rowRef, byte(k)}) + id + "\x00" }

func refTail(k Kind, id string) string { return string([]byte{byte(k)}) + id }

func commandKey(number uint64) string {
	var k [9]byte
	k[0] = rowCommand
	binary.BigEndian.PutUint64(k[1:], number)
	return string(k[:])
}

// remembered notes the id of one row of commands.
func remembered(key, value []byte, into map[CommandID]uint64) error {
	if len(key) != 9 || len(value) < 16 {
		return fmt.Errorf("%w: a remembered command of %d and %d bytes", ErrDamaged, len(key), len(value))
	}
	into[CommandID(value[:16])] = binary.BigEndian.Uint64(key[1:])
	return nil
}
