package catalogue

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"

	"preau/replication/identity"
)

// What is read most often is read twice over by the library: once to decode
// it, and once to see that it is in its one form, by encoding it again. The
// quick readers do both in one pass over the bytes, for what they know.
//
// They decide nothing. What they take, the library would have taken, with the
// same value: tests and FuzzQuick hold them to that. What they don't take,
// because it is rare, strange or wrong, goes to the library, whose verdict
// counts. So a quick reader may be missing, and must never be lenient.

// quick reads CBOR in its one form (RFC 8949 §4.2.1) from the front. After the
// first thing that it does not take it is off, and what it returns means
// nothing.
type quick struct {
	p   []byte
	off bool
}

// The major types of CBOR.
const (
	majorUint  = 0 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5
	simpleTrue = 7<<5 | 21
)

// done says whether all was taken, to the end.
func (q *quick) done() bool { return !q.off && len(q.p) == 0 }

func (q *quick) fail() { q.off, q.p = true, nil }

// head is the argument of an item of a major type, in the shortest form.
func (q *quick) head(major byte) uint64 {
	if len(q.p) == 0 || q.p[0]&0xe0 != major {
		q.fail()
		return 0
	}
	switch info := q.p[0] & 0x1f; {
	case info < 24:
		q.p = q.p[1:]
		return uint64(info)
	case info == 24 && len(q.p) >= 2 && q.p[1] >= 24:
		n := uint64(q.p[1])
		q.p = q.p[2:]
		return n
	case info == 25 && len(q.p) >= 3:
		if n := binary.BigEndian.Uint16(q.p[1:]); n > math.MaxUint8 {
			q.p = q.p[3:]
			return uint64(n)
		}
	case info == 26 && len(q.p) >= 5:
		if n := binary.BigEndian.Uint32(q.p[1:]); n > math.MaxUint16 {
			q.p = q.p[5:]
			return uint64(n)
		}
	case info == 27 && len(q.p) >= 9:
		if n := binary.BigEndian.Uint64(q.p[1:]); n > math.MaxUint32 {
			q.p = q.p[9:]
			return n
		}
	}
	q.fail()
	return 0
}

// uint is a number up to most.
func (q *quick) uint(most uint64) uint64 {
	n := q.head(majorUint)
	if n > most {
		q.fail()
	}
	return n
}

// take is the bytes of a string, which still belong to the whole.
func (q *quick) take(major byte) []byte {
	n := q.head(major)
	if q.off || n > uint64(len(q.p)) {
		q.fail()
		return nil
	}
	p := q.p[:n:n]
	q.p = q.p[n:]
	return p
}

func (q *quick) text() string {
	p := q.take(majorText)
	if !utf8.Valid(p) {
		q.fail()
	}
	return string(p)
}

// some is a text that is not empty: an empty one is left out where it may be.
func (q *quick) some() string {
	s := q.text()
	if s == "" {
		q.fail()
	}
	return s
}

// blob is a copy of bytes, of which there must be some: the library knows two
// sorts of none.
func (q *quick) blob() []byte {
	p := q.take(majorBytes)
	if len(p) == 0 {
		q.fail()
		return nil
	}
	return append(make([]byte, 0, len(p)), p...)
}

// fixed fills all of p.
func (q *quick) fixed(p []byte) {
	if from := q.take(majorBytes); copy(p, from) != len(p) || len(from) != len(p) {
		q.fail()
	}
}

// yes is a true; a false is left out where it may be.
func (q *quick) yes() bool {
	if len(q.p) == 0 || q.p[0] != simpleTrue {
		q.fail()
		return false
	}
	q.p = q.p[1:]
	return true
}

// list is the length of an array of some things, each of at least one byte.
func (q *quick) list(most int) int {
	n := q.head(majorArray)
	if n == 0 || n > uint64(most) || n > uint64(len(q.p)) {
		q.fail()
		return 0
	}
	return int(n)
}

// schools is a list in order, each once.
func (q *quick) schools() []identity.School {
	list := make([]identity.School, q.list(MaxAudience))
	for i := range list {
		list[i] = identity.School(q.text())
		if i > 0 && list[i] <= list[i-1] {
			q.fail()
		}
	}
	return list
}

// time is a time in UTC, from 1970 on, to the millisecond at most.
func (q *quick) time() time.Time {
	p := q.take(majorText)
	if len(p) < len("2006-01-02T15:04:05Z") || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':' || p[len(p)-1] != 'Z' {
		q.fail()
		return time.Time{}
	}
	year, month, day := q.digits(p[:4]), q.digits(p[5:7]), q.digits(p[8:10])
	hour, minute, second := q.digits(p[11:13]), q.digits(p[14:16]), q.digits(p[17:19])
	nanos := 0
	if f := p[19 : len(p)-1]; len(f) > 0 {
		// Zeros at the end are left out, and so is a fraction of nothing else.
		if f[0] != '.' || len(f) < 2 || len(f) > 4 || f[len(f)-1] == '0' {
			q.fail()
			return time.Time{}
		}
		nanos = q.digits(f[1:])
		for range 10 - len(f) {
			nanos *= 10
		}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	// What does not exist, such as the 30th of February, becomes something else.
	if q.off || year < 1970 || month < 1 || month > 12 || t.Day() != day || hour > 23 || minute > 59 || second > 59 {
		q.fail()
		return time.Time{}
	}
	return t
}

func (q *quick) digits(p []byte) (n int) {
	for _, c := range p {
		if c < '0' || c > '9' {
			q.fail()
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// fields is a struct under way: a map whose keys are numbers in ascending
// order.
type fields struct {
	q    *quick
	left uint64
}

func (q *quick) fields() fields { return fields{q, q.head(majorMap)} }

// need takes the key of a field that is always there.
func (f *fields) need(key byte) {
	if !f.has(key) {
		f.q.fail()
	}
}

// has takes the key of a field that may be missing, if it is what comes next.
func (f *fields) has(key byte) bool {
	if f.left == 0 || len(f.q.p) == 0 || f.q.p[0] != key {
		return false
	}
	f.left--
	f.q.p = f.q.p[1:]
	return true
}

func (f *fields) end() {
	if f.left != 0 {
		f.q.fail()
	}
}
