package edge_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/profile"
	"preau/cache/upstream"
)

// diary is a site that answers each person with what is theirs, and says
// nothing at all of that to caches: by RFC 9111 all of it may be shared.
func diary(w http.ResponseWriter, r *http.Request) {
	who := r.Header.Get("Cookie") + r.Header.Get("Authorization") + r.Header.Get("X-Peertube-Video-Password")
	if strings.Contains(r.URL.RawQuery, "ann") {
		who += "ann"
	}
	body := strings.Repeat(fmt.Sprintf("the diary of <%s>. ", who), 50)
	h := w.Header()
	h.Set("X-Who", who)
	h.Set("ETag", `"`+fmt.Sprint(len(who))+`"`)
	h.Set("Content-Type", "application/octet-stream")
	if who == "" {
		h.Add("Set-Cookie", "session=ann-to-be") // everybody gets one
	}
	http.ServeContent(w, r, "", time.Unix(1_600_000_000, 0), strings.NewReader(body))
}

// places are paths of the platforms: shared, private and neither.
var places = map[string][]string{
	"nextcloud": {
		"/s/TOKEN", "/s/TOKEN/download", "/s/TOKEN/preview?file=a&x=1&y=1", "/public.php/dav/files/TOKEN/a.pdf", "/public.php/dav/files/TOKEN/?accept=zip",
		"/public.php/webdav/a", "/remote.php/dav/files/ann/a", "/remote.php/webdav/a", "/ocs/v2.php/x", "/index.php/apps/files", "/core/js/a.js?v=1", "/apps/theming/css/default.css",
	},
	"peertube": {
		"/static/web-videos/a.mp4", "/static/web-videos/private/a.mp4", "/static/streaming-playlists/hls/uuid/a-fragmented.mp4", "/static/streaming-playlists/hls/private/uuid/a.mp4",
		"/static/web-videos/a.mp4?videoFileToken=ann", "/lazy-static/thumbnails/a.jpg", "/download/user-exports/1", "/api/v1/users/me",
	},
	"etherpad":  {"/p/r.abc/export/txt", "/p/ann", "/p/ann/3/export/txt", "/static/css/pad.css", "/socket.io/"},
	"discourse": {"/uploads/default/original/1X/a.png", "/secure-uploads/a.png", "/assets/a-0123456789abcdef0123456789abcdef.js", "/message-bus/x/poll", "/u/ann.json"},
	"wordpress": {"/", "/2024/01/post/", "/wp-admin/", "/wp-content/uploads/a.png", "/wp-json/wp/v2/posts", "/?preview=true"},
	"jitsi":     {"/libs/app.bundle.min.js?v=1", "/http-bind", "/config.js", "/room"},
	"kiwix":     {"/raw/zim/content/a", "/content/zim/a"},
	"s3-public": {"/bucket/a?X-Amz-Signature=ann", "/bucket/a"},
}

// placesFor are those of a platform, and of all others if there is time.
func placesFor(name string) []string {
	if testing.Short() {
		return places[name]
	}
	return slices.Concat(slices.Collect(maps.Values(places))...)
}

// TestWhatAnnGotNeverReachesBob has ann ask for everything in every way, and bob
// after her: fresh, stale, in parts, offline, by way of a neighbour or a peer,
// and after a restart.
func TestWhatAnnGotNeverReachesBob(t *testing.T) {
	for _, name := range profile.Names() {
		if name == "rfc9111" {
			continue // what a site lets everybody have by the standard is its word
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := profile.New(name, profile.Adjust{})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(s *edge.Site, _ *upstream.Config) { s.Profile = p })
			w.answer(diary)
			places := placesFor(name)
			if len(places) == 0 {
				t.Fatal("no paths of this platform are tried")
			}
			for _, place := range places {
				w.herd(4, func(i int) reply {
					switch i {
					case 0:
						return w.get(place, "Cookie", "session=ann; wordpress_logged_in_x=ann")
					case 1:
						return w.get(place, "Authorization", "Bearer ann")
					case 2:
						return w.get(place, "Cookie", "session=ann", "Range", "bytes=4-40")
					}
					return w.do(http.MethodHead, place, nil, "Cookie", "session=ann")
				})
				w.get(place, "X-Peertube-Video-Password", "ann")
			}
			seen := func(how, place string, status int, h http.Header, body string) {
				t.Helper()
				h = h.Clone()
				if cookie := h.Get("Set-Cookie"); cookie != "" && status < 400 && strings.Contains(h.Get("Cache-Status"), "hit") {
					t.Errorf("%s: %s: a stored cookie %q", how, place, cookie)
				}
				h.Del("Set-Cookie") // of what passes, the site's to this very client
				h.Del("Location")
				if !strings.Contains(place, "ann") && (strings.Contains(body, "ann") || strings.Contains(fmt.Sprint(h), "ann")) {
					t.Errorf("%s: %s: %d %v %.80q", how, place, status, h, body)
				}
			}
			bobAsks := func(when string) {
				ways := [][]string{
					{"Cookie", "session=bob"}, {}, {"Range", "bytes=4-40"}, {"Cache-Control", "no-cache"},
					{"Cache-Control", "max-stale"}, {"Cache-Control", "only-if-cached, max-stale"}, {"Authorization", "Bearer bob"},
				}
				for i, place := range places {
					place = strings.ReplaceAll(place, "=ann", "=bob")
					for j := range fewer(len(ways), 4) {
						header := ways[(i+j)%len(ways)]
						r := w.get(place, header...)
						seen(when+" "+strings.Join(header, ": "), place, r.status, r.header, string(r.body))
					}
					r := w.do(http.MethodHead, place, nil)
					seen(when+" HEAD", place, r.status, r.header, "")
					for face, h := range map[string]http.Handler{"neighbour": w.edge.Neighbours(), "peer": w.edge.Peers()} {
						rec := httptest.NewRecorder()
						h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, place, http.NoBody))
						seen(when+" "+face, place, rec.Code, rec.Header(), rec.Body.String())
					}
				}
			}
			bobAsks("fresh")
			w.lineDown()
			bobAsks("offline")
			w.reopen()
			bobAsks("after a restart")
		})
	}
}
