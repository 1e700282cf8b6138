package lesson

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

var watchPath = regexp.MustCompile(`^/(?:w|videos/watch|videos/embed)/([0-9A-Za-z-]{6,64})/?(?:;.*)?$`)

// watchID is the identifier in the address of a video's page.
func watchID(path string) string {
	if m := watchPath.FindStringSubmatch(path); m != nil {
		return m[1]
	}
	return ""
}

// film is what PeerTube's public interface tells of a video.
type film struct {
	Name    string `json:"name"`
	IsLive  bool   `json:"isLive"`
	Privacy struct {
		ID int `json:"id"`
	} `json:"privacy"`
	Playlists []struct {
		URL   string `json:"playlistUrl"`
		Files []struct {
			Size       int64 `json:"size"`
			Resolution struct {
				ID int `json:"id"`
			} `json:"resolution"`
		} `json:"files"`
	} `json:"streamingPlaylists"`
	Files []struct {
		Size       int64  `json:"size"`
		URL        string `json:"fileUrl"`
		Resolution struct {
			ID int `json:"id"`
		} `json:"resolution"`
	} `json:"files"`
	Preview string `json:"previewPath"`
}

// PeerTube's kinds of privacy that everybody who has the address may see.
const (
	privacyPublic   = 1
	privacyUnlisted = 2
)

// video finds what a video's page plays, and brings it at one size.
func (j *job) video(ctx context.Context, place Place, id string) error {
	a, err := j.ask(ctx, question{place: j.p.parts.Sites.at(place, "/api/v1/videos/"+id, ""), document: true})
	if err != nil && (a == nil || a.status == 0) {
		if !j.p.parts.Line.Up(place.Site) {
			return later(ReasonLine)
		}
		return later(ReasonTrouble)
	}
	switch {
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return cannot(ReasonGone)
	case a.status == http.StatusForbidden && bytes.Contains(a.document, []byte("password")):
		return cannot(ReasonPassword)
	case a.status == http.StatusForbidden || a.status == http.StatusUnauthorized:
		return cannot(ReasonPrivate)
	case a.status != http.StatusOK && !j.p.parts.Line.Up(place.Site):
		return later(ReasonLine)
	case a.status != http.StatusOK:
		return later(ReasonTrouble)
	}
	var f film
	if err := json.Unmarshal(a.document, &f); err != nil {
		return later(ReasonTrouble)
	}
	if text(f.Name, 4*maxText) {
		j.out.title = f.Name
	}
	switch {
	case f.IsLive:
		return cannot(ReasonLive)
	case f.Privacy.ID != privacyPublic && f.Privacy.ID != privacyUnlisted:
		return cannot(ReasonPrivate)
	}
	if len(f.Playlists) > 0 {
		list := f.Playlists[0]
		at, ok := j.p.parts.Sites.from(place, list.URL)
		if !ok {
			return cannot(ReasonNotSite)
		}
		heights := make([]int, len(list.Files))
		for i, file := range list.Files {
			heights[i] = file.Resolution.ID
		}
		if i := j.size(heights); i >= 0 {
			j.out.bytes = list.Files[i].Size
			j.p.known(j.it, j.out.bytes)
		}
		return j.playlist(ctx, at, heightOf(heights, j.size(heights)))
	}
	heights := make([]int, len(f.Files))
	for i, file := range f.Files {
		heights[i] = file.Resolution.ID
	}
	i := j.size(heights)
	if i < 0 {
		return cannot(ReasonNever)
	}
	at, ok := j.p.parts.Sites.from(place, f.Files[i].URL)
	if !ok {
		return cannot(ReasonNotSite)
	}
	j.out.bytes, j.out.url = f.Files[i].Size, at.URL()
	a, err = j.need(ctx, at, false)
	if err == nil {
		j.out.kind = a.header.Get("Content-Type")
	}
	return err
}

func heightOf(heights []int, i int) int {
	if i < 0 {
		return -1
	}
	return heights[i]
}

// size chooses the largest picture that is small enough, or else the smallest.
// Heights of 0 are sound alone, and chosen last.
func (j *job) size(heights []int) int { return choose(heights, j.p.cfg.MaxHeight) }

func choose(heights []int, most int) int {
	best := -1
	better := func(h, b int) bool {
		switch {
		case h <= 0 || b <= 0:
			return b <= 0 && h > b
		case h <= most && b <= most:
			return h > b
		case h > most && b > most:
			return h < b
		}
		return h <= most
	}
	for i, h := range heights {
		if best < 0 || better(h, heights[best]) {
			best = i
		}
	}
	return best
}

// playlist brings what an HLS playlist plays at one size (RFC 8216): the playlists
// and each file that they name. height is the picture's, or below 0.
func (j *job) playlist(ctx context.Context, place Place, height int) error {
	a, err := j.need(ctx, place, true)
	if err != nil {
		return err
	}
	j.out.kind, j.out.video, j.out.url = "application/vnd.apple.mpegurl", true, place.URL()
	list, err := parsePlaylist(a.document)
	if err != nil {
		return cannot(ReasonNever)
	}
	if len(list.variants) == 0 {
		return j.segments(ctx, place, list)
	}
	heights := make([]int, len(list.variants))
	for i, v := range list.variants {
		heights[i] = v.height
	}
	i := choose(heights, max(height, j.p.cfg.MaxHeight))
	for k, h := range heights {
		if h == height && height > 0 {
			i = k
		}
	}
	v := list.variants[i]
	parts := []string{v.uri}
	for _, m := range list.media {
		if m.group == v.groups[m.kind] {
			parts = append(parts, m.uri)
		}
	}
	for _, uri := range parts {
		at, ok := j.p.parts.Sites.from(place, uri)
		if !ok {
			return cannot(ReasonNotSite)
		}
		a, err := j.need(ctx, at, true)
		if err != nil {
			return err
		}
		inner, err := parsePlaylist(a.document)
		if err != nil || len(inner.variants) > 0 {
			return cannot(ReasonNever)
		}
		if err := j.segments(ctx, at, inner); err != nil {
			return err
		}
		if len(parts) == 1 {
			// A player that began with all sizes would change to one that is not here.
			j.out.url = at.URL()
		}
	}
	return nil
}

// segments brings what a media playlist names, each file once: ranges of one come
// with all of it.
func (j *job) segments(ctx context.Context, place Place, list playlist) error {
	if !list.ends {
		return cannot(ReasonLive)
	}
	var missing error
	for _, uri := range list.files {
		at, ok := j.p.parts.Sites.from(place, uri)
		if !ok {
			return cannot(ReasonNotSite)
		}
		switch _, err := j.need(ctx, at, false); {
		case errors.Is(err, errLater):
			missing = err // but all the others are looked at
		case err != nil:
			return err
		}
	}
	return missing
}

// playlist is what counts here of an HLS playlist.
type playlist struct {
	variants []variant
	media    []media
	files    []string
	ends     bool
}

type variant struct {
	uri    string
	groups map[string]string // of sound and captions, by their types
	height int
}

type media struct{ uri, kind, group string }

// mostFiles bounds the files of a playlist: six hours in pieces of four seconds.
const mostFiles = 6000

var errPlaylist = errors.New("that is no playlist")

// parsePlaylist reads a playlist (RFC 8216 section 4).
func parsePlaylist(raw []byte) (playlist, error) {
	var p playlist
	if !bytes.HasPrefix(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")), []byte("#EXTM3U")) {
		return p, errPlaylist
	}
	seen := map[string]bool{}
	file := func(uri string) {
		if uri != "" && !seen[uri] {
			seen[uri] = true
			p.files = append(p.files, uri)
		}
	}
	var next *variant
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		tag, rest, _ := strings.Cut(line, ":")
		switch {
		case line == "":
		case tag == "#EXT-X-STREAM-INF":
			at := attributes(rest)
			next = &variant{groups: map[string]string{"AUDIO": at["AUDIO"], "SUBTITLES": at["SUBTITLES"]}}
			if _, h, ok := strings.Cut(at["RESOLUTION"], "x"); ok {
				if n, err := strconv.Atoi(h); err == nil && n > 0 && n < 1<<16 {
					next.height = n
				}
			}
		case tag == "#EXT-X-MEDIA":
			if at := attributes(rest); at["URI"] != "" && at["GROUP-ID"] != "" {
				p.media = append(p.media, media{at["URI"], at["TYPE"], at["GROUP-ID"]})
			}
		case tag == "#EXT-X-MAP", tag == "#EXT-X-KEY":
			file(attributes(rest)["URI"])
		case tag == "#EXT-X-ENDLIST":
			p.ends = true
		case line[0] == '#':
		case next != nil:
			next.uri = line
			p.variants = append(p.variants, *next)
			next = nil
		default:
			file(line)
		}
		if len(p.files) > mostFiles || len(p.variants)+len(p.media) > 200 {
			return p, errPlaylist
		}
	}
	return p, lines.Err()
}

// attributes reads an attribute list (RFC 8216 section 4.2).
func attributes(s string) map[string]string {
	out := map[string]string{}
	for s != "" && len(out) < 50 {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		var value string
		if quoted, found := strings.CutPrefix(rest, `"`); found {
			value, s, ok = strings.Cut(quoted, `"`)
			if !ok {
				break
			}
			s = strings.TrimPrefix(strings.TrimSpace(s), ",")
		} else {
			value, s, _ = strings.Cut(rest, ",")
		}
		out[strings.TrimSpace(name)] = value
	}
	return out
}
