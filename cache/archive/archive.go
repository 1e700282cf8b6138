// Package archive lays out a folder's files as a zip file that is the same,
// byte for byte, on every box that knows the same listing.
//
// A Layout is made of names, sizes, times and versions alone. Its length and
// its ETag are known before any file is read, and each range of it can be
// written by reading just the files that the range touches, so that a zip file
// can be served like any other file: with a length, a validator, ranges and
// downloads that go on where they broke.
//
// What stands in the archive but not in a listing are the files' checksums.
// Copy computes those of the files that it writes whole, keeps them with the
// Layout, and asks its Source for the others. It compares as well: a file that
// is longer, shorter or other than it was ends in an error before its last
// byte, never in a wrong zip file.
//
// Files are not compressed (what schools share is compressed already), and yet
// are entries of the method "deflate", cut into blocks that deflate calls
// stored (RFC 1951 section 3.2.4). The plainer method "stored" would not do:
// a checksum that is known only after the data stands in a data descriptor
// behind it, and readers that take an archive as it comes can't tell where
// stored data ends; Java's ZipInputStream, which is also Android's, and the
// streaming readers of Apache Commons and SharpZipLib refuse such an entry.
// Deflated data says itself where it ends. The price is 5 bytes in 65,540. To
// ask for all checksums before the first byte would be the other way, and the
// class would wait until the last file of the folder had come over the
// school's line.
//
// Zip64 is used only where the numbers need it, for an entry and for the end
// of the archive. The records are those of PKWARE's APPNOTE.TXT 6.3.10; the
// comments give its sections.
//
// The package opens nothing and knows no HTTP.
package archive

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// MaxEntries is how many entries a Layout may have.
const MaxEntries = 100_000

// maxTotal bounds the sum of all sizes, so that no offset overflows.
const maxTotal = 1 << 56

// format is part of each ETag: it changes with the bytes that this package makes
// of the same entries.
const format = "preau zip 1"

// ErrChanged reports that a file is not what the listing said, or what it was
// before. The Layout is of no more use: make a new one from a new listing.
var ErrChanged = errors.New("a file is not the one that was listed")

// Entry is a file or a folder.
type Entry struct {
	// Name is its path in the archive, in UTF-8, with slashes; that of a folder
	// ends in one. Name says under which name it stands in the archive in the
	// end.
	Name string
	// Size is the file's length in bytes, 0 for a folder.
	Size int64
	// Modified is kept to the second. The zero time is none.
	Modified time.Time
	// Version changes when the file's bytes do: its entity tag, as it came. A
	// file of which none is known, or a weak one, makes the archive's weak.
	Version string
}

// Layout says which byte of an archive is what. It may be used by any number of
// goroutines.
type Layout struct {
	files     []file // in the archive's order
	given     []int  // for each entry that New was given its place in files
	directory int64  // where the central directory begins
	end       int64  // where it ends
	size      int64
	etag      string
	sums      []atomic.Uint64 // as files; see sums.go
}

// file is an entry with its place.
type file struct {
	name     string // in the archive
	given    int    // its number among the entries that New was given
	size     int64
	modified time.Time
	offset   int64 // of its local header
	record   int64 // of its record in the central directory
}

// New lays out entries in the order of their names' bytes. It refuses names that
// no file can have or that lead out of the folder into which the archive is
// unpacked, and the same name twice; see Name for those that it changes. Its
// errors, and those of Copy, tell entries by their numbers and never by names.
func New(entries []Entry) (*Layout, error) {
	if len(entries) > MaxEntries {
		return nil, fmt.Errorf("an archive of %d entries: there may be %d", len(entries), MaxEntries)
	}
	order, bytes := make([]int, len(entries)), 0
	for i := range order {
		order[i] = i
		if bytes += len(entries[i].Name); bytes > maxNames {
			return nil, fmt.Errorf("an archive with more than %d bytes of names", maxNames)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(entries[a].Name, entries[b].Name) })

	l := &Layout{
		files: make([]file, len(entries)),
		given: make([]int, len(entries)),
		sums:  make([]atomic.Uint64, len(entries)),
	}
	names := newNames()
	var total int64
	for i, n := range order {
		e := entries[n]
		name, err := names.add(e.Name)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
		switch folder := strings.HasSuffix(name, "/"); {
		case e.Size < 0:
			return nil, fmt.Errorf("entry %d: a size of %d: list it with its size", n, e.Size)
		case folder && e.Size > 0:
			return nil, fmt.Errorf("entry %d: a folder with a size of %d: it must be 0", n, e.Size)
		case e.Size > maxTotal-total:
			return nil, fmt.Errorf("an archive of more than %d bytes", int64(maxTotal))
		}
		total += e.Size
		l.files[i] = file{name: name, given: n, size: e.Size, modified: e.Modified}
		l.given[n] = i
	}
	l.place()
	l.etag = etag(l.files, entries)
	return l, nil
}

// place gives each record its offset.
func (l *Layout) place() {
	var at int64
	for i := range l.files {
		f := &l.files[i]
		f.offset = at
		at += f.localLen() + f.packed() + f.descriptorLen()
	}
	l.directory = at
	for i := range l.files {
		f := &l.files[i]
		f.record = at
		at += f.recordLen()
	}
	l.end = at
	l.size = at + l.tailLen()
}

// Len is the archive's length.
func (l *Layout) Len() int64 { return l.size }

// ETag is the archive's entity tag. It is strong (RFC 9110 section 8.8.1) if the
// versions of all files are: the archive's bytes follow from what it is made of.
func (l *Layout) ETag() string { return l.etag }

// Name returns the name under which an entry stands in the archive; entry is its
// number among those that New was given. It is the given one except where that
// would not unpack everywhere: a file name with one of the characters that
// Windows does not allow (a colon, a question mark, …) has an underscore in its
// place, so has the last character if it is a dot or a space, a device's name
// (aux.txt) an underscore before it, and of names that differ in letter case
// only all but the first get a number: "notes (2).txt".
func (l *Layout) Name(entry int) string { return l.files[l.given[entry]].name }

// etag is a digest over all that the archive's bytes follow from.
func etag(files []file, entries []Entry) string {
	h := sha256.New()
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(format)
	weak := ""
	for i := range files {
		f, version := &files[i], entries[files[i].given].Version
		if f.size > 0 && (version == "" || strings.HasPrefix(version, "W/")) {
			weak = "W/"
		}
		text(f.name)
		b = binary.AppendVarint(b, f.size)
		b = binary.AppendVarint(b, f.modified.Unix())
		text(version)
		h.Write(b)
		b = b[:0]
	}
	return weak + `"` + base64.RawURLEncoding.EncodeToString(h.Sum(b)[:24]) + `"`
}
