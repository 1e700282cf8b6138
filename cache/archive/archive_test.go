package archive_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/cache/archive"
)

func TestTheArchiveHoldsWhatTheFolderHolds(t *testing.T) {
	f := lesson()
	l := mustNew(t, f.entries)
	b := whole(t, l, f)
	if int64(len(b)) != l.Len() {
		t.Fatalf("%d bytes, Len says %d", len(b), l.Len())
	}
	r, err := zip.NewReader(bytes.NewReader(b), l.Len())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != len(f.entries) {
		t.Fatalf("%d entries, want %d", len(r.File), len(f.entries))
	}
	if !slices.IsSortedFunc(r.File, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the entries are not in order")
	}
	for i, e := range f.entries {
		n := slices.IndexFunc(r.File, func(f *zip.File) bool { return f.Name == e.Name })
		if n < 0 {
			t.Errorf("%q is missing", e.Name)
			continue
		}
		file := r.File[n]
		if !file.Modified.Equal(when) {
			t.Errorf("%q is of %v, want %v", e.Name, file.Modified, when)
		}
		want := fs.FileMode(0o644)
		if strings.HasSuffix(e.Name, "/") {
			want = fs.ModeDir | 0o755
		}
		if file.Mode() != want {
			t.Errorf("%q has mode %v, want %v", e.Name, file.Mode(), want)
		}
		if ascii := !strings.ContainsFunc(e.Name, func(r rune) bool { return r > 0x7f }); file.NonUTF8 || ascii != (file.Flags&0x800 == 0) {
			t.Errorf("%q has flags %x", e.Name, file.Flags)
		}
		if got := read(t, file); got != f.bodies[i] {
			t.Errorf("%q has %d bytes that are not the %d of the file", e.Name, len(got), len(f.bodies[i]))
		}
	}
	if _, sums := f.asked(t); len(sums) != 0 {
		t.Errorf("checksums of %v were asked for, though all files were written", sums)
	}
}

func read(tb testing.TB, f *zip.File) string {
	tb.Helper()
	r, err := f.Open()
	if err != nil {
		tb.Fatalf("open %q: %v", f.Name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r) // checks sizes and checksum
	if err != nil {
		tb.Fatalf("read %q: %v", f.Name, err)
	}
	return string(b)
}

func TestAFolderWithNothingInItIsAnArchive(t *testing.T) {
	l := mustNew(t, nil)
	r, err := zip.NewReader(bytes.NewReader(whole(t, l, nil)), l.Len())
	if err != nil || len(r.File) != 0 || l.Len() != 22 {
		t.Errorf("%d entries in %d bytes, %v", len(r.File), l.Len(), err)
	}
}

// What this test holds are the bytes that boxes in the field have begun to send:
// with another outcome a download does not go on at another box, and format in
// archive.go must change.
func TestTheArchiveIsTheSameOnEveryBox(t *testing.T) {
	f := lesson()
	l := mustNew(t, f.entries)
	sum := sha256.Sum256(whole(t, l, f))
	if got, want := hex.EncodeToString(sum[:]), "1cf87bf2e0949fdbb59d98cc984369b61385e789a37ea372c3fa35b70dec6e4e"; got != want {
		t.Errorf("the archive's SHA-256 is %s, want %s", got, want)
	}
	if got, want := l.ETag(), `"rzYjAUwjskA_DvHduB3khHqGG0A_cbDg"`; got != want {
		t.Errorf("its entity tag is %s, want %s", got, want)
	}

	slices.Reverse(f.entries)
	slices.Reverse(f.bodies)
	again := mustNew(t, f.entries)
	if again.ETag() != l.ETag() || sha256.Sum256(whole(t, again, f)) != sum {
		t.Error("another order of the entries made another archive")
	}

	paris := time.FixedZone("CET", 3600)
	for i := range f.entries {
		f.entries[i].Modified = f.entries[i].Modified.In(paris)
	}
	if again = mustNew(t, f.entries); again.ETag() != l.ETag() || sha256.Sum256(whole(t, again, f)) != sum {
		t.Error("another zone of the times made another archive")
	}
}

func TestTheEntityTagChangesWithTheArchive(t *testing.T) {
	base := func() []archive.Entry { return entries("a", "b/", "b/c") }
	tag := mustNew(t, base()).ETag()
	changes := map[string]func(e []archive.Entry) []archive.Entry{
		"a name":       func(e []archive.Entry) []archive.Entry { e[0].Name = "aa"; return e },
		"a size":       func(e []archive.Entry) []archive.Entry { e[0].Size++; return e },
		"a time":       func(e []archive.Entry) []archive.Entry { e[0].Modified = when.Add(time.Second); return e },
		"no time":      func(e []archive.Entry) []archive.Entry { e[0].Modified = time.Time{}; return e },
		"a version":    func(e []archive.Entry) []archive.Entry { e[2].Version = `"2"`; return e },
		"one less":     func(e []archive.Entry) []archive.Entry { return e[:2] },
		"one more":     func(e []archive.Entry) []archive.Entry { return append(e, entries("d")...) },
		"a weak one":   func(e []archive.Entry) []archive.Entry { e[0].Version = `W/"1"`; return e },
		"no version":   func(e []archive.Entry) []archive.Entry { e[0].Version = ""; return e },
		"moved quotes": func(e []archive.Entry) []archive.Entry { e[0].Name, e[0].Version = `a"`, `1"`; return e },
	}
	seen := map[string]string{tag: "nothing"}
	for name, change := range changes {
		got := mustNew(t, change(base())).ETag()
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the tag %s", name, other, got)
		}
		seen[got] = name
		if weak, want := strings.HasPrefix(got, `W/"`), name == "a weak one" || name == "no version"; weak != want {
			t.Errorf("%s: the tag is %s", name, got)
		}
	}
	e := base()
	e[0].Modified = when.Add(time.Millisecond)
	if got := mustNew(t, e).ETag(); got != tag {
		t.Error("a part of a second, which the archive does not hold, changed its tag")
	}
}

func TestTimesThatAFieldCannotHoldAreLeftOut(t *testing.T) {
	tests := map[string]struct{ modified, want time.Time }{
		"none":            {want: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)},
		"before DOS":      {modified: time.Unix(86_400, 0), want: time.Unix(86_400, 0)},
		"before Unix":     {modified: time.Unix(-1, 0), want: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)},
		"an odd second":   {modified: when, want: when},
		"the last of UT":  {modified: time.Unix(1<<31-1, 0), want: time.Unix(1<<31-1, 0)},
		"after UT":        {modified: time.Unix(1<<31, 0), want: time.Unix(1<<31, 0)},
		"the last of DOS": {modified: time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC), want: time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)},
		"after DOS":       {modified: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), want: time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := of("a", "x")
			f.entries[0].Modified = tt.modified
			l := mustNew(t, f.entries)
			r, err := zip.NewReader(bytes.NewReader(whole(t, l, f)), l.Len())
			if err != nil {
				t.Fatal(err)
			}
			if got := r.File[0].Modified; !got.Equal(tt.want) {
				t.Errorf("the file is of %v, want %v", got.UTC(), tt.want)
			}
		})
	}
}

func TestWhatNoArchiveCanHoldIsRefused(t *testing.T) {
	tests := map[string][]archive.Entry{
		"a size below zero":     {{Name: "a", Size: -1}},
		"a folder with a size":  {{Name: "a/", Size: 1}},
		"too many bytes":        {{Name: "a", Size: 1 << 55}, {Name: "b", Size: 1<<55 + 1}},
		"a size that overflows": {{Name: "a", Size: 1<<63 - 1}, {Name: "b", Size: 1<<63 - 1}},
		"too many entries":      make([]archive.Entry, archive.MaxEntries+1),
	}
	for name, e := range tests {
		if _, err := archive.New(e); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
