package edge_test

import (
	"net/http"
	"net/url"
	"testing"

	"preau/cache/object"
)

// keys are those of a URL of the world's site.
func (w *world) keys(path string) []object.Key {
	w.t.Helper()
	u, err := url.Parse("http://box.example" + path)
	if err != nil {
		w.t.Fatal(err)
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(w.t.Context())
	return w.edge.Keys(r)
}

// stored reports how many of keys name something that is stored whole.
func (w *world) stored(keys []object.Key) (n int) {
	w.t.Helper()
	for _, k := range keys {
		set, err := w.store.Objects().Lookup(k)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(set) > 0 && set[0].Complete {
			n++
		}
	}
	return n
}

// What a URL brings lies under its keys, whatever the site was asked for instead.
func TestKeysNameWhatAURLBrings(t *testing.T) {
	files := lesson(5)
	w, _ := newCloud(t, files)
	for _, path := range []string{folderLink, "/o/site" + folderURL} {
		if n := w.stored(w.keys(path)); n != 0 {
			t.Errorf("%s: %d are stored before it was asked for", path, n)
		}
	}
	r := w.get(folderLink)
	wantZip(t, r.body, files)
	w.until(func() bool { return w.stored(w.keys(folderLink)) == len(files)+1 }, "the folder's files and its listing are stored")
	for _, path := range []string{folderLink, folderURL, "/o/site" + folderURL} {
		if keys := w.keys(path); len(keys) != len(files)+1 || w.stored(keys) != len(keys) {
			t.Errorf("%s: %d keys, of which %d are stored", path, len(keys), w.stored(keys))
		}
	}
	for _, path := range []string{"/remote.php/dav/files/ann/f", "/o/site"} {
		if keys := w.keys(path); len(keys) != 0 {
			t.Errorf("%s: %d keys of what is never stored", path, len(keys))
		}
	}

	plain := newWorld(t)
	plain.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = rw.Write([]byte("page"))
	})
	plain.want(plain.get("/page?x=1"), 200, "page")
	plain.until(func() bool { return plain.stored(plain.keys("/page?x=1")) == 1 }, "a plain site's page is stored")
	if n := plain.stored(plain.keys("/page?x=2")); n != 0 {
		t.Errorf("%d of another page", n)
	}
	plain.edge.SetStorage(nil)
	if keys := plain.keys("/page?x=1"); len(keys) != 0 {
		t.Errorf("%d keys without a storage", len(keys))
	}
}
