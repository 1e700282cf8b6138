package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/cache/archive"
)

// span is a range of a file that was asked for.
type span struct {
	entry    int
	from, to int64
}

// folder is a source in memory that remembers what it was asked for.
type folder struct {
	entries []archive.Entry
	bodies  []string

	mu    sync.Mutex
	opens []span
	sums  []int
	open  int
}

func (f *folder) Open(_ context.Context, entry int, from, to int64) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens = append(f.opens, span{entry, from, to})
	f.open++
	body := f.bodies[entry]
	if from >= to || to > f.entries[entry].Size {
		return nil, fmt.Errorf("bytes %d to %d of entry %d", from, to, entry)
	}
	// What a changed file has: fewer bytes, or more behind the range.
	n := int64(len(body))
	end := min(to, n)
	if to == f.entries[entry].Size {
		end = n
	}
	return closer{strings.NewReader(body[min(from, n):end]), f}, nil
}

func (f *folder) CRC32(_ context.Context, entry int) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sums = append(f.sums, entry)
	return crc32.ChecksumIEEE([]byte(f.bodies[entry])), nil
}

// asked returns and forgets what was asked for, and says if a body is open still.
func (f *folder) asked(t *testing.T) (opens []span, sums []int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	opens, sums, f.opens, f.sums = f.opens, f.sums, nil, nil
	if f.open != 0 {
		t.Errorf("%d files are still open", f.open)
	}
	return opens, sums
}

type closer struct {
	io.Reader
	of *folder
}

func (c closer) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.open--
	return nil
}

var when = time.Date(2026, 11, 20, 8, 15, 31, 0, time.UTC)

// text is n bytes that are nowhere the same for long.
func text(seed string, n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b)
	return string(b)
}

// of makes a folder: names and, for files, bodies.
func of(named ...string) *folder {
	f := &folder{}
	for i := 0; i < len(named); i += 2 {
		name, body := named[i], named[i+1]
		f.entries = append(f.entries, archive.Entry{
			Name: name, Size: int64(len(body)), Modified: when, Version: fmt.Sprintf(`"%x"`, len(body)),
		})
		f.bodies = append(f.bodies, body)
	}
	return f
}

// lesson is a folder with what a folder may have.
func lesson() *folder {
	return of(
		"Volcans/", "",
		"Volcans/schéma.svg", text("lava", 200_000),
		"Volcans/À lire.txt", "Bonjour\n",
		"Volcans/vide.txt", "",
		"Volcans/Élèves/", "",
		"plan.odt", text("plan", 65_535),
		"b/carte.png", text("carte", 2*65_535+1),
	)
}

func mustNew(tb testing.TB, entries []archive.Entry) *archive.Layout {
	tb.Helper()
	l, err := archive.New(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// piece is what Copy writes.
func piece(tb testing.TB, l *archive.Layout, from, to int64, src archive.Source) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := l.Copy(tb.Context(), &b, from, to, src); err != nil {
		tb.Fatalf("bytes %d to %d: %v", from, to, err)
	}
	return b.Bytes()
}

func whole(tb testing.TB, l *archive.Layout, src archive.Source) []byte {
	tb.Helper()
	return piece(tb, l, 0, l.Len(), src)
}

// reader reads an archive where it is asked to, as those do who begin at its end.
type reader struct {
	ctx context.Context
	l   *archive.Layout
	src archive.Source
}

func (r reader) ReadAt(p []byte, off int64) (int, error) {
	end := min(off+int64(len(p)), r.l.Len())
	b := bytes.NewBuffer(p[:0])
	if off < end {
		if err := r.l.Copy(r.ctx, b, off, end, r.src); err != nil {
			return 0, err
		}
	}
	if b.Len() < len(p) {
		return b.Len(), io.EOF
	}
	return b.Len(), nil
}

// entries makes files of one byte.
func entries(names ...string) []archive.Entry {
	var all []archive.Entry
	for _, n := range names {
		all = append(all, archive.Entry{Name: n, Modified: when, Version: `"1"`})
		if !strings.HasSuffix(n, "/") {
			all[len(all)-1].Size = 1
		}
	}
	return all
}

// namesOf are the names in the archive, as the entries were given.
func namesOf(l *archive.Layout, n int) []string {
	var all []string
	for i := range n {
		all = append(all, l.Name(i))
	}
	return slices.Clip(all)
}
