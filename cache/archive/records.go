package archive

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
)

// Lengths of the records without what varies (APPNOTE 4.3.7, 4.3.9, 4.3.12,
// 4.3.14 to 4.3.16).
const (
	localLen        = 30
	descriptorLen   = 16
	descriptor64Len = 24
	recordLen       = 46
	end64Len        = 56
	locatorLen      = 20
	endLen          = 22
)

const (
	// blockData is how much a stored block of deflate holds, blockHead what
	// stands before it (RFC 1951 section 3.2.4).
	blockData = 65535
	blockHead = 5
	block     = blockHead + blockData
)

const (
	methodStored  = 0
	methodDeflate = 8

	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11

	// madeBy is Unix (3), whose permissions the external attributes are, and the
	// version of the specification that has names in UTF-8.
	madeBy        = 3<<8 | 63
	versionPlain  = 20
	versionZip64  = 45
	attrFile      = 0o100644 << 16
	attrFolder    = 0o040755<<16 | 1<<4 // and the DOS bit for folders
	extraZip64    = 0x0001
	extraTime     = 0x5455 // "UT"
	extraTimeLen  = 9
	max16         = math.MaxUint16
	max32         = math.MaxUint32
	local64Extra  = 4 + 16
	unixTimeKnown = 1 // of the three times of "UT": that of modification
)

// large reports whether the sizes need Zip64.
func (f *file) large() bool { return f.packed() >= max32 }

// far reports whether the offset needs it.
func (f *file) far() bool { return f.offset >= max32 }

// packed is how long the data is in the archive.
func (f *file) packed() int64 {
	return f.size + (f.size+blockData-1)/blockData*blockHead
}

// timed reports whether there is a time that "UT" can hold, whether a reader
// takes its field for signed or not.
func (f *file) timed() bool {
	s := f.modified.Unix()
	return s >= 0 && s <= math.MaxInt32
}

func (f *file) timeLen() int64 {
	if f.timed() {
		return extraTimeLen
	}
	return 0
}

func (f *file) localLen() int64 {
	n := localLen + int64(len(f.name)) + f.timeLen()
	if f.large() {
		n += local64Extra
	}
	return n
}

func (f *file) descriptorLen() int64 {
	switch {
	case f.size == 0:
		return 0
	case f.large():
		return descriptor64Len
	}
	return descriptorLen
}

func (f *file) recordLen() int64 {
	n := recordLen + int64(len(f.name)) + f.timeLen()
	if k := f.record64Len(); k > 0 {
		n += 4 + k
	}
	return n
}

// record64Len is how long the Zip64 fields of the central record are.
func (f *file) record64Len() int64 {
	var n int64
	if f.large() {
		n = 16
	}
	if f.far() {
		n += 8
	}
	return n
}

// common appends what is the same in both headers, from the version needed to
// the date.
func (f *file) common(b []byte) []byte {
	version, flags, method := uint16(versionPlain), uint16(0), uint16(methodStored)
	if f.large() || f.far() {
		version = versionZip64
	}
	if f.size > 0 {
		flags, method = flagDescriptor, methodDeflate
	}
	if strings.ContainsFunc(f.name, func(r rune) bool { return r >= 0x80 }) {
		flags |= flagUTF8 // 4.4.4; ASCII is read alike with and without it
	}
	day, clock := dos(f.modified)
	b = le16(b, version)
	b = le16(b, flags)
	b = le16(b, method)
	b = le16(b, clock)
	return le16(b, day)
}

// local appends the header before the data. Where a descriptor follows, its sizes
// and the checksum are zero (4.4.4); where Zip64 is needed it says so all the
// same, for else nobody knew how long the descriptor's fields are (4.3.9.2).
func (f *file) local(b []byte) []byte {
	b = append(b, "PK\x03\x04"...)
	b = f.common(b)
	b = le32(b, 0)
	if f.large() {
		b = le32(b, max32)
		b = le32(b, max32)
	} else {
		b = le32(b, 0)
		b = le32(b, 0)
	}
	b = le16(b, uint16(len(f.name))) //nolint:gosec // at most maxName and a few folders' numbers
	b = le16(b, uint16(f.localLen()-localLen-int64(len(f.name))))
	b = append(b, f.name...)
	if f.large() {
		b = le16(b, extraZip64)
		b = le16(b, 16)
		b = le64(b, 0)
		b = le64(b, 0)
	}
	return f.time(b)
}

// descriptor appends what follows the data (4.3.9).
func (f *file) descriptor(b []byte, sum uint32) []byte {
	b = append(b, "PK\x07\x08"...)
	b = le32(b, int64(sum))
	if f.large() {
		b = le64(b, f.packed())
		return le64(b, f.size)
	}
	b = le32(b, f.packed())
	return le32(b, f.size)
}

// central appends the record in the central directory (4.3.12).
func (f *file) central(b []byte, sum uint32) []byte {
	b = append(b, "PK\x01\x02"...)
	b = le16(b, madeBy)
	b = f.common(b)
	b = le32(b, int64(sum))
	if f.large() {
		b = le32(b, max32)
		b = le32(b, max32)
	} else {
		b = le32(b, f.packed())
		b = le32(b, f.size)
	}
	b = le16(b, uint16(len(f.name))) //nolint:gosec // as in local
	b = le16(b, uint16(f.recordLen()-recordLen-int64(len(f.name))))
	b = le16(b, 0) // comment
	b = le16(b, 0) // disk
	b = le16(b, 0) // internal attributes
	if f.folder() {
		b = le32(b, attrFolder)
	} else {
		b = le32(b, attrFile)
	}
	b = le32(b, min(f.offset, max32))
	b = append(b, f.name...)
	if n := f.record64Len(); n > 0 {
		// Only what does not fit above, in this order (4.5.3).
		b = le16(b, extraZip64)
		b = le16(b, uint16(n))
		if f.large() {
			b = le64(b, f.size)
			b = le64(b, f.packed())
		}
		if f.far() {
			b = le64(b, f.offset)
		}
	}
	return f.time(b)
}

// time appends the time of modification in UTC, which the DOS fields don't say
// and have in steps of two seconds.
func (f *file) time(b []byte) []byte {
	if !f.timed() {
		return b
	}
	b = le16(b, extraTime)
	b = le16(b, extraTimeLen-4)
	b = append(b, unixTimeKnown)
	return le32(b, f.modified.Unix())
}

func (f *file) folder() bool { return strings.HasSuffix(f.name, "/") }

// zip64 reports whether the end needs Zip64.
func (l *Layout) zip64() bool {
	return len(l.files) >= max16 || l.directory >= max32 || l.end-l.directory >= max32
}

func (l *Layout) tailLen() int64 {
	if l.zip64() {
		return end64Len + locatorLen + endLen
	}
	return endLen
}

// tail appends the end of the central directory (4.3.14 to 4.3.16).
func (l *Layout) tail(b []byte) []byte {
	entries, length := int64(len(l.files)), l.end-l.directory
	if l.zip64() {
		b = append(b, "PK\x06\x06"...)
		b = le64(b, end64Len-12) // what follows
		b = le16(b, madeBy)
		b = le16(b, versionZip64)
		b = le32(b, 0) // disk
		b = le32(b, 0)
		b = le64(b, entries)
		b = le64(b, entries)
		b = le64(b, length)
		b = le64(b, l.directory)

		b = append(b, "PK\x06\x07"...)
		b = le32(b, 0)
		b = le64(b, l.end)
		b = le32(b, 1) // disks
	}
	b = append(b, "PK\x05\x06"...)
	b = le16(b, 0) // disk
	b = le16(b, 0)
	b = le16(b, uint16(min(entries, max16)))
	b = le16(b, uint16(min(entries, max16)))
	b = le32(b, min(length, max32))
	b = le32(b, min(l.directory, max32))
	return le16(b, 0) // comment
}

// dos returns a time as DOS has it, in UTC: which zone a reader takes it to be in
// it does not say, and the archive must be the same everywhere.
func dos(t time.Time) (day, clock uint16) {
	t = t.UTC()
	switch y := t.Year(); {
	case t.IsZero() || y < 1980:
		return 1<<5 | 1, 0
	case y > 2107:
		return 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29
	}
	day = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())         //nolint:gosec // as checked
	return day, uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2) //nolint:gosec // small
}

func le16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }

// le32 takes what its callers have bounded, or seconds of a signed field.
func le32(b []byte, v int64) []byte { return binary.LittleEndian.AppendUint32(b, uint32(v)) } //nolint:gosec // see above

func le64(b []byte, v int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(v)) } //nolint:gosec // never negative
