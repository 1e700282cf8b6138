package feed

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"

	"preau/replication/catalogue"
)

// maxWindow bounds how far back compressed bytes refer, and with it what a box
// must keep in memory to read them.
const maxWindow = 1 << 20

// wireRecord is a record as boxes get it: who else may see it is nobody's
// business.
type wireRecord struct {
	Kind    catalogue.Kind `cbor:"1,keyasint"`
	ID      string         `cbor:"2,keyasint"`
	Index   uint64         `cbor:"3,keyasint"`
	At      int64          `cbor:"4,keyasint"` // ms since 1970
	Deleted bool           `cbor:"5,keyasint,omitempty"`
	Body    []byte         `cbor:"6,keyasint,omitempty"`
}

func (w *wireRecord) record() catalogue.Record {
	return catalogue.Record{
		Kind: w.Kind, ID: w.ID, Index: w.Index, At: time.UnixMilli(w.At).UTC(), Deleted: w.Deleted, Body: w.Body,
	}
}

// appendRecord appends r as deterministic CBOR (RFC 8949 §4.2.1) of wireRecord.
// It is written by hand because a million records go through it.
func appendRecord(dst []byte, r *catalogue.Record, gone bool) []byte {
	body := r.Body
	if gone {
		body = nil
	}
	pairs := byte(4)
	if gone {
		pairs++
	}
	if len(body) > 0 {
		pairs++
	}
	dst = append(dst, 0xa0|pairs, 0x01)
	dst = appendHead(dst, 0x00, uint64(r.Kind))
	dst = append(dst, 0x02)
	dst = appendHead(dst, 0x60, uint64(len(r.ID)))
	dst = append(dst, r.ID...)
	dst = append(dst, 0x03)
	dst = appendHead(dst, 0x00, r.Index)
	dst = append(dst, 0x04)
	if ms := r.At.UnixMilli(); ms < 0 {
		dst = appendHead(dst, 0x20, uint64(-1-ms))
	} else {
		dst = appendHead(dst, 0x00, uint64(ms))
	}
	if gone {
		dst = append(dst, 0x05, 0xf5)
	}
	if len(body) > 0 {
		dst = append(dst, 0x06)
		dst = appendHead(dst, 0x40, uint64(len(body)))
		dst = append(dst, body...)
	}
	return dst
}

// appendHead appends the shortest head of a major type with an argument.
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major|24, byte(n))
	case n <= math.MaxUint16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return append(dst, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// raw is a record with the bytes it was read from.
type raw struct {
	wireRecord
	bytes []byte
}

// decodeRecords reads a payload's records. Their bytes point into expanded.
func decodeRecords(expanded []byte, count int, after, upto uint64) ([]raw, error) {
	dec, err := decMode()
	if err != nil {
		return nil, fmt.Errorf("feed decoding: %w", err)
	}
	out := make([]raw, 0, min(count, 1024))
	for len(expanded) > 0 {
		if len(out) == count {
			return nil, fmt.Errorf("%w: more than the %d records announced", ErrRefused, count)
		}
		var r raw
		rest, err := dec.UnmarshalFirst(expanded, &r.wireRecord)
		if err != nil {
			return nil, fmt.Errorf("%w: record %d of a batch: %w", ErrRefused, len(out), err)
		}
		r.bytes = expanded[:len(expanded)-len(rest)]
		switch {
		case r.Kind == 0 || r.Kind.Private():
			return nil, fmt.Errorf("%w: a record of kind %d", ErrRefused, r.Kind)
		case r.ID == "" && r.Kind != catalogue.KindPolicy, len(r.ID) > catalogue.MaxIDBytes, len(r.Body) > 2*catalogue.MaxRecordBytes:
			return nil, fmt.Errorf("%w: a record with an id of %d and a body of %d bytes", ErrRefused, len(r.ID), len(r.Body))
		case r.Index <= after || r.Index > upto:
			return nil, fmt.Errorf("%w: a record of index %d in a batch from %d to %d", ErrRefused, r.Index, after, upto)
		}
		out = append(out, r)
		expanded = rest
	}
	if len(out) != count {
		return nil, fmt.Errorf("%w: %d records of %d announced", ErrRefused, len(out), count)
	}
	return out, nil
}

func newEncoder() (*compressor, error) {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("feed compression: %w", err)
	}
	return &compressor{Encoder: e}, nil
}

func newDecoder() (*zstd.Decoder, error) {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxExpanded), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("feed decompression: %w", err)
	}
	return d, nil
}

// weight is about how much memory a kept record takes.
func weight(r *catalogue.Record) int {
	n := 160 + len(r.ID) + len(r.Body)
	return n + 24*(len(r.Audience)+len(r.Former))
}
