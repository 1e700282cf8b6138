package history

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
)

// version opens everything that is kept. Encodings are for ever: a new shape
// takes a new number and the old ones stay readable.
const version = 1

const (
	// MaxBatch is how many changes a batch has at most.
	MaxBatch = 1000
	// MaxBatchBytes is how many bytes the changes of a batch sign together; the
	// first one is always let in.
	MaxBatchBytes = 1 << 20

	maxPlain    = 4 << 20 // of a batch, unpacked
	maxPacked   = maxPlain + 1<<10
	maxRoot     = 32 << 20
	maxPages    = 1 << 17
	maxPageRows = 200_000
	maxPage     = 256 << 20
	maxETag     = 256
	maxReason   = 1 << 10
)

func encode(v any) ([]byte, error) { return central.Encode(v) }

func decode(p []byte, v any) error {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 8, MaxArrayElements: maxPages, MaxMapPairs: 64,
	}.DecMode()
	if err != nil {
		return err
	}
	return mode.Unmarshal(p, v)
}

type epoch struct {
	Version int    `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint"`
	Key     []byte `cbor:"3,keyasint"` // whose signatures are in the log
}

func isEpoch(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "0123456789abcdef") == ""
}

func decodeEpoch(p []byte) (epoch, error) {
	var e epoch
	err := decode(p, &e)
	if err == nil && (e.Version != version || !isEpoch(e.ID)) {
		err = fmt.Errorf("version %d, want %d, or no name", e.Version, version)
	}
	if err != nil {
		return epoch{}, fmt.Errorf("%w: epoch: %w", ErrDamaged, err)
	}
	return e, nil
}

type batch struct {
	Version int      `cbor:"1,keyasint"`
	First   uint64   `cbor:"2,keyasint"`
	Records []record `cbor:"3,keyasint"`
	// Next is set in the last batch of a log, which has no records.
	Next *next `cbor:"4,keyasint,omitempty"`
}

type record struct {
	Deleted   bool   `cbor:"1,keyasint,omitempty"`
	Signed    []byte `cbor:"2,keyasint"`
	Signature []byte `cbor:"3,keyasint"`
	Place     uint64 `cbor:"4,keyasint"`
	Meta      uint64 `cbor:"5,keyasint,omitempty"`
	Held      *Held  `cbor:"6,keyasint,omitempty"`
}

// EncodeBatch writes records, the first of which has the number first, as an
// object of the log.
func EncodeBatch(first uint64, records []Record) ([]byte, error) {
	b := batch{Version: version, First: first, Records: make([]record, len(records))}
	for i, r := range records {
		b.Records[i] = record{
			Deleted: r.Change.Deleted, Signed: r.Change.Signed, Signature: r.Change.Signature, Place: r.Place, Meta: r.Meta, Held: r.Held,
		}
	}
	return b.pack()
}

// encodeEnd writes the end of a log, at number first.
func encodeEnd(first uint64, n next) ([]byte, error) {
	return batch{Version: version, First: first, Records: []record{}, Next: &n}.pack()
}

func (b batch) pack() ([]byte, error) {
	p, err := encode(b)
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	if len(p) > maxPlain {
		return nil, fmt.Errorf("encode batch: %d bytes, at most %d", len(p), maxPlain)
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	out := w.EncodeAll(p, nil)
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	return out, nil
}

// DecodeBatch reads what EncodeBatch wrote, and refuses all else.
func DecodeBatch(p []byte) (first uint64, records []Record, err error) {
	first, records, end, err := decodeBatch(p)
	if err == nil && end != nil {
		err = errors.New("it is the end of a log")
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%w: batch: %w", ErrDamaged, err)
	}
	return first, records, nil
}

// decodeBatch reads a batch, or with end set the end of a log.
func decodeBatch(p []byte) (first uint64, records []Record, end *next, err error) {
	b, err := unpackBatch(p)
	if err != nil {
		return 0, nil, nil, err
	}
	if b.Next != nil {
		return b.First, nil, b.Next, nil
	}
	records = make([]Record, len(b.Records))
	for i, r := range b.Records {
		records[i] = Record{
			Change: central.Change{Seq: b.First + uint64(i), Deleted: r.Deleted, Signed: r.Signed, Signature: r.Signature},
			Place:  r.Place, Meta: r.Meta, Held: r.Held,
		}
		if err := records[i].check(); err != nil {
			return 0, nil, nil, fmt.Errorf("change %d: %w", i, err)
		}
	}
	return b.First, records, nil, nil
}

func unpackBatch(p []byte) (batch, error) {
	if len(p) > maxPacked {
		return batch{}, fmt.Errorf("%d bytes, at most %d", len(p), maxPacked)
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderLowmem(true))
	if err != nil {
		return batch{}, err
	}
	defer r.Close()
	plain, err := r.DecodeAll(p, nil)
	if err != nil {
		return batch{}, err
	}
	var b batch
	if err := decode(plain, &b); err != nil {
		return batch{}, err
	}
	switch {
	case b.Version != version:
		return batch{}, fmt.Errorf("version %d, want %d", b.Version, version)
	case len(b.Records) > MaxBatch || (len(b.Records) == 0) == (b.Next == nil):
		return batch{}, fmt.Errorf("%d changes, want 1 to %d, or its end", len(b.Records), MaxBatch)
	case b.Next != nil && !b.Next.valid():
		return batch{}, errors.New("its end names no other log")
	case b.First == 0 || b.First > math.MaxInt64:
		return batch{}, fmt.Errorf("its first number is %d", b.First)
	}
	if again, err := encode(b); err != nil || !bytes.Equal(again, plain) {
		return batch{}, errors.New("not in its one form")
	}
	return b, nil
}

func (r Record) check() error {
	h := r.Held
	switch {
	case len(r.Change.Signature) > 64:
		return fmt.Errorf("a signature of %d bytes", len(r.Change.Signature))
	case r.Place == 0:
		return errors.New("it has no place")
	case h != nil && (!r.Change.Deleted || len(h.ETag) > maxETag || len(h.Reason) > maxReason || h.Size < 0):
		return errors.New("it can't be held back")
	}
	return nil
}

// Check reports a record that a history of bucket could not be read with.
func (r Record) Check(bucket string) error {
	if err := r.check(); err != nil {
		return err
	}
	_, _, err := rowOf(bucket, r)
	return err
}

type root struct {
	Version int       `cbor:"1,keyasint"`
	Epoch   string    `cbor:"2,keyasint"`
	Applied uint64    `cbor:"3,keyasint"` // the table is what the log comes to after this change
	Pages   []pageRef `cbor:"4,keyasint,omitempty"`
}

// pageRef is a page: it has the rows from First on, up to the next page's.
type pageRef struct {
	First  string       `cbor:"1,keyasint"`
	Name   string       `cbor:"2,keyasint"`
	Digest block.Digest `cbor:"3,keyasint"`
	Rows   int          `cbor:"4,keyasint"`
}

func decodeRoot(p []byte) (root, error) {
	var r root
	err := decode(p, &r)
	switch {
	case err != nil:
	case r.Version != version:
		err = fmt.Errorf("version %d, want %d", r.Version, version)
	case r.Applied > math.MaxInt64:
		err = errors.New("it is ahead of everything")
	}
	for i, ref := range r.Pages {
		switch {
		case err != nil:
		case i > 0 && r.Pages[i-1].First >= ref.First:
			err = fmt.Errorf("page %d is out of order", i)
		case ref.Rows < 1 || ref.Rows > maxPageRows:
			err = fmt.Errorf("page %d has %d rows", i, ref.Rows)
		case ref.Name == "" || len(ref.Name) > 64 || strings.Trim(ref.Name, "0123456789abcdef") != "":
			err = fmt.Errorf("page %d has no name", i)
		}
	}
	if err != nil {
		return root{}, fmt.Errorf("%w: root of the table: %w", ErrDamaged, err)
	}
	return r, nil
}

const pageMark = "preau table 1\n"

// What stands in the flags of a row.
const (
	flagHeld = 1 << iota
	flagMD5  // the ETag is that of an object put in one piece
)

// encodePage writes rows, which are in the order of their keys.
func encodePage(rows []Named) []byte {
	b := make([]byte, 0, len(pageMark)+8+len(rows)*112)
	b = append(b, pageMark...)
	b = binary.AppendUvarint(b, uint64(len(rows)))
	prev := ""
	for _, r := range rows {
		shared := 0
		for shared < min(len(prev), len(r.Key)) && prev[shared] == r.Key[shared] {
			shared++
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(r.Key)-shared))
		b = append(b, r.Key[shared:]...)
		prev = r.Key

		md5, isMD5 := parseMD5(r.ETag)
		var flags byte
		if r.Held {
			flags |= flagHeld
		}
		if isMD5 {
			flags |= flagMD5
		}
		b = append(b, flags)
		if isMD5 {
			b = append(b, md5[:]...)
		} else {
			b = binary.AppendUvarint(b, uint64(len(r.ETag)))
			b = append(b, r.ETag...)
		}
		b = binary.AppendUvarint(b, uint64(r.Size))
		b = binary.AppendVarint(b, r.Modified)
		b = binary.AppendUvarint(b, r.Seq)
		b = binary.BigEndian.AppendUint64(b, r.Meta)
		b = binary.BigEndian.AppendUint64(b, r.Place)
		if !r.Held && r.Size > 0 {
			b = append(b, r.List[:]...)
		}
	}
	return b
}

func parseMD5(etag string) (sum [16]byte, ok bool) {
	if len(etag) != 32 || etag != strings.ToLower(etag) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(etag))
	return sum, err == nil
}

// decodePage reads what encodePage wrote.
func decodePage(p []byte) ([]Named, error) {
	c := cut{p: p}
	if string(c.take(len(pageMark))) != pageMark {
		return nil, fmt.Errorf("%w: page of the table: it does not open as one", ErrDamaged)
	}
	n := c.number()
	if n > maxPageRows || n > uint64(len(c.p))/20 { // a row has at least that many bytes
		return nil, fmt.Errorf("%w: page of the table: %d rows in %d bytes", ErrDamaged, n, len(c.p))
	}
	rows := make([]Named, 0, n)
	var key []byte
	for range n {
		shared, rest := c.number(), c.number()
		if shared > uint64(len(key)) || rest > store.MaxKey {
			c.bad = true
		}
		if c.bad {
			break
		}
		prev := string(key)
		key = append(key[:shared], c.take(int(rest))...)
		r := Named{Key: string(key)}
		c.bad = c.bad || r.Key <= prev || len(r.Key) > store.MaxKey
		flags := c.take(1)
		switch {
		case c.bad || flags[0] > flagHeld|flagMD5:
			c.bad = true
		case flags[0]&flagMD5 != 0:
			r.ETag = hex.EncodeToString(c.take(16))
		default:
			r.ETag = string(c.take(int(min(c.number(), maxETag+1))))
			c.bad = c.bad || len(r.ETag) > maxETag
		}
		size := c.number()
		r.Modified = c.signed()
		r.Seq = c.number()
		r.Meta, r.Place = c.word(), c.word()
		if c.bad || size > math.MaxInt64 || r.Seq == 0 || r.Seq > math.MaxInt64 {
			c.bad = true
			break
		}
		r.Size, r.Held = int64(size), flags[0]&flagHeld != 0
		if !r.Held && r.Size > 0 {
			copy(r.List[:], c.take(len(r.List)))
			c.bad = c.bad || r.List.IsZero()
		}
		rows = append(rows, r)
	}
	if c.bad || len(c.p) > 0 {
		return nil, fmt.Errorf("%w: page of the table, after %d rows", ErrDamaged, len(rows))
	}
	return rows, nil
}

// cut takes pieces off p, and remembers if there was too little.
type cut struct {
	p   []byte
	bad bool
}

func (c *cut) take(n int) []byte {
	if c.bad || n > len(c.p) {
		c.bad = true
		return nil
	}
	out := c.p[:n]
	c.p = c.p[n:]
	return out
}

func (c *cut) number() uint64 {
	v, n := binary.Uvarint(c.p)
	if c.bad || n <= 0 {
		c.bad = true
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *cut) signed() int64 {
	v, n := binary.Varint(c.p)
	if c.bad || n <= 0 {
		c.bad = true
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *cut) word() uint64 {
	p := c.take(8)
	if c.bad {
		return 0
	}
	return binary.BigEndian.Uint64(p)
}
