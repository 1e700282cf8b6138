package archive_test

import (
	"archive/zip"
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/cache/archive"
)

// FuzzNew takes names with their bodies' lengths from outside. Whatever is
// taken must be an archive that any reader can unpack, into its folder and
// nowhere else, with no file in another's place.
func FuzzNew(f *testing.F) {
	f.Add("a\nb/\nb/c\n", uint16(3), int64(1_763_626_531))
	f.Add("../a\n/b\nc//d\n", uint16(0), int64(0))
	f.Add("Notes\nnotes\nnotes (2)\nNOTES/x\n", uint16(700), int64(-1))
	f.Add("aux\ncon.txt\na:b\na?b\na\\b\nfin.\n", uint16(1), int64(1<<40))
	f.Add("é\nE\u0301\n\u202egpj.exe\nı\nI\ni\nİ\nſ\nS\nK\nk\n", uint16(65_535), int64(4_354_819_199))
	f.Fuzz(func(t *testing.T, lines string, size uint16, unix int64) {
		src := of()
		for i, name := range strings.Split(lines, "\n") {
			body := ""
			if !strings.HasSuffix(name, "/") {
				body = strings.Repeat("x", int(size)>>i)
			}
			src.entries = append(src.entries, archive.Entry{Name: name, Size: int64(len(body)), Modified: time.Unix(unix, 0)})
			src.bodies = append(src.bodies, body)
			if i == 100 {
				break
			}
		}
		l, err := archive.New(src.entries)
		if err != nil {
			return
		}
		b := whole(t, l, src)
		r, err := zip.NewReader(bytes.NewReader(b), l.Len())
		if err != nil || len(r.File) != len(src.entries) || int64(len(b)) != l.Len() {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		bodies := map[string]string{}
		for i := range src.entries {
			bodies[l.Name(i)] = src.bodies[i]
		}
		seen := map[string]bool{}
		for _, file := range r.File {
			whole := strings.TrimSuffix(file.Name, "/")
			if !filepath.IsLocal(whole) || strings.ContainsAny(file.Name, "\\:\x00") || seen[strings.ToLower(whole)] {
				t.Errorf("%q of %q", file.Name, lines)
			}
			seen[strings.ToLower(whole)] = true
			if want, ok := bodies[file.Name]; !ok || read(t, file) != want {
				t.Errorf("%q has another body", file.Name)
			}
		}
	})
}
