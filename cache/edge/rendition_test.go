package edge_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"preau/cache/profile/platformtest"
)

// newClassTube has a film in four renditions, of which a class is to have one.
func newClassTube(t *testing.T) (tb *tube, master string) {
	t.Helper()
	tb = newTube(t, 1, 1000, func(v *platformtest.Video) {
		v.Heights, v.Captions = []int{0, 240, 480, 1080}, []string{"fr", "en"}
	})
	tb.world.site.Rendition = 720
	return tb, tb.folder + tb.site.Files(tb.site.UUID("public")) + "-master.m3u8"
}

func TestAClassIsOfferedOneRendition(t *testing.T) {
	tb, master := newClassTube(t)
	r := tb.get(master, "Accept-Encoding", "gzip, br")
	list := string(r.body)
	if r.status != http.StatusOK || strings.Count(list, "#EXT-X-STREAM-INF") != 1 || !strings.Contains(list, "-480.m3u8") || strings.Count(list, "TYPE=SUBTITLES") != 2 || strings.Count(list, "TYPE=AUDIO") != 1 {
		t.Fatalf("status %d:\n%s", r.status, list)
	}
	tag := r.header.Get("ETag")
	if !strings.HasPrefix(tag, `"720p-`) || r.header.Get("Last-Modified") != "" || r.header.Get("Content-Length") != strconv.Itoa(len(list)) {
		t.Errorf("%v", r.header)
	}
	if again := tb.get(master, "If-None-Match", tag); again.status != http.StatusNotModified || again.header.Get("ETag") != tag {
		t.Errorf("with the tag that was sent: %d %v", again.status, again.header)
	}
	if part := tb.get(master, "Range", "bytes=5-9"); part.status != http.StatusOK || string(part.body) != list {
		t.Errorf("a part of a short playlist: %d", part.status)
	}
	if head := tb.do(http.MethodHead, master, nil); head.header.Get("ETag") != tag || head.header.Get("Content-Length") != strconv.Itoa(len(list)) {
		t.Errorf("by HEAD: %v", head.header)
	}
	tb.wantAsked(1)
	// The playlist as the site sent it is no answer to who has the rewritten one.
	tb.world.site.Rendition = 240
	if other := tb.get(master, "If-None-Match", tag); other.status != http.StatusOK || !strings.Contains(string(other.body), "-240.m3u8") {
		t.Errorf("after another height was set: %d\n%s", other.status, other.body)
	}
	tb.lineDown()
	if off := tb.get(master); !strings.Contains(string(off.body), "-240.m3u8") {
		t.Errorf("without a line: %d\n%s", off.status, off.body)
	}
}

func TestOtherPlaylistsAreSentAsTheyAre(t *testing.T) {
	tb, master := newClassTube(t)
	original := httptest.NewRecorder()
	tb.site.ServeHTTP(original, httptest.NewRequest(http.MethodGet, master, nil))
	same := func(what string, r reply) {
		t.Helper()
		if r.status != http.StatusOK || string(r.body) != original.Body.String() || strings.Contains(r.header.Get("ETag"), "720p") {
			t.Errorf("%s: %d %v\n%s", what, r.status, r.header, r.body)
		}
	}
	same("to who wants it as it is", tb.get(master, "Cache-Control", "no-transform"))
	peer := httptest.NewRecorder()
	tb.edge.Peers().ServeHTTP(peer, httptest.NewRequest(http.MethodGet, tb.front.URL+master, nil))
	same("to another box", reply{status: peer.Code, header: peer.Header(), body: peer.Body.Bytes()})
	neighbour := httptest.NewRecorder()
	tb.edge.Neighbours().ServeHTTP(neighbour, httptest.NewRequest(http.MethodGet, tb.front.URL+master, nil))
	same("to a neighbour", reply{status: neighbour.Code, header: neighbour.Header(), body: neighbour.Body.Bytes()})
	tb.world.site.Rendition = 0
	same("to a class that chooses", tb.get(master))

	tb.world.site.Rendition = 720
	list := strings.Replace(master, "-master.m3u8", "-480.m3u8", 1)
	if r := tb.get(list); r.status != http.StatusOK || !strings.Contains(string(r.body), "#EXT-X-BYTERANGE") || strings.Contains(r.header.Get("ETag"), "720p") {
		t.Errorf("the playlist of a rendition: %d %v\n%s", r.status, r.header, r.body)
	}
	live := "/static/streaming-playlists/hls/" + tb.site.UUID("live") + "/0.m3u8"
	if r := tb.get(live); r.status != http.StatusOK || !strings.Contains(string(r.body), "#EXTINF") {
		t.Errorf("a live playlist: %d\n%s", r.status, r.body)
	}
}
