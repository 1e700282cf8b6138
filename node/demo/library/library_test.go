package library

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// made is the library of all tests: nothing changes it, and drawing its
// pictures takes seconds with the race detector.
var made = sync.OnceValues(func() (*Library, error) {
	return New(func() time.Time { return time.Date(2026, 9, 7, 10, 20, 30, 0, time.UTC) })
})

func open(t *testing.T) *Library {
	t.Helper()
	l, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t *testing.T, l http.Handler, path string, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

// head asks for what a file's fields say, without its bytes.
func head(t *testing.T, l http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	l.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodHead, path, nil))
	return w
}

func TestEveryItemAndEveryLinkIsThere(t *testing.T) {
	l := open(t)
	paths := map[string]bool{"/fr/": true, "/en/": true}
	for _, i := range Items() {
		paths[i.Path] = true
		if i.Title("fr") == "" || i.Title("en") == "" {
			t.Errorf("%s has no title in both languages", i.Path)
		}
	}
	link := regexp.MustCompile(`(?:href|src|poster)="(/[^"]*)"`)
	seen := map[string]bool{}
	for len(seen) < len(paths) {
		for p := range paths {
			if seen[p] {
				continue
			}
			seen[p] = true
			w := head(t, l, p)
			if w.Code != http.StatusOK {
				t.Errorf("%s: status %d", p, w.Code)
				continue
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				w = get(t, l, p)
				for _, m := range link.FindAllStringSubmatch(w.Body.String(), -1) {
					paths[m[1]] = true
				}
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("only %d addresses were found", len(seen))
	}
}

func TestEveryPageHasATitle(t *testing.T) {
	titles := PageTitles()
	if len(titles) != 14 || titles["/fr/"] != "La petite bibliothèque" || titles["/en/water"] != "The water cycle" {
		t.Errorf("titles %v", titles)
	}
}

func TestRangesAreTheWholesBytes(t *testing.T) {
	l := open(t)
	for _, p := range []string{"/packs/lesson-12.bin", "/atlas.zip", "/sheets/eau.pdf", "/film/water-cycle.mp4"} {
		whole := get(t, l, p)
		b := whole.Body.Bytes()
		n := len(b)
		for _, r := range [][2]int{{0, 0}, {1, 8}, {n / 3, n/3 + 1000}, {n - 13, n - 1}} {
			w := get(t, l, p, "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]), "If-Range", whole.Header().Get("Etag"))
			end := min(r[1]+1, n)
			if w.Code != http.StatusPartialContent || !bytes.Equal(w.Body.Bytes(), b[r[0]:end]) {
				t.Errorf("%s %v: status %d, %d bytes", p, r, w.Code, w.Body.Len())
			}
		}
		if w := get(t, l, p, "If-None-Match", whole.Header().Get("Etag")); w.Code != http.StatusNotModified {
			t.Errorf("%s with its own tag: status %d", p, w.Code)
		}
	}
}

func TestAPackIsAReader(t *testing.T) {
	want, err := io.ReadAll(&pack{seed: 5, size: 1003})
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(&pack{seed: 5, size: 1003}, want); err != nil {
		t.Error(err)
	}
	if _, err := new(pack).Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek before the start is accepted")
	}
}

func TestPDFsHaveTheirObjectsWhereTheySay(t *testing.T) {
	for p, s := range sheets() {
		b := s.pdf()
		if !bytes.HasPrefix(b, []byte("%PDF-1.4\n")) || !bytes.HasSuffix(b, []byte("%%EOF\n")) {
			t.Fatalf("%s is no PDF", p)
		}
		m := regexp.MustCompile(`startxref\n(\d+)\n`).FindSubmatch(b)
		at, err := strconv.Atoi(string(m[1]))
		if err != nil || !bytes.HasPrefix(b[at:], []byte("xref\n")) {
			t.Fatalf("%s: startxref %s points elsewhere", p, m[1])
		}
		for i, e := range regexp.MustCompile(`(\d{10}) 00000 n \n`).FindAllSubmatch(b[at:], -1) {
			off, err := strconv.Atoi(string(e[1]))
			if err != nil || !bytes.HasPrefix(b[off:], fmt.Appendf(nil, "%d 0 obj\n", i+1)) {
				t.Errorf("%s: object %d is not at %s", p, i+1, e[1])
			}
		}
		body := regexp.MustCompile(`(?s)/Length (\d+) >>\nstream\n(.*)\nendstream`).FindSubmatch(b)
		if n, err := strconv.Atoi(string(body[1])); err != nil || n != len(body[2]) {
			t.Errorf("%s: stream of %d bytes says %s", p, len(body[2]), body[1])
		}
		if strings.Contains(string(body[2]), "?)") != strings.Contains(strings.Join(s.questions, ")"), "?") {
			t.Errorf("%s: a character has no place in the font", p)
		}
		for _, line := range regexp.MustCompile(`56\.0 (-?[\d.]+) Td`).FindAllSubmatch(body[2], -1) {
			if y, err := strconv.ParseFloat(string(line[1]), 64); err != nil || y < 30 {
				t.Errorf("%s: a line falls off the page at %s", p, line[1])
			}
		}
	}
}

func TestPicturesAndAtlasOpen(t *testing.T) {
	l := open(t)
	for p := range pictures() {
		if _, err := png.Decode(get(t, l, p).Body); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	b := get(t, l, "/atlas.zip").Body.Bytes()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(z.File) != 9 {
		t.Fatalf("atlas: %v", err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil { // checks the CRC
			t.Errorf("%s: %v", f.Name, err)
		}
		r.Close()
	}
	few := map[string]func() ([]byte, error){}
	for p, s := range sheets() {
		few[p] = func() ([]byte, error) { return s.pdf(), nil }
	}
	one, err := atlas(few)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // the order of a map must not show
		if again, err := atlas(few); err != nil || !bytes.Equal(again, one) {
			t.Error("the atlas is another one each time")
		}
	}
}

func TestTheLibrarySaysWhatMayBeKept(t *testing.T) {
	l := open(t)
	for p, want := range map[string]string{
		"/fr/water": cachePage, "/en/": cachePage, "/film/water-cycle.mp4": cacheFile, "/packs/lesson-50.bin": cacheFile,
		"/fr/menu": cacheCheck, "/en/menu": cacheCheck, "/fr/time": cacheNever,
	} {
		if got := head(t, l, p).Header().Get("Cache-Control"); got != want {
			t.Errorf("%s: cache-control %q, want %q", p, got, want)
		}
	}
	if w := get(t, l, "/fr/time"); !strings.Contains(w.Body.String(), "10:20:30") || w.Header().Get("Etag") != "" {
		t.Error("the time page does not tell the time, or has a validator")
	}
	w := get(t, l, "/", "Accept-Language", "en-GB,fr;q=0.5")
	if !strings.Contains(w.Body.String(), "The little library") || w.Header().Get("Vary") != "Accept-Language" {
		t.Error("the front page does not answer in English, or does not say that it varies")
	}
	if !strings.Contains(get(t, l, "/").Body.String(), "La petite bibliothèque") {
		t.Error("without a wish the front page is not French")
	}
}

func TestWhatTheLibraryLacksIsNotFound(t *testing.T) {
	if w := get(t, open(t), "/fr/nowhere"); w.Code != http.StatusNotFound {
		t.Errorf("status %d", w.Code)
	}
}
