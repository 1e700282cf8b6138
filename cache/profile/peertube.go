package profile

import (
	"slices"
	"strings"
)

// What PeerTube's answers may be kept on. A public video's files stay what they
// are, but the video can be made private, which moves them away: five minutes
// until the site is asked again, by a request without a body.
var (
	peertubeVideo = terms{fresh: 5 * minute, lease: 30 * day, file: true, dated: true, waives: waiveRevalidate, refused: minute, missing: minute}
	peertubeIndex = terms{fresh: 5 * minute, lease: 30 * day, file: true, refused: minute, missing: minute}
	peertubeLive  = terms{fresh: 1e9, lease: 15e9, file: true} // a second
	peertubePiece = terms{fresh: 10e9, lease: minute, file: true}
	peertubeImage = terms{own: true, fresh: hour, most: 2 * day, lease: 30 * day, file: true, refused: minute, missing: minute}
	peertubeAsset = terms{own: true, fresh: hour, most: 365 * day, lease: 30 * day, file: true}
	peertubeFeed  = terms{own: true, fresh: 5 * minute, most: 15 * minute, lease: 7 * day, refused: minute}
)

// peertube are the rules for PeerTube, behind its own nginx rules or not. No
// video is ever listed: unlisted ones have addresses like all others.
func peertube(Adjust) platform {
	return platform{rules: []rule{
		pass("peertube-private-video", "Private and internal videos have paths of their own, and the answers to their owners say public: only the path shows what they are.",
			func(q *ask) bool {
				return strings.Contains(q.folded+"/", "/private/") && q.in("/static", "/object-storage-proxy", "/download", "/lazy-static")
			}),
		pass("peertube-object-proxy", "The proxy before the object storage is for private videos.", func(q *ask) bool { return q.in("/object-storage-proxy") }),
		pass("peertube-api", "Answers of the API depend on who asks, and hold comments and names.", func(q *ask) bool { return q.in("/api", "/socket.io", "/tracker", "/plugins", "/login", "/my-account") }),
		pass("peertube-private-download", "Exports and original files are their owner's; what is put together while it is sent differs each time.", func(q *ask) bool {
			return q.in("/download/user-exports", "/download/original-video-files", "/download/videos", "/static/original-video-files")
		}),
		share("peertube-live-playlist", "A live playlist changes every few seconds: fresh for one, so that a class is one viewer to the site.",
			func(q *ask) bool { return q.hls() && q.suffix() == "m3u8" && !q.perFile() }, peertubeLive),
		share("peertube-live-piece", "Pieces of a live stream are asked for by everybody at once and then no more; a stream that starts again uses their names again.",
			func(q *ask) bool { return q.hls() && !q.perFile() && q.media("ts", "m4s", "mp4", "json", "vtt") }, peertubePiece),
		share("peertube-playlist", "The playlist of a public video: its name has the identifier of its making.",
			func(q *ask) bool { return q.hls() && q.suffix() == "m3u8" && q.perFile() }, peertubeIndex),
		share("peertube-video", "A public video's file has the identifier of its making in its name and is written once. Node gives it a weak tag, with which pieces may not be joined (RFC 9110 section 13.1.5), and public, max-age=0; "+
			"the date of a file that is older than the answer is a strong validator (RFC 9110 section 8.8.2.2), so the weak tag is left out.",
			func(q *ask) bool {
				return (q.hls() || q.webVideo()) && q.perFile() && q.media("mp4", "webm", "ogv", "mkv", "mov", "avi", "json", "torrent")
			}, peertubeVideo),
		share("peertube-download", "A public video's file under the name that people save it by. Where it is a redirect, that is signed anew for each asker and theirs.",
			func(q *ask) bool {
				return len(q.segments) == 3 && (q.first("download", "web-videos") || q.first("download", "torrents")) ||
					len(q.segments) == 5 && q.first("download", "streaming-playlists", "hls", "videos")
			}, peertubeVideo),
		share("peertube-image", "Thumbnails, previews, captions, storyboards and torrents are the same for everybody, for two days by the platform's own word.",
			func(q *ask) bool {
				return q.first("lazy-static") && len(q.segments) == 3 && q.segments[2] != ""
			}, peertubeImage),
		share("peertube-client", "The player's own files carry a hash in their names.", func(q *ask) bool { return q.first("client") && q.static() }, peertubeAsset),
		share("peertube-feed", "Public feeds, fresh for as long as they say and a quarter of an hour at most.", func(q *ask) bool { return q.first("feeds") && len(q.segments) == 2 && !q.has("accountid") }, peertubeFeed),
		pass("peertube-other", "Pages and all that no rule names.", everything),
	}}
}

// hls reports whether the path is a file of a streaming playlist.
func (q *ask) hls() bool {
	return q.first("static", "streaming-playlists", "hls") && len(q.segments) >= 5 && hasIdentifier(q.segments[3])
}

// webVideo reports whether the path is a file of its own.
func (q *ask) webVideo() bool {
	return len(q.segments) == 3 && (q.first("static", "web-videos") || q.first("static", "webseed")) ||
		q.first("static", "redundancy") && len(q.segments) <= 5
}

// perFile reports whether the file's name has an identifier of its own.
func (q *ask) perFile() bool {
	return len(q.segments) > 0 && hasIdentifier(q.segments[len(q.segments)-1])
}

// media reports whether the path ends in one of those.
func (q *ask) media(endings ...string) bool {
	return slices.Contains(endings, q.suffix())
}

// hasIdentifier reports whether a name begins with a UUID (RFC 9562 section 4).
func hasIdentifier(name string) bool {
	if len(name) < 36 {
		return false
	}
	for i := range 36 {
		switch i {
		case 8, 13, 18, 23:
			if name[i] != '-' {
				return false
			}
		default:
			if !isHex(name[i]) {
				return false
			}
		}
	}
	return true
}
