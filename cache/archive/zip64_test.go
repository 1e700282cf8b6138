package archive_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"strconv"
	"testing"

	"preau/cache/archive"
)

// sparse is a source of files of any size, of which only what is read is made:
// each byte says where it is.
type sparse struct{}

func (sparse) Open(_ context.Context, entry int, from, to int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(pattern(entry), from, to-from)), nil
}

// CRC32 returns a number that is none: nobody reads a large one to its end.
func (sparse) CRC32(_ context.Context, entry int) (uint32, error) {
	return 0xC0FFEE00 ^ uint32(entry), nil
}

type pattern int

func (p pattern) at(off int64, n int) []byte {
	b := make([]byte, n)
	_, _ = p.ReadAt(b, off)
	return b
}

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		n := off + int64(i)
		b[i] = byte(n ^ n>>8 ^ n>>32 ^ int64(p))
	}
	return len(b), nil
}

// unpackedAt reads the archive's byte that is a file's one at an offset.
func unpackedAt(t *testing.T, l *archive.Layout, f *zip.File, off int64) byte {
	t.Helper()
	begin, err := f.DataOffset()
	if err != nil {
		t.Fatal(err)
	}
	at := begin + off/65_535*65_540 + 5 + off%65_535
	return piece(t, l, at, at+1, sparse{})[0]
}

func open(t *testing.T, l *archive.Layout) *zip.Reader {
	t.Helper()
	r, err := zip.NewReader(reader{t.Context(), l, sparse{}}, l.Len())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFilesAndOffsetsBeyondFourGiBAreZip64(t *testing.T) {
	const huge = 5 << 30
	l := mustNew(t, []archive.Entry{
		{Name: "0 small", Size: 10, Modified: when},
		{Name: "1 huge", Size: huge, Modified: when},
		{Name: "2 after", Size: 100, Modified: when},
		{Name: "3 folder/", Modified: when},
	})
	r := open(t, l)
	if len(r.File) != 4 {
		t.Fatalf("%d entries", len(r.File))
	}
	for i, version := range []uint16{20, 45, 45, 45} {
		if got := r.File[i].ReaderVersion; got != version {
			t.Errorf("%q needs version %d, want %d", r.File[i].Name, got, version)
		}
	}
	if got := r.File[1].UncompressedSize64; got != huge {
		t.Errorf("the file has %d bytes, want %d", got, int64(huge))
	}
	for _, off := range []int64{0, 65_534, 65_535, 1 << 32, huge - 1} {
		if got, want := unpackedAt(t, l, r.File[1], off), pattern(1).at(off, 1)[0]; got != want {
			t.Errorf("its byte %d is %x, want %x", off, got, want)
		}
	}
	body, err := r.File[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, want := make([]byte, 200_000), pattern(1).at(0, 200_000)
	if _, err := io.ReadFull(body, got); err != nil || string(got) != string(want) {
		t.Errorf("its beginning is another: %v", err)
	}

	// The descriptors, which the central directory does not need and readers that
	// begin at the front do: with 8 bytes for a size only where the header said so.
	for i, wide := range []bool{false, true, false} {
		f := r.File[i]
		begin, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		end := begin + int64(f.CompressedSize64)
		d := piece(t, l, end, end+28, sparse{})
		size, packed, next := uint64(binary.LittleEndian.Uint32(d[12:])), uint64(binary.LittleEndian.Uint32(d[8:])), 16
		if wide {
			size, packed, next = binary.LittleEndian.Uint64(d[16:]), binary.LittleEndian.Uint64(d[8:]), 24
		}
		if string(d[:4]) != "PK\x07\x08" || binary.LittleEndian.Uint32(d[4:]) != f.CRC32 ||
			size != f.UncompressedSize64 || packed != f.CompressedSize64 || string(d[next:next+4]) != "PK\x03\x04" {
			t.Errorf("behind %q stands %x", f.Name, d)
		}
	}
}

func TestZip64IsUsedJustWhereItIsNeeded(t *testing.T) {
	// The largest file without, in 65,533 blocks.
	const heads = 65_533 * 5
	const most = math.MaxUint32 - 1 - heads
	for size, version := range map[int64]uint16{most: 20, most + 1: 45, math.MaxUint32 - 1: 45, math.MaxUint32: 45, math.MaxUint32 + 1: 45} {
		l := mustNew(t, []archive.Entry{{Name: "a", Size: size}})
		f := open(t, l).File[0]
		if f.ReaderVersion != version || f.UncompressedSize64 != uint64(size) {
			t.Errorf("a file of %d bytes has %d and needs version %d, want %d", size, f.UncompressedSize64, f.ReaderVersion, version)
		}
	}
	// An offset just below and at the bound: header, data and descriptor of the
	// first are 31, n and 16 bytes.
	for bound, version := range map[int64]uint16{math.MaxUint32 - 1: 20, math.MaxUint32: 45} {
		l := mustNew(t, []archive.Entry{{Name: "a", Size: bound - 31 - 16 - 65_532*5}, {Name: "b", Size: 1}})
		r := open(t, l)
		if off, err := r.File[1].DataOffset(); err != nil || off != bound+31 || r.File[1].ReaderVersion != version {
			t.Errorf("data at %d, %v, needs version %d; want %d and %d", off, err, r.File[1].ReaderVersion, bound+31, version)
		}
	}
}

func TestMoreEntriesThanTheEndCanCountAreZip64(t *testing.T) {
	var e []archive.Entry
	for i := range 65_535 {
		e = append(e, archive.Entry{Name: strconv.Itoa(10_000 + i)})
	}
	if l := mustNew(t, e[1:]); l.Len() != 22+65_534*(30+46+2*5) {
		t.Errorf("with one less the end is Zip64: %d bytes", l.Len())
	}
	l := mustNew(t, e)
	if l.Len() != 22+65_535*(30+46+2*5)+56+20 {
		t.Errorf("the end is no Zip64: %d bytes", l.Len())
	}
	r, err := zip.NewReader(bytes.NewReader(whole(t, l, sparse{})), l.Len())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.File); n != len(e) || r.File[n-1].Name != "75534" {
		t.Errorf("%d entries, want %d", n, len(e))
	}
}
