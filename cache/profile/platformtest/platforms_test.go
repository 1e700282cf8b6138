package platformtest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/cache/profile/platformtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// platforms are all of them.
func platforms() map[string]platformtest.Platform {
	return map[string]platformtest.Platform{
		"nextcloud 29": platformtest.NewNextcloud(29), "nextcloud 31": platformtest.NewNextcloud(31),
		"peertube": platformtest.NewPeerTube(false), "peertube by nginx": platformtest.NewPeerTube(true), "etherpad": platformtest.NewEtherpad(),
		"discourse": platformtest.NewDiscourse(), "wordpress": platformtest.NewWordPress(), "jitsi": platformtest.NewJitsi(), "kiwix": platformtest.NewKiwix(),
		"s3": platformtest.NewS3(), "plain": platformtest.NewPlain(),
	}
}

// TestWhatIsSomebodysSaysSo: at every place and in every way, a user gets either
// what nobody in particular gets, or what has their marker and nobody else's, in
// the body and in a field.
func TestWhatIsSomebodysSaysSo(t *testing.T) {
	for name, p := range platforms() {
		t.Run(name, func(t *testing.T) {
			if n, ok := p.(interface{ SetGuesses(int) }); ok {
				n.SetGuesses(0)
			}
			if e, ok := p.(interface{ SetLimit(int) }); ok {
				e.SetLimit(0)
			}
			own, places := 0, 0
			users := []string{platformtest.Ann, platformtest.Bob}
			if testing.Short() {
				users = users[:1]
			}
			for _, user := range users {
				for _, place := range p.Places(user) {
					for _, way := range p.Ways(user) {
						target := place
						if way.Query != "" {
							sep := "?"
							if strings.Contains(place, "?") {
								sep = "&"
							}
							target += sep + way.Query
						}
						r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
						r.Header = way.Header.Clone()
						w := httptest.NewRecorder()
						p.ServeHTTP(w, r)
						places++
						field := w.Header().Get(platformtest.Private)
						for _, m := range platformtest.Markers(w.Body.Bytes()) {
							if !strings.Contains(m, "-session-") && m != field {
								t.Errorf("%s, %s: %s in the body, %q in the field", target, way.Name, m, field)
							}
						}
						if field == "" {
							continue
						}
						own++
						if named := platformtest.Marker(user); field != named && !slices.ContainsFunc(way.Also, func(u string) bool { return field == platformtest.Marker(u) }) {
							t.Errorf("%s, %s: %s got what is %s", target, way.Name, user, field)
						}
						if w.Code != http.StatusNotModified && w.Code/100 != 3 && w.Header().Get("Content-Encoding") == "" && !bytes.Contains(w.Body.Bytes(), []byte(field)) {
							t.Errorf("%s, %s: %d has no marker in its body", target, way.Name, w.Code)
						}
					}
				}
			}
			if own < 2 {
				t.Errorf("of %d answers %d were somebody's own", places, own)
			}
			if got := p.Requests(); len(got) != places {
				t.Errorf("%d requests are in the log, %d were made", len(got), places)
			}
			for _, h := range p.Happenings() {
				h.Do()
			}
			for _, place := range p.Places(platformtest.Ann) {
				ask(p, http.MethodGet, place)
			}
		})
	}
}

func TestPeerTube(t *testing.T) {
	node, nginx := platformtest.NewPeerTube(false), platformtest.NewPeerTube(true)
	id, private := node.UUID("public"), node.UUID("private")
	hls := "/static/streaming-playlists/hls/" + id + "/" + node.Files(id)
	secret := "/static/streaming-playlists/hls/private/" + private + "/" + node.Files(private)
	bearer := authOf(t, node, "bearer")
	mine := platformtest.Marker(platformtest.Ann)
	check(t, node, map[string]row{
		"playlist":         {hls + "-720.m3u8", nil, "", 200, []string{"Cache-Control", "public, max-age=0", "Etag", "weak", "Accept-Ranges", "bytes", "Access-Control-Allow-Origin", "*"}, 0, "#EXT-X-BYTERANGE:"},
		"several ranges":   {hls + "-720-fragmented.mp4", []string{"Range", "bytes=0-9,20-29"}, "", 200, nil, 0, ""},
		"a range":          {hls + "-720-fragmented.mp4", []string{"Range", "bytes=0-9"}, "", 206, nil, 0, ""},
		"weak If-Range":    {hls + "-720-fragmented.mp4", []string{"Range", "bytes=0-9", "If-Range", `W/"x"`}, "", 200, nil, 0, ""},
		"private, nobody":  {secret + "-720-fragmented.mp4", nil, "", 403, []string{"Cache-Control", "-", "Access-Control-Allow-Origin", "*"}, 0, ""},
		"private, bearer":  {secret + "-720-fragmented.mp4", []string{"Authorization", bearer}, "", 200, []string{"Cache-Control", "public, max-age=0", "X-Private", mine}, 0, mine},
		"download":         {"/download/web-videos/" + node.Files(id) + "-720.mp4", nil, "", 200, []string{"Cache-Control", "public, max-age=0", "Content-Disposition", "*"}, 0, ""},
		"download, signed": {"/download/streaming-playlists/hls/videos/" + node.Files(id) + "-720-fragmented.mp4", nil, "", 302, []string{"Location", "*"}, 0, ""},
		"thumbnail":        {"/lazy-static/thumbnails/a.jpg", nil, "", 200, []string{"Cache-Control", "public, max-age=172800"}, 0, ""},
		"torrent":          {"/lazy-static/torrents/a.torrent", nil, "", 200, []string{"Cache-Control", "public, max-age=7200"}, 0, ""},
		"client":           {"/client/a.js", nil, "", 200, []string{"Cache-Control", "public, max-age=2592000"}, 0, ""},
		"api":              {"/api/v1/videos", nil, "", 200, []string{"Cache-Control", "-", "Etag", "weak"}, 0, ""},
		"feed":             {"/feeds/videos.xml", nil, "", 200, []string{"Cache-Control", "max-age=900"}, 0, ""},
	})
	check(t, nginx, map[string]row{
		"playlist":       {hls + "-720.m3u8", nil, "", 200, []string{"Cache-Control", "-", "Etag", "strong", "Last-Modified", "*"}, 0, ""},
		"several ranges": {hls + "-720-fragmented.mp4", []string{"Range", "bytes=0-9,20-29"}, "", 206, nil, 0, "--"},
		"client":         {"/client/a.js", nil, "", 200, []string{"Cache-Control", "public, max-age=31536000, immutable"}, 0, ""},
	})
	if a, b := ask(node, http.MethodGet, "/download/streaming-playlists/hls/videos/"+node.Files(id)+"-720-fragmented.mp4"), ask(node, http.MethodGet, "/download/streaming-playlists/hls/videos/"+node.Files(id)+"-720-fragmented.mp4"); a.Header.Get("Location") == b.Header.Get("Location") {
		t.Error("the same address was signed twice")
	}
}

func TestSumsAreThoseOfThePieces(t *testing.T) {
	p := platformtest.NewPeerTube(true)
	id := p.UUID("public")
	base := "/static/streaming-playlists/hls/" + id + "/"
	var sums map[string]map[string]string
	if err := json.NewDecoder(ask(p, http.MethodGet, base+p.Sums(id)).Body).Decode(&sums); err != nil {
		t.Fatal(err)
	}
	pieces := 0
	for file, of := range sums {
		for span, want := range of {
			resp := ask(p, http.MethodGet, base+file, "Range", "bytes="+span)
			body, err := io.ReadAll(resp.Body)
			if sum := sha256.Sum256(body); err != nil || resp.StatusCode != 206 || hex.EncodeToString(sum[:]) != want {
				t.Errorf("%s %s: status %d, another sum", file, span, resp.StatusCode)
			}
			pieces++
		}
	}
	if pieces != 8 {
		t.Errorf("%d pieces", pieces)
	}
}

func TestALiveStreamRolls(t *testing.T) {
	p := platformtest.NewPeerTube(false)
	now := time.Now()
	p.SetClock(func() time.Time { return now })
	base := "/static/streaming-playlists/hls/" + p.UUID("live") + "/"
	list := func() string {
		b, err := io.ReadAll(ask(p, http.MethodGet, base+"0.m3u8").Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	last := func(l string) string { return strings.TrimSpace(l[strings.LastIndex(strings.TrimSpace(l), "\n")+1:]) }
	first := list()
	now = now.Add(40 * time.Second)
	second := list()
	if first == second || strings.Count(second, "#EXTINF") != 15 {
		t.Errorf("after 40 s: %s", second)
	}
	if got := ask(p, http.MethodGet, base+last(second)).StatusCode; got != 200 {
		t.Errorf("the latest: %d", got)
	}
	if got := ask(p, http.MethodGet, base+last(first)).StatusCode; got != 404 {
		t.Errorf("an old one: %d", got)
	}
}

func TestEtherpad(t *testing.T) {
	e := platformtest.NewEtherpad()
	check(t, e, map[string]row{
		"pad":          {"/p/" + e.Pad(), nil, "", 200, []string{"Etag", "weak", "Cache-Control", "-"}, 0, ""},
		"static":       {"/static/css/pad.css", nil, "", 200, []string{"Cache-Control", "max-age=21600", "Expires", "*", "Last-Modified", "*", "Etag", "-"}, 0, ""},
		"locales":      {"/locales.json", nil, "", 200, []string{"Cache-Control", "public, max-age=21600", "Etag", "weak"}, 0, ""},
		"export":       {"/p/" + e.ReadOnly() + "/export/txt", nil, "", 200, []string{"Etag", "weak", "Cache-Control", "-", "Content-Disposition", "*", "Access-Control-Allow-Origin", "*"}, 0, "Bonjour à tous"},
		"of the first": {"/p/" + e.Pad() + "/0/export/html", nil, "", 200, nil, 0, "Bonjour"},
		"group":        {"/p/" + e.Group() + "/export/txt", nil, "", 403, nil, 0, ""},
		"poll":         {"/socket.io/?EIO=4&transport=polling", nil, "", 200, []string{"Cache-Control", "no-store"}, 0, "only-for-session"},
		"favicon":      {"/favicon.ico", nil, "", 200, []string{"Cache-Control", "public, max-age=21600", "Accept-Ranges", "bytes"}, 0, ""},
	})
	now := time.Now()
	e.SetClock(func() time.Time { return now })
	got := map[int]int{}
	for range 12 {
		got[ask(e, http.MethodGet, "/p/"+e.Pad()+"/export/txt").StatusCode]++
	}
	if got[429] < 2 {
		t.Errorf("12 exports more: %v", got)
	}
	now = now.Add(2 * time.Minute)
	if code := ask(e, http.MethodGet, "/p/"+e.Pad()+"/export/txt").StatusCode; code != 200 {
		t.Errorf("two minutes later: %d", code)
	}
}

func TestTheOthers(t *testing.T) {
	w := platformtest.NewWordPress()
	mine := platformtest.Marker(platformtest.Ann)
	check(t, w, map[string]row{
		"front":     {"/", nil, "", 200, []string{"Cache-Control", "-", "Vary", "-", "Etag", "-"}, 0, ""},
		"logged in": {"/", []string{"Cookie", cookieOf(t, w, "login")}, "", 200, []string{"Cache-Control", "no-cache, must-revalidate, max-age=0", "Vary", "-"}, 0, mine},
		"commenter": {"/", []string{"Cookie", cookieOf(t, w, "commenter")}, "", 200, []string{"Cache-Control", "-", "Vary", "-"}, 0, mine},
		"password":  {"/2026/11/secret/", []string{"Cookie", cookieOf(t, w, "post password")}, "", 200, []string{"Cache-Control", "-"}, 0, mine},
		"media":     {"/wp-content/uploads/2026/11/photo.jpg", nil, "", 200, []string{"Cache-Control", "max-age=315360000", "Etag", "strong", "Accept-Ranges", "bytes"}, 0, ""},
		"feed":      {"/feed/", nil, "", 200, []string{"Etag", "strong", "Last-Modified", "*"}, 0, ""},
		"none":      {"/never/", nil, "", 404, []string{"Cache-Control", "no-cache, must-revalidate, max-age=0"}, 0, ""},
		"comment":   {"/wp-comments-post.php", nil, http.MethodPost, 302, nil, 1, ""},
	})
	d := platformtest.NewDiscourse()
	check(t, d, map[string]row{
		"upload":                  {"/uploads/default/original/1X/a1b2.png", nil, "", 200, []string{"Cache-Control", "public,immutable, max-age=31536000", "Etag", "-", "Last-Modified", "*"}, 0, ""},
		"attachment, nobody":      {"/uploads/default/original/1X/devoir.pdf", nil, "", 404, nil, 0, ""},
		"attachment, a member":    {"/uploads/default/original/1X/devoir.pdf", []string{"Cookie", cookieOf(t, d, "login")}, "", 200, []string{"Cache-Control", "public,immutable, max-age=31536000"}, 0, mine},
		"secure, a member":        {"/secure-uploads/original/1X/private.png", []string{"Cookie", cookieOf(t, d, "login")}, "", 302, []string{"Location", "*"}, 0, ""},
		"topic with a session":    {"/t/sujet/1", nil, "", 200, []string{"Cache-Control", "no-cache, no-store"}, 1, ""},
		"the page of who is here": {"/session/current.json", []string{"Cookie", cookieOf(t, d, "login")}, "", 200, nil, 0, mine},
	})
	j := platformtest.NewJitsi()
	check(t, j, map[string]row{
		"versioned":   {"/libs/app.bundle.min.js?v=1", nil, "", 200, []string{"Cache-Control", "max-age=31536000", "Etag", "strong", "Access-Control-Allow-Origin", "*"}, 0, ""},
		"unversioned": {"/libs/app.bundle.min.js", nil, "", 200, []string{"Cache-Control", "-"}, 0, ""},
		"config":      {"/config.js", nil, "", 200, []string{"Cache-Control", "-"}, 0, ""},
		"room":        {"/" + j.Room(), nil, "", 200, []string{"Cache-Control", "-"}, 0, ""},
		"websocket":   {"/xmpp-websocket", nil, "", 400, nil, 0, ""},
	})
	k := platformtest.NewKiwix()
	lyon, paris := ask(k, http.MethodGet, "/wikipedia_fr/A/Lyon"), ask(k, http.MethodGet, "/wikipedia_fr/A/Paris")
	if tag := lyon.Header.Get("ETag"); tag == "" || tag != paris.Header.Get("ETag") || lyon.Header.Get("Cache-Control") != "max-age=2723040, public" {
		t.Errorf("%v, %v", lyon.Header, paris.Header)
	}
	k.Restart()
	if got := ask(k, http.MethodGet, "/wikipedia_fr/A/Lyon"); got.Header.Get("ETag") == lyon.Header.Get("ETag") {
		t.Error("the same tag after a restart")
	}
	s := platformtest.NewS3()
	check(t, s, map[string]row{
		"public":    {"/public/image.png", nil, "", 200, []string{"Etag", "strong", "Accept-Ranges", "bytes", "Cache-Control", "-"}, 0, ""},
		"private":   {"/private/lettre.pdf", nil, "", 403, nil, 0, "AccessDenied"},
		"none":      {"/public/never.png", nil, "", 404, nil, 0, "NoSuchKey"},
		"presigned": {"/private/lettre.pdf?" + queryOf(t, s, "presigned"), nil, "", 200, []string{"X-Private", mine}, 0, mine},
		"forged":    {"/private/lettre.pdf?X-Amz-Signature=" + url.QueryEscape("x"), nil, "", 403, nil, 0, ""},
	})
}

func queryOf(t *testing.T, p platformtest.Platform, name string) string {
	t.Helper()
	for _, w := range p.Ways(platformtest.Ann) {
		if w.Name == name {
			return w.Query
		}
	}
	t.Fatalf("no way %q", name)
	return ""
}

// TestWebSocketsAreAccepted over a real connection, as is a poll that waits.
func TestWebSocketsAreAccepted(t *testing.T) {
	j := platformtest.NewJitsi()
	s := httptest.NewServer(j)
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/xmpp-websocket", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Version": {"13"}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("status %d, %v", resp.StatusCode, resp.Header)
	}
	both := resp.Body.(io.ReadWriteCloser)
	if _, err := fmt.Fprint(both, "frame"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(both, got); err != nil || string(got) != "frame" {
		t.Errorf("%q, %v", got, err)
	}
	if err := both.Close(); err != nil {
		t.Error(err)
	}
	begun := time.Now()
	if req, err = http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/http-bind", strings.NewReader("<body/>")); err != nil {
		t.Fatal(err)
	}
	poll, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = poll.Body.Close() }()
	if poll.StatusCode != 200 || time.Since(begun) < 900*time.Millisecond {
		t.Errorf("a poll: %d after %s", poll.StatusCode, time.Since(begun))
	}
}
