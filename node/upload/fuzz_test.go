package upload_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"preau/node/upload"
)

func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{"", "filename YQ==", "filename YQ==,title", " filename  YQ== , title w6k=", "filename ###", "filename YQ==,filename YQ==", "a,,b", strings.Repeat("a,", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, v string) {
		m, err := upload.ParseMetadata(v)
		if err != nil {
			return
		}
		if upload.CheckFilename(m.Filename) != nil {
			t.Errorf("%q is a name", m.Filename)
		}
		for _, s := range []string{m.Filename, m.ContentType, m.Title, m.Description, m.Collection, m.Licence} {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") || len(s) > 4000 {
				t.Errorf("%q is a word", s)
			}
		}
		again, err := upload.ParseMetadata(metadata("filename", m.Filename, "filetype", m.ContentType, "title", m.Title, "description", m.Description, "collection", m.Collection, "licence", m.Licence))
		if err != nil || again != m {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

// FuzzRequest sends requests of any kind: none may move an offset that it does
// not name, nor have the box fail.
func FuzzRequest(f *testing.F) {
	f.Add("PATCH", "", "4", "", "", "45")
	f.Add("PATCH", "", "4", "sha1 AAAA", "", "45")
	f.Add("POST", "x", "", "", "7", "")
	f.Add("HEAD", "", "", "", "", "")
	f.Add("POST", "", "4", "", "99999999999999999999", "")
	f.Fuzz(func(t *testing.T, method, path, offsetField, sum, length, body string) {
		if !tokens(method) || !tokens("x"+path) || strings.ContainsAny(offsetField+sum+length, "\r\n\x00") || method == http.MethodDelete {
			return
		}
		s := open(t, config(t.TempDir()), newShelf())
		at := create(t, s, "a", 10)
		patch(s, at, 0, strings.NewReader("0123"))
		w := call(s, method, at+path, strings.NewReader(body), "Content-Type", "application/offset+octet-stream", "Upload-Offset", offsetField, "Upload-Checksum", sum, "Upload-Length", length)
		if w.Code >= 500 && w.Code != http.StatusInsufficientStorage {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
		want := int64(4)
		if method == http.MethodPatch && w.Code == http.StatusNoContent && path == "" {
			n, ok := upload.ParseSize(offsetField)
			if !ok || n != 4 {
				t.Fatalf("a PATCH at %q was taken", offsetField)
			}
			want += int64(len(body))
		}
		if n := offset(t, s, at); n != want {
			t.Errorf("%s: the offset is %d, want %d", method, n, want)
		}
	})
}

func tokens(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return s != ""
}

func FuzzChecksum(f *testing.F) {
	f.Add("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
	f.Add("sha256 x")
	f.Fuzz(func(t *testing.T, v string) {
		if err := upload.ParseChecksum(v); err == nil && v != "" && !strings.HasPrefix(v, "sha1 ") && !strings.HasPrefix(v, "sha256 ") {
			t.Errorf("%q is a checksum", v)
		}
	})
}
