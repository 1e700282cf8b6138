package archive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"preau/cache/archive"
)

func TestEachRangeIsAPieceOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := of()
		sizes := rapid.SliceOfN(rapid.OneOf(
			rapid.IntRange(0, 40),
			rapid.SampledFrom([]int{65_534, 65_535, 65_536, 131_069, 131_070, 131_071}),
		), 0, 4).Draw(t, "sizes")
		for i, n := range sizes {
			name := rapid.SampledFrom([]string{"a", "é", "dossier/b"}).Draw(t, "name") + string(rune('0'+i))
			f.entries = append(f.entries, archive.Entry{Name: name, Size: int64(n), Modified: when, Version: name})
			f.bodies = append(f.bodies, text(name, n))
		}
		l, err := archive.New(f.entries)
		if err != nil {
			t.Fatal(err)
		}
		copied := func(from, to int64) []byte {
			var b bytes.Buffer
			if err := l.Copy(context.Background(), &b, from, to, f); err != nil {
				t.Fatalf("bytes %d to %d: %v", from, to, err)
			}
			return b.Bytes()
		}
		// Ranges before anything is known, then the whole, then ranges again.
		type part struct {
			from, to int64
			b        []byte
		}
		var parts []part
		for range rapid.IntRange(1, 6).Draw(t, "ranges") {
			from := rapid.Int64Range(0, l.Len()).Draw(t, "from")
			to := rapid.Int64Range(from, min(l.Len(), from+rapid.SampledFrom([]int64{1, 20, 70_000, l.Len()}).Draw(t, "most"))).Draw(t, "to")
			parts = append(parts, part{from, to, copied(from, to)})
		}
		whole := copied(0, l.Len())
		if int64(len(whole)) != l.Len() {
			t.Fatalf("%d bytes, Len says %d", len(whole), l.Len())
		}
		for _, p := range parts {
			if want := whole[p.from:p.to]; !bytes.Equal(p.b, want) || !bytes.Equal(copied(p.from, p.to), want) {
				t.Fatalf("bytes %d to %d are not those of the whole", p.from, p.to)
			}
		}
	})
}

func TestEachByteAloneIsAPieceOfTheWhole(t *testing.T) {
	f := of("a/", "", "a/b", "hello", "c", text("c", 300), "é", "")
	l := mustNew(t, f.entries)
	all := whole(t, mustNew(t, f.entries), f)
	for i := range l.Len() {
		if got := piece(t, l, i, i+1, f); !bytes.Equal(got, all[i:i+1]) {
			t.Fatalf("byte %d is %x, want %x", i, got, all[i:i+1])
		}
		if got := piece(t, l, i, i, f); len(got) != 0 {
			t.Fatalf("no bytes at %d are %x", i, got)
		}
	}
}

func TestARangeOpensOnlyTheFilesThatItTouches(t *testing.T) {
	f := of("a", text("a", 100_000), "b", text("b", 100_000), "c", text("c", 100_000))
	all := whole(t, mustNew(t, f.entries), f)
	begin := func(name string) int64 { return int64(bytes.Index(all, []byte(text(name, 16)))) }
	directory := int64(bytes.Index(all, []byte("PK\x01\x02")))
	f.asked(t)
	size := mustNew(t, f.entries).Len()
	tests := map[string]struct {
		from, to int64
		opens    []span
		sums     []int
	}{
		"nothing":                  {from: 5, to: 5},
		"a header":                 {from: 0, to: 30},
		"ten bytes of a file":      {from: begin("b") + 10, to: begin("b") + 20, opens: []span{{1, 10, 20}}},
		"over a block's end":       {from: begin("b") + 65_530, to: begin("b") + 65_545, opens: []span{{1, 65_530, 65_540}}},
		"between two blocks":       {from: begin("b") + 65_535, to: begin("b") + 65_540},
		"a file without its end":   {from: begin("b"), to: begin("b") + 100_005, opens: []span{{1, 0, 100_000}}},
		"a file":                   {from: begin("b"), to: begin("b") + 100_005 + 16, opens: []span{{1, 0, 100_000}}},
		"the end of one":           {from: begin("b") + 100_000, to: begin("b") + 100_005 + 16, opens: []span{{1, 99_995, 100_000}}, sums: []int{1}},
		"the rest from the second": {from: begin("b") + 15, to: size, opens: []span{{1, 15, 100_000}, {2, 0, 100_000}}, sums: []int{1, 0}},
		"the directory":            {from: directory, to: size, sums: []int{0, 1, 2}},
		"one record of it":         {from: directory + 60, to: directory + 61, sums: []int{1}},
		"the end":                  {from: size - 22, to: size},
		"all":                      {from: 0, to: size, opens: []span{{0, 0, 100_000}, {1, 0, 100_000}, {2, 0, 100_000}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := mustNew(t, f.entries)
			if !bytes.Equal(piece(t, l, tt.from, tt.to, f), all[tt.from:tt.to]) {
				t.Error("it is not what the whole has there")
			}
			opens, sums := f.asked(t)
			if !slices.Equal(opens, tt.opens) || !slices.Equal(sums, tt.sums) {
				t.Errorf("opened %v and asked the checksums of %v, want %v and %v", opens, sums, tt.opens, tt.sums)
			}
			piece(t, l, 0, size, f)
			f.asked(t)
			piece(t, l, directory, size, f)
			if opens, sums := f.asked(t); len(opens)+len(sums) > 0 {
				t.Errorf("with all checksums known, opened %v and asked for those of %v", opens, sums)
			}
		})
	}
}

func TestARangeThatIsNoneIsRefused(t *testing.T) {
	f := lesson()
	l := mustNew(t, f.entries)
	for _, r := range [][2]int64{{-1, 2}, {2, 1}, {0, l.Len() + 1}, {l.Len() + 1, l.Len() + 1}} {
		if err := l.Copy(t.Context(), io.Discard, r[0], r[1], f); err == nil {
			t.Errorf("bytes %d to %d are taken", r[0], r[1])
		}
	}
}

func TestAFileThatChangedBreaksTheArchive(t *testing.T) {
	changes := map[string]func(body string) string{
		"shorter":                 func(b string) string { return b[:len(b)-1] },
		"empty":                   func(string) string { return "" },
		"longer":                  func(b string) string { return b + "x" },
		"twice":                   func(b string) string { return b + b },
		"other bytes":             func(b string) string { return "x" + b[1:] },
		"another byte at the end": func(b string) string { return b[:len(b)-1] + "x" },
	}
	for name, change := range changes {
		for _, size := range []int{1, 10, 65_535, 65_536, 200_000} {
			f := of("secret", text("a", size), "t", "t")
			l := mustNew(t, f.entries)
			all := whole(t, l, f) // so that the checksum is known
			f.bodies[0] = change(f.bodies[0])
			end := int64(45 + (size+65_534)/65_535*5 + size) // of the data
			var got bytes.Buffer
			err := l.Copy(t.Context(), &got, 0, end, f)
			if !errors.Is(err, archive.ErrChanged) {
				t.Errorf("a file of %d bytes, now %s: %v", size, name, err)
			}
			if int64(got.Len()) >= end {
				t.Errorf("a file of %d bytes, now %s: it was written to its end", size, name)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the file's name: %v", err)
			}
			// Of other bytes the first may be gone before it is known that they are.
			if name != "other bytes" && !bytes.HasPrefix(all, got.Bytes()) {
				t.Errorf("a file of %d bytes, now %s: what was written is not the archive's", size, name)
			}
			f.asked(t)
		}
	}
}

func TestAFileThatChangedIsNotTakenAfterwardsEither(t *testing.T) {
	f := of("a", "first", "b", "b")
	l := mustNew(t, f.entries)
	whole(t, l, f)
	f.bodies[0] = "other"
	for range 2 {
		if err := l.Copy(t.Context(), io.Discard, 0, l.Len(), f); !errors.Is(err, archive.ErrChanged) {
			t.Errorf("the other bytes: %v", err)
		}
	}
	f.bodies[0] = "first"
	if err := l.Copy(t.Context(), io.Discard, l.Len()-150, l.Len(), f); !errors.Is(err, archive.ErrChanged) {
		t.Errorf("the directory: %v", err)
	}
	if whole(t, mustNew(t, f.entries), f) == nil {
		t.Error("nothing from a new listing")
	}
}

// broken is a source that fails.
type broken struct {
	*folder
	open, read, sum error
}

func (b broken) Open(ctx context.Context, entry int, from, to int64) (io.ReadCloser, error) {
	if b.open != nil {
		return nil, b.open
	}
	r, err := b.folder.Open(ctx, entry, from, to)
	if err == nil && b.read != nil {
		return closer{io.MultiReader(io.LimitReader(r, (to-from)/2), iotest.ErrReader(b.read)), b.folder}, nil
	}
	return r, err
}

func (b broken) CRC32(ctx context.Context, entry int) (uint32, error) {
	if b.sum != nil {
		return 0, b.sum
	}
	return b.folder.CRC32(ctx, entry)
}

func TestWhatFailsIsToldAndNotTakenForAChange(t *testing.T) {
	wrong := errors.New("the line is down")
	for name, b := range map[string]broken{
		"open":                 {open: wrong},
		"read":                 {read: wrong},
		"read, as a short one": {read: io.ErrUnexpectedEOF},
		"checksum":             {sum: wrong},
	} {
		b.folder = of("a", text("a", 1000))
		l := mustNew(t, b.entries)
		from := int64(1)
		if b.sum != nil {
			from = 50 // so that it is asked for
		}
		err := l.Copy(t.Context(), io.Discard, from, l.Len(), b)
		want := errors.Join(b.open, b.read, b.sum)
		if err == nil || errors.Is(err, archive.ErrChanged) || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%s: %v", name, err)
		}
		b.asked(t)
		if !bytes.Equal(whole(t, l, b.folder), whole(t, mustNew(t, b.entries), b.folder)) {
			t.Errorf("%s: it is not well again", name)
		}
	}
}

func TestReadersAsTheyComeAreTaken(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"a byte at a time":      iotest.OneByteReader,
		"the end with the data": iotest.DataErrReader,
	} {
		f := lesson()
		l := mustNew(t, f.entries)
		if !bytes.Equal(whole(t, l, wrapped{f, wrap}), whole(t, l, f)) {
			t.Errorf("%s: another archive", name)
		}
		f.asked(t)
	}
}

type wrapped struct {
	*folder
	wrap func(io.Reader) io.Reader
}

func (w wrapped) Open(ctx context.Context, entry int, from, to int64) (io.ReadCloser, error) {
	r, err := w.folder.Open(ctx, entry, from, to)
	if err != nil {
		return nil, err
	}
	return closer{w.wrap(r), w.folder}, nil
}

func TestACopyEndsWithItsContextAndItsWriter(t *testing.T) {
	f := of("a", text("a", 1_000_000))
	l := mustNew(t, f.entries)
	ctx, stop := context.WithCancelCause(t.Context())
	gone := errors.New("the pupil closed the tablet")
	w := writer(func(p []byte) (int, error) {
		if len(p) > 1000 {
			stop(gone)
		}
		return len(p), nil
	})
	if err := l.Copy(ctx, w, 0, l.Len(), f); !errors.Is(err, gone) {
		t.Errorf("after its context: %v", err)
	}
	w = func([]byte) (int, error) { return 0, gone }
	if err := l.Copy(t.Context(), w, 0, l.Len(), f); !errors.Is(err, gone) {
		t.Errorf("with a writer that fails: %v", err)
	}
	f.asked(t)
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAClassMayDownloadAtOnce(t *testing.T) {
	f := lesson()
	l := mustNew(t, f.entries)
	all := whole(t, mustNew(t, f.entries), f)
	done := make(chan bool)
	for i := range 16 {
		go func() {
			from := int64(i) * l.Len() / 32
			var b bytes.Buffer
			err := l.Copy(t.Context(), &b, from, l.Len(), f)
			done <- err == nil && bytes.Equal(b.Bytes(), all[from:])
		}()
	}
	for range 16 {
		if !<-done {
			t.Error("one of them has another archive")
		}
	}
	f.asked(t)
}
