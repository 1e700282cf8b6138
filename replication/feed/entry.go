package feed

import (
	"encoding/binary"
	"fmt"
	"slices"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
)

// entry is a record as a Copy keeps it.
type entry struct {
	wireRecord
	generation uint64
	seq        Seq
	bytes      []byte // of wireRecord
}

func regionOf(s string) identity.Region { return identity.Region(s) }

func clone(b []byte) []byte { return slices.Clone(b) }

// recordName is the key of a record.
func recordName(kind catalogue.Kind, id string) []byte {
	return append([]byte{keyRecord, byte(kind)}, id...)
}

func seqKey(prefix byte, s Seq) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, uint64(s))
}

func encodeEntry(generation uint64, seq Seq, record []byte) []byte {
	b := make([]byte, 0, entryHead+len(record))
	b = binary.BigEndian.AppendUint64(b, generation)
	b = binary.BigEndian.AppendUint64(b, uint64(seq))
	return append(b, record...)
}

func decodeEntry(b []byte) (*entry, error) {
	if len(b) < entryHead {
		return nil, fmt.Errorf("%w: a record of %d bytes in the copy of the catalogue", kv.ErrDamaged, len(b))
	}
	e := &entry{
		generation: binary.BigEndian.Uint64(b), seq: Seq(binary.BigEndian.Uint64(b[8:])), bytes: b[entryHead:],
	}
	if err := unmarshal(e.bytes, &e.wireRecord); err != nil {
		return nil, fmt.Errorf("%w: a record in the copy of the catalogue: %w", kv.ErrDamaged, err)
	}
	return e, nil
}

func (c *Copy) entry(name []byte) (*entry, error) {
	b, err := c.store.Get(name)
	if err != nil {
		return nil, err
	}
	return decodeEntry(b)
}

// scan reads entries; name is fn's during the call only.
func (c *Copy) scan(prefix, after []byte, fn func(name []byte, e *entry) (more bool, err error)) error {
	var failed error
	err := c.store.Scan(prefix, after, func(key, value []byte) bool {
		e, err := decodeEntry(value)
		more := false
		if err == nil {
			more, err = fn(key, e)
		}
		failed = err
		return more && err == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("read the copy of the catalogue: %w", err)
	}
	return nil
}
