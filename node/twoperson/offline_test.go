package twoperson_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/profile"
	"preau/cache/profile/platformtest"
)

// page is how a browser asks for what somebody opens.
const page = "text/html,application/xhtml+xml,*/*;q=0.8"

// TestWhatAClassHadIsThereWithTheLineCut, for each platform: what was opened
// before is whole and says that it is a copy, and how old.
func TestWhatAClassHadIsThereWithTheLineCut(t *testing.T) {
	type p = platformtest.Platform
	for name, test := range map[string]struct {
		profile string
		make    func() (p, []string)
		dated   bool // people see it on the page
	}{
		"a public share, an older cloud": {"nextcloud", func() (p, []string) { return shared(29) }, false},
		"a public share, a newer cloud":  {"nextcloud", func() (p, []string) { return shared(31) }, false},
		"a video": {"peertube", func() (p, []string) {
			v := platformtest.NewPeerTube(true)
			at := "/static/streaming-playlists/hls/" + v.UUID("public") + "/" + v.Files(v.UUID("public"))
			return v, []string{at + "-master.m3u8", at + "-720.m3u8", at + "-720-fragmented.mp4"}
		}, false},
		"a pad's last export": {"etherpad", func() (p, []string) {
			e := platformtest.NewEtherpad()
			return e, []string{"/p/" + e.ReadOnly() + "/export/txt", "/p/" + e.Pad() + "/1/export/txt"}
		}, false},
		"a forum's files": {"discourse", func() (p, []string) {
			return platformtest.NewDiscourse(), []string{"/uploads/default/original/1X/a1b2.png", "/assets/application-a1b2c3.js"}
		}, false},
		"a blog": {"wordpress", func() (p, []string) {
			return platformtest.NewWordPress(), []string{"/", "/2026/11/sortie/"}
		}, true},
		"a blog's pictures": {"wordpress", func() (p, []string) {
			return platformtest.NewWordPress(), []string{"/wp-content/uploads/2026/11/photo.jpg", "/feed/"}
		}, false},
		"a conference's scripts": {"jitsi", func() (p, []string) {
			return platformtest.NewJitsi(), []string{"/libs/app.bundle.min.js?v=8000"}
		}, false},
		"a book": {"kiwix", func() (p, []string) {
			return platformtest.NewKiwix(), []string{"/wikipedia_fr/A/Lyon", "/wikipedia_fr/I/carte.png"}
		}, false},
		"a bucket": {"s3-public", func() (p, []string) { return platformtest.NewS3(), []string{"/public/film.mp4"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				platform, paths := test.make()
				w, err := newWorld(dir, test.profile, platform, profile.Adjust{})
				if err != nil {
					t.Fatal(err)
				}
				offline(t, w, paths, test.dated, 70*time.Second)
				if found, err := w.search(); err != nil || len(found) > 0 {
					t.Errorf("%v %v", found, err)
				}
			})
		})
	}
}

// shared is a cloud with a file and a folder that anybody may have.
func shared(version int) (platformtest.Platform, []string) {
	n := platformtest.NewNextcloud(version)
	paths := []string{"/public.php/dav/files/" + n.Token("folder") + "/a.txt", "/s/" + n.Token("folder") + "/download"}
	return n, append(paths, "/s/"+n.Token("file")+"/download")
}

// offline opens what is at paths, cuts the line, and opens it again later: before
// and after the box has restarted.
func offline(t *testing.T, w *world, paths []string, dated bool, later time.Duration) {
	t.Helper()
	open := func(path string) *responder {
		r, err := incoming(http.MethodGet, path)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", page)
		r.Header.Set("Sec-Fetch-Dest", "document")
		return serve(w.edge, r)
	}
	had := map[string][]byte{}
	for _, path := range paths {
		first := open(path)
		if first.status != http.StatusOK || first.body.Len() == 0 {
			t.Fatalf("%s: %d %s %.200s", path, first.status, first.sent.Get("Cache-Status"), first.body.String())
		}
		had[path] = first.body.Bytes()
	}
	<-time.After(later)
	w.line.cut(true)
	for _, when := range []string{"with the line cut", "after a restart as well"} {
		for _, path := range paths {
			r := open(path)
			status := r.sent.Get("Cache-Status")
			got, want := r.body.Bytes(), http.StatusOK
			if dated {
				want = http.StatusNonAuthoritativeInfo
				if !noticed.Match(got) || !bytes.Contains(got, []byte("Copie hors ligne")) {
					t.Errorf("%s, %s: nobody sees that it is old: %.300s", path, when, got)
				}
				got = noticed.ReplaceAll(got, nil)
			}
			if r.status != want || r.broken || !bytes.Equal(got, had[path]) {
				t.Errorf("%s, %s: %d, %d bytes of %d: %s %.300s", path, when, r.status, len(got), len(had[path]), status, got)
				continue
			}
			if !strings.Contains(status, "; hit") || strings.Contains(status, "ttl=-") && !strings.Contains(status, "detail=offline") {
				t.Errorf("%s, %s: it does not say that it is a copy: %s", path, when, status)
			}
			if r.sent.Get("Age") == "" && r.sent.Get("Content-Type") != "application/zip" || r.sent.Get("Date") == "" && r.sent.Get("Last-Modified") == "" {
				t.Errorf("%s, %s: it does not say of when it is: %v", path, when, r.sent)
			}
		}
		if err := w.reboot(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALinkThatWantsAPasswordNowOpensNothingThatIsStored: whichever way the cache
// hears of it, all of what the link opened is served no more, line or no line.
func TestALinkThatWantsAPasswordNowOpensNothingThatIsStored(t *testing.T) {
	for name, hears := range map[string]func(dav, link string) string{
		"at one file's address": func(dav, _ string) string { return dav + "/a.txt" },
		"at the link's page":    func(_, link string) string { return link },
		"at the download":       func(_, link string) string { return link + "/download" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				n := platformtest.NewNextcloud(29)
				token := n.Token("folder")
				dav, link := "/public.php/dav/files/"+token, "/s/"+token
				w, err := newWorld(dir, "nextcloud", n, profile.Adjust{})
				if err != nil {
					t.Fatal(err)
				}
				open := func(path string) *responder {
					r, err := incoming(http.MethodGet, path)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Accept", page)
					return serve(w.edge, r)
				}
				files := []string{dav + "/a.txt", dav + "/film.mp4", dav + "/sub/b.txt"}
				for _, path := range append(files, link+"/download") {
					if r := open(path); r.status != http.StatusOK {
						t.Fatalf("%s: %d", path, r.status)
					}
				}
				n.Change(token, func(s *platformtest.Share) { s.Password = "neuf" })
				<-time.After(2 * time.Minute)
				if r := open(hears(dav, link)); r.status == http.StatusOK {
					t.Fatalf("the link wants a password, and the answer is %d: %s", r.status, r.sent.Get("Cache-Status"))
				}
				synctest.Wait()
				w.line.cut(true)
				for _, path := range append(files, link+"/download") {
					if r := open(path); r.status == http.StatusOK {
						t.Errorf("%s: %d %s", path, r.status, r.sent.Get("Cache-Status"))
					}
				}
				if _, err := w.search(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
