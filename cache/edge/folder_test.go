package edge_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	folderURL  = "/public.php/dav/files/TOKEN/?accept=zip"
	folderLink = "/s/TOKEN/download"
)

// lesson is a folder of files of which one lies deeper.
func lesson(n int) map[string][]byte {
	files := map[string][]byte{}
	for i := range n - 1 {
		files[fmt.Sprintf("fiche %02d é.pdf", i)] = noise(64<<10+i*8, uint64(i+1))
	}
	files["images/carte.png"] = noise(80_000, 99)
	return files
}

// wantZip checks that a body is an archive of just those files.
func wantZip(t *testing.T, body []byte, files map[string][]byte) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Errorf("%d bytes are no archive: %v", len(body), err)
		return
	}
	n := 0
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		n++
		r, err := f.Open()
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, files[f.Name]) {
			t.Errorf("%s: %d bytes, want %d, %v", f.Name, len(got), len(files[f.Name]), err)
		}
	}
	if n != len(files) {
		t.Errorf("%d files, want %d", n, len(files))
	}
}

// asked counts what the site was asked for, by method and path.
func askedFor(reqs []*http.Request) (gets map[string]int, lists, zips int) {
	gets = map[string]int{}
	for _, r := range reqs {
		switch {
		case r.Method == "PROPFIND":
			lists++
		case r.URL.Query().Has("accept"), strings.HasSuffix(r.URL.Path, "/download"):
			zips++
		default:
			gets[r.URL.Path]++
		}
	}
	return gets, lists, zips
}

// TestAClassTakesAFolderHome is 35 pupils who click on "download all".
func TestAClassTakesAFolderHome(t *testing.T) {
	files := lesson(20)
	w, _ := newCloud(t, files)
	urls := []string{folderURL, folderLink, folderLink + "?path=/", folderURL + "&downloadStartSecret=abc"}
	replies := w.herd(35, func(i int) reply {
		return w.get(urls[i%len(urls)], "Cookie", fmt.Sprint("session=p", i))
	})
	first := replies[0]
	wantZip(t, first.body, files)
	for _, r := range replies {
		w.want(r, 200, string(first.body))
		if r.header.Get("ETag") != first.header.Get("ETag") || strings.HasPrefix(r.header.Get("ETag"), "W/") || r.header.Get("Content-Length") != fmt.Sprint(len(first.body)) ||
			r.header.Get("Content-Type") != "application/zip" || !strings.Contains(r.header.Get("Content-Disposition"), ".zip") {
			t.Errorf("%v", r.header)
		}
	}
	reqs := w.requests()
	for _, r := range reqs {
		if r.Header.Get("Cookie") != "" {
			t.Errorf("%s %s is asked for by somebody", r.Method, r.URL)
		}
	}
	gets, lists, zips := askedFor(reqs)
	if len(reqs) > 45 || zips != 0 || lists == 0 {
		t.Errorf("%d requests, %d lists, %d archives", len(reqs), lists, zips)
	}
	for name := range files {
		if path := "/public.php/dav/files/TOKEN/" + name; gets[path] != 1 {
			t.Errorf("%s was asked for %d times", path, gets[path])
		}
	}
	t.Logf("%d requests, %d of them lists", len(reqs), lists)
	w.want(w.get("/public.php/dav/files/TOKEN/images/carte.png"), 200, string(files["images/carte.png"]), "hit")

	// As any other file.
	tag := first.header.Get("ETag")
	half := len(first.body) / 2
	w.want(w.get(folderURL, "Range", fmt.Sprintf("bytes=%d-", half), "If-Range", tag), 206, string(first.body[half:]))
	w.want(w.get(folderURL, "Range", "bytes=-22"), 206, string(first.body[len(first.body)-22:]))
	w.want(w.get(folderURL, "Range", fmt.Sprintf("bytes=%d-", len(first.body))), 416, "")
	w.want(w.get(folderURL, "Range", fmt.Sprintf("bytes=%d-", half), "If-Range", `"other"`), 200, string(first.body))
	w.want(w.get(folderURL, "If-None-Match", tag), 304, "")
	if r := w.do(http.MethodHead, folderURL, nil); r.status != 200 || r.header.Get("Content-Length") != fmt.Sprint(len(first.body)) {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}

	// With the line cut, and after a restart of the disk.
	w.lineDown()
	w.want(w.get(folderURL), 200, string(first.body))
	w.reopen()
	w.edge.Forget()
	w.want(w.get(folderLink, "Cookie", bob), 200, string(first.body), "offline")
	w.want(w.get(folderURL, "Range", fmt.Sprintf("bytes=%d-", half)), 206, string(first.body[half:]))
}

func TestSomeFilesOfAFolder(t *testing.T) {
	files := lesson(6)
	w, _ := newCloud(t, files)
	some := map[string][]byte{}
	for _, name := range []string{"fiche 01 é.pdf", "images/carte.png"} {
		some[name] = files[name]
	}
	r := w.get(folderLink + "?path=/&files=" + "%5B%22fiche+01+%C3%A9.pdf%22%2C%22images%22%5D")
	w.want(r, 200, "*")
	wantZip(t, r.body, some)
	for range 2 { // one name, of a file as far as can be known
		w.want(w.get(folderLink+"?path=/&files=images", "Cookie", ann), 200, "the platform's own archive", "fwd=")
	}
	r = w.get("/public.php/dav/files/TOKEN/images/?accept=zip")
	w.want(r, 200, "*")
	wantZip(t, r.body, map[string][]byte{"carte.png": files["images/carte.png"]})
	if cd := r.header.Get("Content-Disposition"); !strings.Contains(cd, "images.zip") {
		t.Errorf("Content-Disposition %q", cd)
	}
}

// TestAFolderThatTurnsOutToBeAFile is how every file share's link looks.
func TestAFolderThatTurnsOutToBeAFile(t *testing.T) {
	data := noise(50_000, 3)
	w, _ := newCloud(t, map[string][]byte{"": data})
	for _, r := range w.herd(35, func(i int) reply { return w.get([]string{folderURL, folderLink}[i%2]) }) {
		w.want(r, 200, string(data))
	}
	if n := len(w.requests()); n > 4 {
		t.Errorf("the site was asked %d times", n)
	}
}

// TestAFolderThatChangesMeanwhileIsNoWrongArchive replaces a file between the
// listing and its turn.
func TestAFolderThatChangesMeanwhileIsNoWrongArchive(t *testing.T) {
	files := lesson(4)
	w, c := newCloud(t, files)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "carte.png") && r.Method == http.MethodGet {
			c.set(func(c *cloud) { c.version, c.files["images/carte.png"] = 2, noise(80_000, 7) })
		}
		c.ServeHTTP(rw, r)
	})
	if r := w.get(folderURL); r.err == nil {
		t.Errorf("an archive of %d bytes came to its end: %d", len(r.body), r.status)
	}
	r := w.get(folderURL)
	w.want(r, 200, "*")
	wantZip(t, r.body, c.files)
}

func TestAFolderBehindAPasswordIsNobodyElses(t *testing.T) {
	files := lesson(4)
	w, c := newCloud(t, files)
	w.want(w.get(folderURL), 200, "*")
	c.set(func(c *cloud) { c.password = true })
	w.edge.Forget() // what is remembered for half a minute
	for _, header := range [][]string{nil, {"Range", "bytes=0-99"}, {"Cache-Control", "max-stale"}} {
		if r := w.get(folderURL, header...); r.status != 401 && r.status != 303 {
			t.Errorf("%v: %d %s", header, r.status, r.cache())
		}
	}
	w.lineDown()
	if r := w.get(folderURL); r.status != 504 {
		t.Errorf("offline: %d %s", r.status, r.cache())
	}
}

func TestADeletedFolderIsServedByNobody(t *testing.T) {
	w, c := newCloud(t, lesson(4))
	w.want(w.get(folderURL), 200, "*")
	c.set(func(c *cloud) { c.gone = true })
	w.edge.Forget()
	w.want(w.get(folderURL), 404, "*", "gone")
	w.want(w.get(folderLink), 404, "*", "gone")
	w.until(func() bool { return w.store.Objects().Count() == 0 }, "it was never purged")
	w.lineDown()
	w.edge.Forget()
	w.reopen()
	if r := w.get(folderURL); r.status != 504 {
		t.Errorf("offline: %d %s", r.status, r.cache())
	}
}
