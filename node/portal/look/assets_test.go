package look_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"preau/cache/page"
	"preau/node/portal/look"
)

func TestStaticFilesAreForEver(t *testing.T) {
	text := strings.Repeat("const a = 1;\n", 200)
	more := look.MustBundle(fstest.MapFS{"s/add.js": {Data: []byte(text)}, "s/below/x.js": {Data: []byte("1")}}, "s")
	h := look.Assets(more)
	for name, at := range map[string]string{"look's own": look.Asset("base.css"), "another's": more.Asset("add.js")} {
		w := get(t, h, at)
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		zipped := get(t, h, at, "Accept-Encoding", "br, gzip;q=0.5")
		z, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(plain, w.Body.Bytes()) {
			t.Errorf("%s: compressed it is another: %v", name, err)
		}
		if w := get(t, h, at, "Accept-Encoding", "gzip;q=0"); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: gzip for who refuses it", name)
		}
		if w := get(t, h, at, "If-None-Match", w.Header().Get("Etag")); w.Code != http.StatusNotModified {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for _, at := range []string{"/style/base.css", "/style/base.0000000000.css", "/style/", "/style/../look.go", more.Asset("x.js") + "/style/x"} {
		if w := get(t, h, at); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", at, w.Code)
		}
	}
	if look.Asset("none") != "" {
		t.Error("what is not there has an address")
	}
}

func TestSorts(t *testing.T) {
	for kind, want := range map[string]look.Sort{
		"application/pdf": look.Document, "image/png": look.Picture, "audio/mpeg": look.Audio, "video/mp4": look.Video, "text/plain; charset=utf-8": look.Text,
		"text/html": look.Web, "application/zip": look.Archive, "application/vnd.oasis.opendocument.text": look.Document,
		"application/vnd.openxmlformats-officedocument.wordprocessingml.document": look.Document, "application/x-mpegURL": look.Video,
		"application/epub+zip": look.Document, "application/octet-stream": look.Other, "": look.Other, "rubbish/": look.Other,
	} {
		if got := look.Kind(kind); got != want {
			t.Errorf("%q: %d, want %d", kind, got, want)
		}
	}
	for s := look.Other; s <= look.Archive; s++ {
		if look.Icon(s.Icon()) == "" || s.Name(page.French) == "" || s.Class() == "" {
			t.Errorf("sort %d has no icon, name or class", s)
		}
	}
	if look.Icon("none") != "" {
		t.Error("an icon of nothing")
	}
}

func FuzzSpoken(f *testing.F) {
	for _, s := range []string{"/", "/fr", "/en/", "/en//", "/fr/%2F", "/english", "/fr/fr/fr", "/EN/x", "//en/x", "/en/../x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://preau.local"+path, nil)
		if err != nil {
			return
		}
		look.Spoken(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
			if lang := look.Lang(in); lang != page.French && lang != page.English {
				t.Errorf("%q is in %q", path, lang)
			}
			prefix := look.Path(in, "")
			if prefix+in.URL.Path != r.URL.Path {
				t.Errorf("%q is %q below %q", r.URL.Path, in.URL.Path, prefix)
			}
		})).ServeHTTP(discard{http.Header{}}, r)
	})
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header { return d.h }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (discard) WriteHeader(int) {}
