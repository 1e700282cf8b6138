package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"preau/cache/object"
	"preau/cache/rfc9111"
)

// renders reports whether playlists that offer several renditions are sent to this
// client with one of them: the site's operator wants a class to fetch one film and
// not five. It goes for devices only. Other boxes get what the site sent, and so
// is it stored.
func (x *exchange) renders() bool {
	return x.site.Rendition > 0 && x.device && x.shared && strings.HasSuffix(x.path, ".m3u8")
}

// identity asks for a playlist as it is: what is coded can't be read.
func (x *exchange) identity() {
	if x.renders() {
		delete(x.r.Header, "Accept-Encoding")
	}
}

// serveRendition sends a playlist with one rendition, if that is wanted and it has
// more. What is sent has a strong entity tag of its own (RFC 9110 section 8.8.3),
// and no date: it also changes with the configuration.
func (x *exchange) serveRendition(o *object.Object, cs rfc9111.CacheStatus, result string) (done bool) {
	if !x.renders() || o.Status != http.StatusOK || o.Fragment || o.Length > mostPlaylist {
		return false
	}
	body := x.body
	if body == nil {
		var err error
		if body, err = x.store.Body(o, x.lazySource(o)); err != nil {
			return false // told by who tries the same to send it as it is
		}
		defer body.Release()
	}
	h := x.w.Header()
	if h.Get("Content-Encoding") != "" || untouchable(x.r.Header, h) || !body.Holds(0, -1) && !x.lineUp() && !body.Fetching() && !x.nearby() {
		return false
	}
	reader := body.NewReader(0, mostPlaylist+1)
	var b bytes.Buffer
	_, err := reader.CopyTo(x.r.Context(), &b)
	reader.Close()
	if err != nil {
		return false // what has come of it is sent as it is, or the error told
	}
	list, ok := oneRendition(b.Bytes(), x.site.Rendition)
	if !ok {
		return false
	}
	sum := sha256.Sum256(list)
	tag := `"` + fmt.Sprint(x.site.Rendition) + "p-" + hex.EncodeToString(sum[:12]) + `"`
	for _, name := range []string{"Last-Modified", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Content-Range"} {
		h.Del(name)
	}
	h.Set("ETag", tag)
	h.Set("Accept-Ranges", "none") // RFC 9110 section 14.3: it is short
	rfc9111.AppendCacheStatus(h, Name, cs)
	x.sendMade(o, list, http.StatusOK, result, cs.Detail, "Content-Type", "Content-Length", "Content-Language", "Accept-Ranges")
	return true
}

// sendMade sends what the box made of o, whose fields are set but for its length:
// with that status, or as not modified, without the fields that are named last.
func (x *exchange) sendMade(o *object.Object, made []byte, status int, result, source string, drop ...string) {
	h := x.w.Header()
	own := rfc9111.Response{Status: http.StatusOK, Header: h, RequestTime: o.RequestTime, ResponseTime: o.ResponseTime}
	if rfc9111.Preconditions(x.r.Method, x.r.Header, own) == http.StatusNotModified {
		for _, name := range drop {
			h.Del(name)
		}
		x.begin(http.StatusNotModified, result)
		return
	}
	h.Set("Content-Length", contentLength(int64(len(made))))
	x.begin(status, result)
	if x.r.Method == http.MethodHead {
		return
	}
	n, err := x.w.Write(made)
	x.sent(source, int64(n))
	x.finish(err)
}

// untouchable reports whether either side wants the content as it is (RFC 9111
// sections 5.2.1.6 and 5.2.2.6).
func untouchable(headers ...http.Header) bool {
	for _, h := range headers {
		for _, line := range h["Cache-Control"] {
			for d := range strings.SplitSeq(line, ",") {
				if strings.EqualFold(strings.TrimSpace(d), "no-transform") {
					return true
				}
			}
		}
	}
	return false
}
