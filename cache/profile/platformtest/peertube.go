package platformtest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Video is a video of PeerTube. Its files' names have a UUID of their own.
type Video struct {
	UUID    string
	Private bool
	Live    bool
	Heights []int // of its renditions; 0 is the sound alone
	Pieces  int   // segments
	Piece   int   // bytes of one
	// Captions are the languages of its captions, which its master playlist names.
	Captions []string
	// Data, unless nil, is what a file holds in place of noise, and where its
	// segments begin and the last ends.
	Data func(name string) (data []byte, starts []int)
	// Length is how long a segment lasts; 4 seconds if it is not said.
	Length float64
	// Unsummed videos have no sums of their segments.
	Unsummed bool
}

// initSize is the length of what a fragmented file begins with.
const initSize = 1377

// pieceLength is how long a segment of a live stream lasts, and liveList how
// many a playlist has.
const (
	pieceLength = 2 * time.Second
	liveList    = 15
)

// PeerTube is a PeerTube, met either directly (node) or through the nginx rules
// that it comes with: their fields differ.
type PeerTube struct {
	*host
	nginx  bool
	videos map[string]*Video
	gone   map[string]*Video
	signed int
}

// NewPeerTube makes one with a public, an unlisted, a private and a live video.
func NewPeerTube(nginx bool) *PeerTube {
	p := &PeerTube{host: newHost(), nginx: nginx, videos: map[string]*Video{}, gone: map[string]*Video{}}
	p.serve = p.answer
	for _, u := range known {
		p.secretly(credential("token", u), credential("file", u), credential("password", u))
	}
	for _, name := range []string{"public", "unlisted", "private", "live"} {
		p.Add(Video{UUID: p.UUID(name), Private: name == "private", Live: name == "live", Heights: []int{480, 720}, Pieces: 4, Piece: 3000})
	}
	return p
}

// UUID is that of one of the videos that are there from the beginning: public,
// unlisted, private, live.
func (p *PeerTube) UUID(name string) string { return uuid("video", name) }

func uuid(parts ...string) string {
	s := short(parts...) + short(append(parts, "more")...)
	return s[:8] + "-" + s[8:12] + "-4" + s[13:16] + "-a" + s[17:20] + "-" + s[20:32]
}

// Add adds a video.
func (p *PeerTube) Add(v Video) { p.do(func() { p.videos[v.UUID] = &v }) }

// Files is what the names of a video's files begin with.
func (p *PeerTube) Files(id string) string { return uuid("files", id) }

// Sums is the name of the file with the sums of a video's segments. It has an
// identifier of its own, which only the API tells.
func (p *PeerTube) Sums(id string) string { return uuid("sums", id) + "-segments-sha256.json" }

// Places implements Platform.
func (p *PeerTube) Places(user string) []string {
	var out []string
	for _, name := range []string{"public", "unlisted", "private"} {
		id, sub := p.UUID(name), ""
		if name == "private" {
			sub = "private/"
		}
		f := p.Files(id)
		hls, web := "/static/streaming-playlists/hls/"+sub+id+"/"+f, "/static/web-videos/"+sub+f
		out = append(
			out, hls+"-master.m3u8", hls+"-720.m3u8", hls+"-720-fragmented.mp4", hls+"-480-fragmented.mp4", hls[:len(hls)-len(f)]+p.Sums(id), web+"-720.mp4",
			"/download/web-videos/"+f+"-720.mp4", "/download/streaming-playlists/hls/videos/"+f+"-720-fragmented.mp4", "/api/v1/videos/"+id, "/w/"+id,
		)
		if sub != "" {
			out = append(out, "/object-storage-proxy/streaming-playlists/hls/"+sub+id+"/"+f+"-720-fragmented.mp4", hls+"-master.m3u8?reinjectVideoFileToken=true",
				"/static/streaming-playlists/hls/"+id+"/"+f+"-720-fragmented.mp4", "/static/web-videos/"+f+"-720.mp4")
		}
	}
	live := "/static/streaming-playlists/hls/" + p.UUID("live") + "/"
	at := int(p.now().Sub(p.begun) / pieceLength)
	return append(
		out, live+"master.m3u8", live+"0.m3u8", live+fmt.Sprintf("0-%06d.ts", at), live+fmt.Sprintf("0-%06d.ts", at+1),
		"/lazy-static/thumbnails/a.jpg", "/lazy-static/previews/a.jpg", "/lazy-static/avatars/"+user+".png", "/lazy-static/video-captions/a-fr.vtt",
		"/lazy-static/storyboards/a.jpg", "/lazy-static/torrents/a.torrent", "/client/main.a1b2.js", "/api/v1/users/me", "/api/v1/videos", "/feeds/videos.xml", "/",
		"/api/v1/users/me/notifications", "/static/redundancy/hls/a.mp4",
	)
}

// Ways implements Platform.
func (p *PeerTube) Ways(user string) []Way {
	token := way("token of a file")
	token.Query = "videoFileToken=" + credential("file", user)
	return []Way{{}, way("bearer", "Authorization", "Bearer "+credential("token", user)), token, way("password", "x-peertube-video-password", credential("password", user)), way("counter", "Cookie", "_pk_id=1")}
}

// Happenings implements Platform.
func (p *PeerTube) Happenings() []Happening {
	id := p.UUID("public")
	return []Happening{
		{"video deleted", func() {
			p.do(func() {
				if v := p.videos[id]; v != nil {
					p.gone[id] = v
					delete(p.videos, id)
				}
			})
		}},
		{"video back", func() {
			p.do(func() {
				if v := p.gone[id]; v != nil {
					p.videos[id] = v
				}
			})
		}},
		{"video made private", func() { p.do(func() { p.change(id, true) }) }},
		{"video made public", func() { p.do(func() { p.change(id, false) }) }},
	}
}

func (p *PeerTube) change(id string, private bool) {
	if v := p.videos[id]; v != nil {
		next := *v
		next.Private = private
		p.videos[id] = &next
	}
}

// whose finds who asks.
func (p *PeerTube) whose(r *http.Request) (user, by string) {
	if u := bearer(r); u != "" {
		return u, "bearer"
	}
	if u := whose("file", r.URL.Query().Get("videoFileToken")); u != "" {
		return u, "query"
	}
	if u := whose("password", r.Header.Get("X-Peertube-Video-Password")); u != "" {
		return u, "header"
	}
	return "", ""
}

func (p *PeerTube) answer(a *answer, r *http.Request) {
	a.set("Access-Control-Allow-Origin", "*")
	path := r.URL.Path
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasPrefix(path, "/api/"):
		a.json(http.StatusNotFound, map[string]string{"error": "Not Found"})
	case strings.HasPrefix(path, "/static/"), strings.HasPrefix(path, "/object-storage-proxy/"):
		p.static(a, r, strings.TrimPrefix(strings.TrimPrefix(path, "/object-storage-proxy/"), "/static/"))
	case strings.HasPrefix(path, "/download/"):
		p.download(a, r, path[strings.LastIndexByte(path, '/')+1:])
	default:
		p.pages(a, r, path)
	}
}

// static answers for files of videos: /static/KIND[/private]/….
func (p *PeerTube) static(a *answer, r *http.Request, rest string) {
	rest, isHLS := strings.CutPrefix(rest, "streaming-playlists/hls/")
	rest, isWeb := strings.CutPrefix(rest, "web-videos/")
	if isHLS == isWeb {
		a.json(http.StatusNotFound, map[string]string{"error": "Not Found"})
		return
	}
	rest, private := strings.CutPrefix(rest, "private/")
	name := rest[strings.LastIndexByte(rest, '/')+1:]
	v := p.find(rest, name)
	if private {
		user, by := p.whose(r)
		if v == nil || user == "" {
			a.json(http.StatusForbidden, map[string]any{"error": "Cannot access the file", "status": 403})
			return
		}
		a.own(user, by)
	}
	if v == nil || v.Private != private {
		a.Header().Del(Private)
		a.as, a.by = "", ""
		a.json(http.StatusNotFound, map[string]string{"error": "Not Found"})
		return
	}
	p.file(a, r, v, name)
}

// find is the video that a file is of, by the UUID of its folder or its own.
func (p *PeerTube) find(rest, name string) (v *Video) {
	folder, _, ok := strings.Cut(rest, "/")
	p.do(func() {
		if ok {
			v = p.videos[folder]
			return
		}
		for id, video := range p.videos {
			if strings.HasPrefix(name, uuid("files", id)) {
				v = video
			}
		}
	})
	return v
}

// file sends one of a video's files.
func (p *PeerTube) file(a *answer, r *http.Request, v *Video, name string) {
	data, kind, modified := p.data(r, v, name, a.as)
	if data == nil {
		a.json(http.StatusNotFound, map[string]string{"error": "Not Found"})
		return
	}
	a.set("Content-Type", kind)
	how := ranges{}
	version := modified.String()
	if strings.HasPrefix(kind, "application/json") { // made anew with the files that it is about
		version += string(data)
	}
	if p.nginx {
		a.set("ETag", strong(name, a.as, version))
	} else {
		a.set("ETag", weak(name, a.as, version), "Cache-Control", "public, max-age=0")
		how.single = true
	}
	a.content(r, data, modified, how)
}

// download sends a file with a name, or leads to a presigned address of an
// object store, which is another each time.
func (p *PeerTube) download(a *answer, r *http.Request, name string) {
	v := p.find("", name)
	user, by := p.whose(r)
	if v == nil || v.Private && user == "" {
		a.json(http.StatusForbidden, map[string]string{"error": "Cannot download"})
		return
	}
	if v.Private {
		a.own(user, by)
	}
	if strings.Contains(r.URL.Path, "/hls/") {
		p.do(func() { p.signed++ })
		sign := short("signed", fmt.Sprint(p.signed), a.as)
		p.secretly(sign)
		q := url.Values{"X-Amz-Expires": {"3600"}, "X-Amz-Signature": {sign}, "response-content-disposition": {`attachment; filename="` + name + `"`}}
		if a.as != "" {
			q.Set("who", Marker(a.as))
		}
		a.redirect(http.StatusFound, "https://videos.s3.example.org/"+name+"?"+q.Encode())
		return
	}
	a.set("Content-Disposition", disposition(name))
	p.file(a, r, v, name)
}
