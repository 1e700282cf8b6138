package catalogue

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"preau/replication/identity"
)

// A row with a record is read far more often than anything else, by every
// follower, so it is not CBOR:
//
//	flags(1) kind(1) index(8) at(8, milliseconds since 1970)
//	length of id, id, number of audience, number of former (all uvarint)
//	{ length(1) school } of both, body to the end
const (
	flagDeleted   = 1
	flagAllFormer = 2
)

func (r *Record) row() []byte {
	p := make([]byte, 0, 24+len(r.ID)+10*(len(r.Audience)+len(r.Former))+len(r.Body))
	p = append(p, byte(count(r.Deleted))*flagDeleted|byte(count(r.AllFormer))*flagAllFormer, byte(r.Kind))
	p = binary.BigEndian.AppendUint64(p, r.Index)
	p = binary.BigEndian.AppendUint64(p, uint64(r.At.UnixMilli()))
	p = binary.AppendUvarint(p, uint64(len(r.ID)))
	p = append(p, r.ID...)
	p = binary.AppendUvarint(p, uint64(len(r.Audience)))
	p = binary.AppendUvarint(p, uint64(len(r.Former)))
	for _, list := range [][]identity.School{r.Audience, r.Former} {
		for _, s := range list {
			p = append(p, byte(len(s)))
			p = append(p, s...)
		}
	}
	return append(p, r.Body...)
}

// parseRecord reads a row, of which it keeps nothing.
func parseRecord(row []byte) (Record, error) {
	var r Record
	damaged := func() (Record, error) {
		return Record{}, fmt.Errorf("%w: a record's row can't be read", ErrDamaged)
	}
	if len(row) < 21 || row[0] > flagDeleted|flagAllFormer {
		return damaged()
	}
	r.Deleted, r.AllFormer = row[0]&flagDeleted != 0, row[0]&flagAllFormer != 0
	r.Kind = Kind(row[1])
	r.Index = binary.BigEndian.Uint64(row[2:])
	r.At = time.UnixMilli(int64(binary.BigEndian.Uint64(row[10:]))).UTC()
	at := 18
	number := func(most uint64) (int, bool) {
		n, size := binary.Uvarint(row[at:])
		if size <= 0 || n > most {
			return 0, false
		}
		at += size
		return int(n), true
	}
	id, ok := number(MaxIDBytes)
	if !ok || id > len(row)-at {
		return damaged()
	}
	from := at
	at += id
	audience, ok1 := number(MaxAudience)
	former, ok2 := number(MaxAudience)
	if !ok1 || !ok2 {
		return damaged()
	}
	end := at
	for range audience + former {
		if end >= len(row) || int(row[end]) > len(row)-end-1 {
			return damaged()
		}
		end += 1 + int(row[end])
	}
	words := string(row[from:end]) // one copy, of which the id and the schools are parts
	r.ID = words[:id]
	words = words[at-from:]
	take := func(n int) []identity.School {
		if n == 0 {
			return nil
		}
		list := make([]identity.School, n)
		for i := range list {
			l := int(words[0])
			list[i], words = identity.School(words[1:1+l]), words[1+l:]
		}
		return list
	}
	r.Audience, r.Former = take(audience), take(former)
	if end < len(row) {
		r.Body = slices.Clone(row[end:])
	}
	return r, nil
}
