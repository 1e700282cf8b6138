package platformtest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// data makes the content of one of a video's files.
func (p *PeerTube) data(r *http.Request, v *Video, name, user string) (data []byte, kind string, modified time.Time) {
	modified = p.begun.Add(-24 * time.Hour).Truncate(time.Second)
	if v.Live {
		return p.live(v, name)
	}
	base := uuid("files", v.UUID)
	if name == p.Sums(v.UUID) && !v.Unsummed {
		return v.allSums(base), "application/json; charset=utf-8", modified
	}
	rest, ok := strings.CutPrefix(name, base)
	if !ok {
		return nil, "", modified
	}
	token := ""
	if r.URL.Query().Get("reinjectVideoFileToken") == "true" && user != "" {
		token = "?videoFileToken=" + credential("file", user) + "&reinjectVideoFileToken=true"
	}
	switch height, what, _ := strings.Cut(strings.TrimPrefix(rest, "-"), "-"); {
	case rest == "-master.m3u8":
		return v.master(base, token), "application/vnd.apple.mpegurl", modified
	case strings.HasSuffix(height, ".m3u8") && what == "" && v.has(strings.TrimSuffix(height, ".m3u8")):
		return v.playlist(base, strings.TrimSuffix(height, ".m3u8"), token), "application/vnd.apple.mpegurl", modified
	case what == "fragmented.mp4" && v.has(height):
		data, _ := v.fragmented(name)
		return data, "video/mp4", modified
	case strings.HasSuffix(height, ".mp4") && what == "" && v.has(strings.TrimSuffix(height, ".mp4")):
		data, _ := v.fragmented(name)
		return data, "video/mp4", modified
	}
	return nil, "", modified
}

// streaming is what the API says of where a video's playlists are.
func (p *PeerTube) streaming(r *http.Request, v *Video) []map[string]string {
	folder := "https://" + r.Host + "/static/streaming-playlists/hls/"
	if v.Private {
		folder += "private/"
	}
	folder += v.UUID + "/"
	list := map[string]string{"playlistUrl": folder + uuid("files", v.UUID) + "-master.m3u8", "segmentsSha256Url": folder + p.Sums(v.UUID)}
	if v.Live {
		list["playlistUrl"], list["segmentsSha256Url"] = folder+"master.m3u8", folder+"segments-sha256.json"
	}
	return []map[string]string{list}
}

// live makes files of a stream that goes on: a playlist of the latest segments,
// and those; older ones are gone.
func (p *PeerTube) live(v *Video, name string) (data []byte, kind string, modified time.Time) {
	at := int(p.now().Sub(p.begun) / pieceLength)
	first := max(0, at-liveList+1)
	modified = p.begun.Add(time.Duration(at) * pieceLength).Truncate(time.Second)
	var n int
	switch _, err := fmt.Sscanf(name, "0-%06d.ts", &n); {
	case name == "master.m3u8":
		return []byte("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-STREAM-INF:BANDWIDTH=1200000\n0.m3u8\n"), "application/vnd.apple.mpegurl", p.begun.Truncate(time.Second)
	case name == "0.m3u8":
		var b strings.Builder
		fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n", first)
		for i := first; i <= at; i++ {
			fmt.Fprintf(&b, "#EXTINF:2.000000,\n0-%06d.ts\n", i)
		}
		return []byte(b.String()), "application/vnd.apple.mpegurl", modified
	case err == nil && n >= first && n <= at:
		return Noise(v.Piece, uint64(n)), "video/mp2t", p.begun.Add(time.Duration(n) * pieceLength).Truncate(time.Second)
	}
	return nil, "", modified
}

// pages answers what is no file of a video.
func (p *PeerTube) pages(a *answer, r *http.Request, path string) {
	fixed := func(cc, kind string) {
		a.set("Cache-Control", cc, "Content-Type", kind, "ETag", weak(path))
		a.content(r, Noise(1500, uint64(len(path))), p.begun.Truncate(time.Second), ranges{single: true})
	}
	switch {
	case strings.HasPrefix(path, "/lazy-static/torrents/"):
		fixed("public, max-age=7200", "application/x-bittorrent")
	case strings.HasPrefix(path, "/lazy-static/"):
		fixed("public, max-age=172800", "image/jpeg")
	case strings.HasPrefix(path, "/client/"):
		if p.nginx {
			fixed("public, max-age=31536000, immutable", "application/javascript")
			return
		}
		fixed("public, max-age=2592000", "application/javascript")
	case strings.HasPrefix(path, "/feeds/"):
		a.set("Cache-Control", "max-age=900", "ETag", weak(path))
		a.text(http.StatusOK, "application/rss+xml", "<rss/>")
	case strings.HasPrefix(path, "/api/v1/"):
		p.api(a, r, strings.TrimPrefix(path, "/api/v1/"))
	case path == "/" || strings.HasPrefix(path, "/w/"):
		a.set("Cache-Control", "max-age=0, no-cache, must-revalidate")
		a.html(http.StatusOK, "PeerTube")
	default:
		a.json(http.StatusNotFound, map[string]string{"error": "Not Found"})
	}
}

// api answers with weak tags and no word about caching.
func (p *PeerTube) api(a *answer, r *http.Request, rest string) {
	user, by := p.whose(r)
	if by == "query" {
		user = ""
	}
	id, isVideo := strings.CutPrefix(rest, "videos/")
	switch {
	case strings.HasPrefix(rest, "users/me"):
		if user == "" {
			a.json(http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
			return
		}
		a.own(user, by)
		a.set("ETag", weak("me", user))
		a.json(http.StatusOK, map[string]string{"username": user})
	case isVideo:
		v := p.find(id+"/", "")
		if v == nil || v.Private && user == "" {
			a.json(http.StatusNotFound, map[string]string{"error": "Video not found"})
			return
		}
		if user != "" { // their history and ratings are in it
			a.own(user, by)
		}
		a.set("ETag", weak(id, user))
		a.json(http.StatusOK, map[string]any{"uuid": id, "isLive": v.Live, "streamingPlaylists": p.streaming(r, v)})
	default:
		if user != "" {
			a.own(user, by)
		}
		a.set("ETag", weak(rest, user))
		a.json(http.StatusOK, map[string]any{"total": 1, "data": []string{p.UUID("public")}})
	}
}
