package profile

import (
	"net/http"
	"testing"
)

const (
	vid  = "5c8d1b3e-0f6a-4b7e-9c1d-2a3b4c5d6e7f" // a video
	file = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d" // one of its files
)

var rfc9111Asked = []row{
	{get("/a/../b"), ByRFC9111, "rfc9111", ""},
	{get("/a", "Authorization", "x"), ByRFC9111, "rfc9111", ""},
}

var rfc9111Answered = []said{
	{"/a", 0, 200, "Set-Cookie: a=b\nCache-Control: private\n", "", Keep, "", "", 0},
	{"/a", 0, 404, "", "", Keep, "", "", 0},
}

var peertubeAsked = []row{
	{get("/static/streaming-playlists/hls/private/" + vid + "/" + file + "-720-fragmented.mp4"), Pass, "peertube-private-video", ""},
	{get("/static/streaming-playlists/hls/PRIVATE/" + vid + "/" + file + "-720-fragmented.mp4"), Pass, "peertube-private-video", ""},
	{get("/static/web-videos/private/" + file + "-720.mp4"), Pass, "peertube-private-video", ""},
	{get("/object-storage-proxy/streaming-playlists/hls/private/" + vid + "/x.mp4"), Pass, "peertube-private-video", ""},
	{get("/object-storage-proxy/web-videos/x.mp4"), Pass, "peertube-object-proxy", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/" + file + "-master.m3u8?videoFileToken=abc"), Pass, "shared-token-query", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/" + file + "-master.m3u8?VIDEOFILETOKEN=abc"), Pass, "shared-token-query", ""},
	{get("/static/web-videos/"+file+"-720.mp4", "X-Peertube-Video-Password", "x"), Pass, "shared-credential-field", ""},
	{get("/static/web-videos/"+file+"-720.mp4", "Authorization", "Bearer x"), Pass, "shared-authorization", ""},
	{get("/api/v1/videos"), Pass, "peertube-api", ""},
	{get("/download/user-exports/1"), Pass, "peertube-private-download", ""},
	{get("/download/videos/generate/" + vid), Pass, "peertube-private-download", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/master.m3u8"), Share, "peertube-live-playlist", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/0.m3u8"), Share, "peertube-live-playlist", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/0-000012.ts"), Share, "peertube-live-piece", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/segments-sha256.json"), Share, "peertube-live-piece", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/" + file + "-master.m3u8"), Share, "peertube-playlist", ""},
	{get("/static/streaming-playlists/hls/" + vid + "/" + file + "-720.m3u8"), Share, "peertube-playlist", ""},
	{get("/static/streaming-playlists/hls/"+vid+"/"+file+"-720-fragmented.mp4", "Range", "bytes=0-1376", "Cookie", "x=y"), Share, "peertube-video",
		"/static/streaming-playlists/hls/" + vid + "/" + file + "-720-fragmented.mp4"},
	{get("/static/streaming-playlists/hls/" + vid + "/" + file + "-segments-sha256.json"), Share, "peertube-video", ""},
	{get("/static/web-videos/" + file + "-720.mp4"), Share, "peertube-video", ""},
	{get("/static/webseed/" + file + "-720.mp4"), Share, "peertube-video", ""},
	{get("/static/redundancy/hls/" + vid + "/" + file + "-720-fragmented.mp4"), Share, "peertube-video", ""},
	{get("/static/web-videos/nothing.mp4"), Pass, "peertube-other", ""},
	{get("/download/web-videos/" + file + "-720.mp4"), Share, "peertube-download", ""},
	{get("/download/streaming-playlists/hls/videos/" + file + "-720-fragmented.mp4"), Share, "peertube-download", ""},
	{get("/lazy-static/thumbnails/" + file + ".jpg"), Share, "peertube-image", ""},
	{get("/lazy-static/video-captions/" + file + "-fr.vtt"), Share, "peertube-image", ""},
	{get("/lazy-static/torrents/" + file + "-720.torrent"), Share, "peertube-image", ""},
	{get("/client/main-4f5e.js"), Share, "peertube-client", ""},
	{get("/feeds/videos.xml?videoChannelId=2"), Share, "peertube-feed", ""},
	{get("/feeds/subscriptions.xml?accountId=1&token=x"), Pass, "shared-token-query", ""},
	{get("/w/4QJhyYb"), Pass, "peertube-other", ""},
	{get("/"), Pass, "peertube-other", ""},
}

const vod = "/static/streaming-playlists/hls/" + vid + "/" + file

var peertubeAnswered = []said{
	// From node, and through the platform's own nginx rules.
	{vod + "-720-fragmented.mp4", 0, 206, "Cache-Control: public, max-age=0\nEtag: W/\"a-1\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\nContent-Range: bytes 0-9/100\n", "", Keep, "",
		"max-age=300, stale-if-error=2592000, public, lease=2592000", 0},
	{vod + "-720-fragmented.mp4", 0, 200, "Etag: \"a-1\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\nAccept-Ranges: bytes\n", "", Keep, "", "max-age=300, stale-if-error=2592000, lease=2592000", 0},
	{vod + "-720.m3u8", 0, 200, "Cache-Control: public, max-age=0\nEtag: W/\"a-1\"\n", "", Keep, "", "max-age=300, stale-if-error=2592000, public, lease=2592000", 0},
	{vod + "-720.m3u8", 0, 403, "Access-Control-Allow-Origin: *\n", "", Own, "-refused", "", minute},
	{vod + "-720.m3u8", 0, 404, "", "", Gone, "-gone", "", minute},
	{"/static/streaming-playlists/hls/" + vid + "/0.m3u8", 0, 200, "Cache-Control: public, max-age=0\nEtag: W/\"1\"\n", "", Keep, "", "max-age=1, stale-if-error=15, public, lease=15", 0},
	{"/static/streaming-playlists/hls/" + vid + "/0-000001.ts", 0, 200, "", "", Keep, "", "max-age=10, stale-if-error=60, lease=60", 0},
	{"/static/streaming-playlists/hls/" + vid + "/0-000001.ts", 0, 404, "", "", Own, "-missing", "", 0},
	{"/download/web-videos/" + file + "-720.mp4", 0, 302, "Location: https://s3.test/x?X-Amz-Signature=1\n", "", Own, "-refused", "", minute},
	{"/download/web-videos/" + file + "-720.mp4", 0, 200, "Cache-Control: public, max-age=0\nEtag: W/\"1\"\nContent-Disposition: attachment\n", "", Keep, "", "max-age=300, stale-if-error=2592000, public, lease=2592000", 0},
	{"/lazy-static/thumbnails/a.jpg", 0, 200, "Cache-Control: public, max-age=172800\n", "", Keep, "", "max-age=172800, stale-if-error=2592000, public, lease=2592000", 0},
	{"/lazy-static/torrents/a.torrent", 0, 200, "Cache-Control: public, max-age=7200\n", "", Keep, "", "max-age=7200, stale-if-error=2592000, public, lease=2592000", 0},
	{"/client/main.js", 0, 200, "Cache-Control: public, max-age=31536000, immutable\n", "", Keep, "", "max-age=31536000, stale-if-error=2592000, public, immutable, lease=2592000", 0},
	{"/feeds/videos.xml", 0, 200, "Cache-Control: max-age=900\n", "", Keep, "", "max-age=900, stale-if-error=604800, lease=604800", 0},
	{"/api/v1/videos", 0, 200, "Etag: W/\"1\"\n", "", Own, "", "", 0},
}

var etherpadAsked = []row{
	{get("/p/r.0123456789abcdef/export/txt"), Share, "etherpad-readonly-export", ""},
	{get("/p/r.0123456789abcdef/12/export/txt"), Share, "etherpad-fixed-export", ""},
	{get("/p/r.0123456789abcdef/12/export/html"), Pass, "etherpad-export", ""},
	{get("/p/cours-4B/7/export/txt"), Share, "etherpad-fixed-export", ""},
	{get("/p/cours-4B/7/export/pdf"), Pass, "etherpad-export", ""},
	{get("/p/cours-4B/7/export/html"), Pass, "etherpad-export", ""},
	{get("/p/r.0123456789abcdef/export/etherpad"), Pass, "etherpad-export", ""},
	{get("/p/r.0123456789abcdef/export/html"), Pass, "etherpad-export", ""},
	{get("/p/cours-4B/export/txt"), Pass, "etherpad-export", ""},
	{get("/p/cours-4B/x/export/txt"), Pass, "etherpad-pad", ""},
	{get("/p/r.0123/export/exe"), Pass, "etherpad-pad", ""},
	{get("/p/cours-4B"), Pass, "etherpad-pad", ""},
	{get("/p/cours-4B/timeslider"), Pass, "etherpad-pad", ""},
	{get("/socket.io/?EIO=4&transport=polling"), Pass, "etherpad-live", ""},
	{get("/health"), Pass, "etherpad-api", ""},
	{get("/padbootstrap-4f5e6d.min.js"), Share, "etherpad-hashed", ""},
	{get("/static/css/pad.css?v=1", "Cookie", "token=t.abc; express_sid=x"), Share, "etherpad-static", ""},
	{get("/locales/fr.json"), Share, "etherpad-static", ""},
	{get("/locales.json"), Share, "etherpad-static", ""},
	{get("/favicon.ico"), Share, "etherpad-static", ""},
	{get("/"), Pass, "etherpad-other", ""},
}

var etherpadAnswered = []said{
	{"/p/r.0123/export/txt", 0, 200, "Etag: W/\"1\"\nContent-Disposition: attachment\nAccess-Control-Allow-Origin: *\n", "", Keep, "", "max-age=60, stale-if-error=1209600, lease=1209600", 0},
	{"/p/r.0123/export/txt", 0, 429, "", "", Keep, "-failure", "no-store", 0},
	{"/p/r.0123/export/txt", 0, 403, "", "", Own, "-refused", "", minute},
	{"/p/r.0123/export/txt", 0, 404, "", "", Gone, "-gone", "", minute},
	{"/p/cours/3/export/txt", 0, 404, "", "", Own, "-missing", "", 0},
	{"/p/cours/3/export/txt", 0, 200, "Etag: W/\"1\"\n", "", Keep, "", "max-age=300, stale-if-error=1209600, lease=1209600", 0},
	{"/p/cours/3/export/txt", 0, 200, "Set-Cookie: token=t.1\n", "", Own, "-private", "", minute},
	{"/p/cours/3/export/txt", 0, 200, "Set-Cookie: express_sid=s%3Aa; Path=/; HttpOnly\n", "", Keep, "", "max-age=300, stale-if-error=1209600, lease=1209600", 0},
	{"/p/cours/3/export/txt", 0, 200, "Set-Cookie: express_sid=s%3Aa\nSet-Cookie: token=t.1\n", "", Own, "-private", "", minute},
	{"/static/css/pad.css", 0, 200, "Set-Cookie: express_sid=s%3Aa; Path=/; HttpOnly\nCache-Control: max-age=21600\n", "", Keep, "", "max-age=21600, stale-if-error=2592000, lease=2592000", 0},
	{"/static/css/pad.css", 0, 200, "Cache-Control: max-age=21600\nExpires: Mon, 03 Aug 2026 10:00:00 GMT\n", "", Keep, "", "max-age=21600, stale-if-error=2592000, lease=2592000", 0},
	{"/padbootstrap-1.min.js", 0, 200, "Etag: W/\"1\"\n", "", Keep, "", "max-age=86400, stale-if-error=2592000, lease=2592000", 0},
	{"/p/cours", 0, 404, "", "", Own, "", "", 0},
}

var discourseAsked = []row{
	{get("/secure-uploads/original/1X/a.png"), Pass, "discourse-secure-upload", ""},
	{get("/secure-media-uploads/original/1X/a.png"), Pass, "discourse-secure-upload", ""},
	{get("/uploads/short-url/abc.png"), Pass, "discourse-secure-upload", ""},
	{get("/message-bus/abc/poll"), Pass, "discourse-live", ""},
	{get("/session/current.json"), Pass, "discourse-session", ""},
	{get("/uploads/default/original/1X/a.jpeg", "Cookie", "_t=x"), Share, "discourse-image", ""},
	{get("/uploads/default/original/1X/a.pdf"), Share, "discourse-upload", ""},
	{get("/stylesheets/desktop_1.css"), Share, "discourse-style", ""},
	{get("/letter_avatar/alice/45/5.png"), Share, "discourse-style", ""},
	{get("/assets/main-1a.js"), Share, "discourse-asset", ""},
	{get("/images/emoji/twitter/smile.png?v=12"), Share, "discourse-asset", ""},
	{get("/t/topic/12"), Pass, "discourse-other", ""},
	{get("/latest.json", "Cookie", "_t=x"), Pass, "discourse-other", ""},
}

var discourseAnswered = []said{
	{"/uploads/default/original/1X/a.jpeg", 0, 200, "Cache-Control: public,immutable, max-age=31536000\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\n", "", Keep, "", "max-age=604800, stale-if-error=2592000, public, lease=2592000", 0},
	{"/uploads/default/original/1X/a.pdf", 0, 200, "Date: Mon, 03 Aug 2026 10:00:00 GMT\nExpires: Tue, 03 Aug 2027 10:00:00 GMT\nCache-Control: public,immutable\n", "", Keep, "", "max-age=300, stale-if-error=604800, public, lease=604800", 0},
	{"/uploads/default/original/1X/a.pdf", 0, 404, "", "", Own, "-missing", "", 0},
	{"/uploads/default/original/1X/a.pdf", 0, 302, "Location: https://s3/?X-Amz-Signature=1\n", "", Own, "-refused", "", minute},
	{"/letter_avatar/a/45/5.png", 0, 200, "Cache-Control: public, max-age=31536000\nSet-Cookie: _forum_session=x\n", "", Keep, "", "max-age=86400, stale-if-error=2592000, public, lease=2592000", 0},
	{"/assets/a.js", 0, 200, "Set-Cookie: _forum_session=x\n", "", Own, "-private", "", minute},
}

var wordpressAsked = []row{
	{get("/wp-login.php"), Pass, "wordpress-account", ""},
	{get("/WP-ADMIN/index.php"), Pass, "wordpress-account", ""},
	{get("/blog/wp-login.php"), Pass, "wordpress-account", ""},
	{get("/wp-json/wp/v2/posts"), Pass, "wordpress-rest", ""},
	{get("/?rest_route=/wp/v2/posts"), Pass, "wordpress-rest", ""},
	{get("/?p=12&preview=true"), Pass, "wordpress-preview", ""},
	{get("/?customize_changeset_uuid=1"), Pass, "wordpress-preview", ""},
	{get("/?s=mot"), Pass, "wordpress-preview", ""},
	{get("/wp-content/uploads/2026/10/a.pdf", "Cookie", "wordpress_logged_in_1=x"), Share, "wordpress-media", ""},
	{get("/wp-content/themes/t/style.css?ver=6.1"), Share, "wordpress-static-versioned", ""},
	{get("/wp-includes/js/jquery.js"), Share, "wordpress-static", ""},
	{get("/wp-content/uploads/evil.php"), Pass, "wordpress-program", ""},
	{get("/wp-content/plugins/x/ajax.php/a.css"), Pass, "wordpress-program", ""},
	{get("/index.php/2026/10/titre/"), Pass, "wordpress-program", ""},
	{get("/", "Cookie", "wordpress_logged_in_1=x"), Pass, "wordpress-cookies", ""},
	{get("/", "Cookie", "_ga=1; comment_author_1=Alice"), Pass, "wordpress-cookies", ""},
	{get("/2026/10/protege/", "Cookie", "wp-postpass_1=x"), Pass, "wordpress-cookies", ""},
	{get("/", "Cookie", "wp-settings-3=x"), Pass, "wordpress-cookies", ""},
	{get("/", "Cookie", "_ga=1; _pk_id.1.2=3; cookieyes-consent=yes"), Share, "wordpress-page", "/"},
	{get("/2026/10/titre/"), Share, "wordpress-page", "/2026/10/titre/"},
	{get("/feed/"), Share, "wordpress-page", ""},
	{get("/?p=12"), Share, "wordpress-page", "/?p=12"},
}

var wordpressAnswered = []said{
	{"/", 0, 200, "Content-Type: text/html; charset=UTF-8\nLink: </wp-json/>; rel=\"https://api.w.org/\"\n", "", Keep, "", "max-age=60, stale-if-error=2592000, lease=2592000", 0},
	{"/", 0, 200, "Cache-Control: no-cache, must-revalidate, max-age=0\n", "", Own, "-private", "", minute},
	{"/", 0, 200, "Set-Cookie: woocommerce_cart=1\n", "", Own, "-private", "", minute},
	{"/", 0, 200, "Vary: Accept-Encoding, Cookie\n", "", Own, "-private", "", minute},
	{"/", 0, 301, "Location: /x/\n", "", Own, "-refused", "", minute},
	{"/x", 0, 404, "Cache-Control: no-cache, must-revalidate, max-age=0\n", "", Own, "-missing", "", 0},
	{"/", 0, 500, "", "", Keep, "-failure", "no-store", 0},
	{"/feed/", 0, 200, "Etag: \"f\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\nDate: Mon, 10 Aug 2026 10:00:00 GMT\n", "", Keep, "", "max-age=60, stale-if-error=2592000, lease=2592000", 0},
	{"/wp-content/uploads/a.png", 0, 200, "Cache-Control: max-age=315360000\nEtag: \"a\"\n", "", Keep, "", "max-age=2592000, stale-if-error=2592000, lease=2592000", 0},
	{"/wp-content/uploads/a.png", 0, 200, "Etag: \"a\"\n", "", Keep, "", "max-age=86400, stale-if-error=2592000, lease=2592000", 0},
	{"/wp-includes/a.css", 0, 200, "Cache-Control: max-age=315360000\n", "", Keep, "", "max-age=86400, stale-if-error=2592000, lease=2592000", 0},
	{"/wp-includes/a.css?ver=1", 0, 200, "Cache-Control: max-age=315360000\n", "", Keep, "", "max-age=31536000, stale-if-error=2592000, lease=2592000", 0},
}

var jitsiAsked = []row{
	{get("/http-bind?room=x"), Pass, "jitsi-conference", ""},
	{get("/xmpp-websocket?room=x", "Upgrade", "websocket"), Pass, "shared-upgrade", ""},
	{get("/tenant/xmpp-websocket"), Pass, "jitsi-conference", ""},
	{get("/colibri-ws/jvb1/abc/def"), Pass, "jitsi-conference", ""},
	{get("/_api/room-info?room=x"), Pass, "jitsi-room-info", ""},
	{get("/config.js?room=x"), Pass, "jitsi-room-info", ""},
	{get("/libs/app.bundle.min.js?v=7001"), Share, "jitsi-versioned", ""},
	{get("/css/all.css"), Share, "jitsi-static", ""},
	{get("/lang/main-fr.json"), Share, "jitsi-static", ""},
	{get("/config.js"), Share, "jitsi-config", ""},
	{get("/external_api.js"), Share, "jitsi-config", ""},
	{get("/CoursDeMaths4B"), Pass, "jitsi-room", ""},
	{get("/tenant/room"), Pass, "jitsi-room", ""},
	{get("/"), Pass, "jitsi-room", ""},
}

var jitsiAnswered = []said{
	{"/libs/app.bundle.min.js?v=1", 0, 200, "Date: Mon, 03 Aug 2026 10:00:00 GMT\nExpires: Tue, 03 Aug 2027 10:00:00 GMT\nCache-Control: public\nEtag: \"a\"\n", "", Keep, "", "max-age=31536000, stale-if-error=2592000, public, lease=2592000", 0},
	{"/css/all.css", 0, 200, "Etag: \"a\"\n", "", Keep, "", "max-age=300, stale-if-error=2592000, lease=2592000", 0},
	{"/config.js", 0, 200, "Etag: \"a\"\n", "", Keep, "", "max-age=60, stale-if-error=86400, lease=86400", 0},
	{"/config.js", 0, 200, "Content-Type: text/html\n", "", Own, "-page", "", minute},
}

var kiwixAsked = []row{
	{get("/"), Pass, "kiwix-dynamic", ""},
	{get("/catalog/v2/entries"), Pass, "kiwix-dynamic", ""},
	{get("/search?pattern=x"), Pass, "kiwix-dynamic", ""},
	{get("/wikipedia_fr/A/Ch%C3%A2teau"), Share, "kiwix-book", ""},
	{get("/skin/taskbar.css?cacheid=1"), Share, "kiwix-book", ""},
	{get("/raw/wikipedia_fr/content/a.mp4"), Share, "kiwix-book", ""},
}

var kiwixAnswered = []said{
	{"/wikipedia_fr/A/x", 0, 200, "Cache-Control: max-age=2723040, public\nEtag: \"1795321517169897475/c\"\n", "", Keep, "", "max-age=86400, stale-if-error=2592000, public, lease=2592000", 0},
	{"/wikipedia_fr/A/x", 0, 200, "Cache-Control: max-age=\"5\n", "", Own, "-private", "", minute},
	{"/wikipedia_fr/A/x", 0, 404, "Cache-Control: no-cache, no-store, must-revalidate\n", "", Gone, "-gone", "", minute},
	{"/viewer", 0, 200, "Cache-Control: no-cache, no-store, must-revalidate\n", "", Own, "-private", "", minute},
}

var s3Asked = []row{
	{get("/"), Pass, "s3-list", ""},
	{get("/bucket/"), Pass, "s3-list", ""},
	{get("/bucket?list-type=2"), Pass, "s3-subresource", ""},
	{get("/bucket/a.bin?acl"), Pass, "s3-subresource", ""},
	{get("/bucket/a.bin", "X-Amz-Date", "x"), Pass, "s3-field", ""},
	{get("/bucket/a.bin?X-Amz-Algorithm=AWS4&X-Amz-Signature=1"), Pass, "shared-token-query", ""},
	{get("/bucket/a.bin?AWSAccessKeyId=1&Expires=2&Signature=3"), Pass, "shared-token-query", ""},
	{get("/bucket/a.bin", "Authorization", "AWS4-HMAC-SHA256 x"), Pass, "shared-authorization", ""},
	{get("/bucket/a.bin", "X-Amz-Server-Side-Encryption-Customer-Key", "x"), Pass, "shared-credential-field", ""},
	{get("/bucket/a%20b.bin?versionId=3"), Share, "s3-object", "/bucket/a%20b.bin?versionId=3"},
}

var s3Answered = []said{
	{"/bucket/a", 0, 200, "Etag: \"d41d\"\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT\n", "", Keep, "", "max-age=300, stale-if-error=2592000, lease=2592000", 0},
	{"/bucket", 0, 200, "Content-Type: application/xml\n", "", Own, "-list", "", minute},
	{"/bucket/a", 0, 403, "", "", Own, "-refused", "", minute},
	{"/bucket/a", 0, 404, "", "", Own, "-missing", "", 0},
}

// TestAPadsNameIsNotKeptWithItsExport: the site names the file that is saved
// after the pad, and the pad's name opens it.
func TestAPadsNameIsNotKeptWithItsExport(t *testing.T) {
	p := made(t, "etherpad", Adjust{})
	req := get("/p/r.0123/export/txt")
	plan := p.Request(req)
	ruling := p.Response(req, plan, Response{Status: http.StatusOK, Header: http.Header{"Content-Disposition": {`attachment; filename="r.0123.txt"`}}})
	if ruling.Effect != Keep || ruling.Header.Get("Content-Disposition") != "" {
		t.Errorf("%d by %s: %v", ruling.Effect, ruling.Name, ruling.Header)
	}
	if plan.Disposition != `attachment; filename="r.0123.txt"` {
		t.Errorf("the plan has %q", plan.Disposition)
	}
	if odd := p.Request(get("/p/r.%C3%A9t%C3%A9/export/txt")); odd.Disposition != `attachment; filename="pad.txt"` {
		t.Errorf("a name that is none in a field: %q", odd.Disposition)
	}
}
