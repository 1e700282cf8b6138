package catalogue

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"
)

// appendHead begins an item of a major type.
func appendHead(p []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(p, major|byte(n))
	case n <= math.MaxUint8:
		return append(p, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(p, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(p, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(p, major|27), n)
}

func appendText[T ~string](p []byte, s T) []byte {
	return append(appendHead(p, majorText, uint64(len(s))), s...)
}

func appendBytes(p, b []byte) []byte {
	return append(appendHead(p, majorBytes, uint64(len(b))), b...)
}

// appendTo writes what encode writes.
func (r Result) appendTo(p []byte) []byte {
	set := 1 + count(r.Code != "") + count(r.Detail != "") + count(r.School != "") + count(r.Role != "")
	p = appendHead(p, majorMap, uint64(set))
	p = appendHead(append(p, 1), majorUint, r.Index)
	if r.Code != "" {
		p = appendText(append(p, 2), r.Code)
	}
	if r.Detail != "" {
		p = appendText(append(p, 3), r.Detail)
	}
	if r.School != "" {
		p = appendText(append(p, 4), r.School)
	}
	if r.Role != "" {
		p = appendText(append(p, 5), r.Role)
	}
	return p
}

// quickEncode writes what encode writes of a command of puts that has no fault,
// behind the byte of its version. It leaves others to encode.
func quickEncode(c Command) ([]byte, bool) {
	size := 64 + len(c.By)
	for _, op := range c.Ops {
		if op.Put == nil || len(op.Put.Body) == 0 || !utf8.ValidString(op.Put.ID) {
			return nil, false
		}
		size += 40 + len(op.Put.ID) + len(op.Put.Body)
	}
	p := append(make([]byte, 0, size), 1)
	p = appendHead(p, majorMap, 4)
	p = appendBytes(append(p, 1), c.ID[:])
	var at [len(time.RFC3339Nano)]byte
	p = appendText(append(p, 2), string(c.At.UTC().AppendFormat(at[:0], time.RFC3339Nano)))
	p = appendText(append(p, 3), c.By)
	p = appendHead(append(p, 4), majorArray, uint64(len(c.Ops)))
	for _, op := range c.Ops {
		p = op.Put.appendTo(append(p, majorMap|1, 1))
	}
	return p, true
}

func (v *Put) appendTo(p []byte) []byte {
	p = appendHead(p, majorMap, uint64(3+count(v.If != nil)))
	p = appendHead(append(p, 1), majorUint, uint64(v.Kind))
	p = appendText(append(p, 2), v.ID)
	p = appendBytes(append(p, 3), v.Body)
	if v.If != nil {
		p = appendHead(append(p, 4), majorUint, *v.If)
	}
	return p
}
