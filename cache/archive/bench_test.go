package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"preau/cache/archive"
)

// shelf is a source of the same bytes for all files, at no cost.
type shelf struct{ body []byte }

func (s shelf) Open(_ context.Context, _ int, from, to int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.body[from:to])), nil
}

func (shelf) CRC32(context.Context, int) (uint32, error) { return 1, nil }

// BenchmarkCopy writes an archive of 16 files of 4 MiB.
func BenchmarkCopy(b *testing.B) {
	src := shelf{make([]byte, 4<<20)}
	var e []archive.Entry
	for i := range 16 {
		e = append(e, archive.Entry{Name: fmt.Sprint(i), Size: int64(len(src.body)), Modified: when})
	}
	l := mustNew(b, e)
	b.SetBytes(l.Len())
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Copy(b.Context(), io.Discard, 0, l.Len(), src); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNew lays out a large folder: 2,000 files.
func BenchmarkNew(b *testing.B) {
	var e []archive.Entry
	for i := range 2000 {
		e = append(e, archive.Entry{Name: fmt.Sprintf("Géographie/Séance %d/Carte %d.pdf", i%40, i), Size: 1 << 20, Modified: when, Version: `"0123456789abcdef"`})
	}
	b.ReportAllocs()
	for b.Loop() {
		mustNew(b, e)
	}
}
