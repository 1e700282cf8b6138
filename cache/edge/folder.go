package edge

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"preau/cache/archive"
	"preau/cache/profile"
	"preau/cache/rfc9111"
)

// answerFolder answers a request for a folder as a zip file, which is made of
// the folder's files as they are stored or fetched here: each crosses the line
// once, and the archive has a length, a tag and ranges. If it is a file after
// all, it is answered as what is for everybody.
func (x *exchange) answerFolder() {
	if x.neighbour {
		x.onlyIfCached() // neighbours ask for files
		return
	}
	if set, err := x.store.Objects().Lookup(x.key); err == nil && len(set) > 0 && len(x.plan.Folder.Files) == 0 {
		x.answer() // a file, as is known already
		return
	}
	for range attempts {
		if x.tryFolder() {
			return
		}
	}
	x.pass(rfc9111.FwdMiss, "changes-too-fast")
}

// tryFolder makes one attempt; false asks for another.
func (x *exchange) tryFolder() bool {
	old, fresh := x.listing()
	if fresh {
		cs := rfc9111.CacheStatus{Hit: true}
		if !x.lineUp() {
			cs.Detail = "offline"
		}
		return x.byListing(old, cs)
	}
	if !x.lineUp() {
		return x.withoutSite(old)
	}
	switch ok, waited := x.enter(); {
	case !ok:
		return true
	case waited:
		return false
	}
	switch x.probe() {
	case verdictShared:
	case verdictNone:
		return true
	case verdictGone:
		x.answerGone(rfc9111.CacheStatus{Fwd: rfc9111.FwdMiss})
		return true
	case verdictUnknown:
		return x.withoutSite(old)
	default:
		x.passGate(true)
		x.pass(rfc9111.FwdMiss, x.plan.Name)
		return true
	}
	l := x.list(old)
	switch {
	case l == nil:
		return true
	case l.kind == listFailed:
		x.passGate(false)
		return x.withoutSite(old)
	case l.kind == listGone:
		x.passGate(false)
	case l.kind != listFile: // that can also mean that there is nothing
		x.passGate(true)
	}
	return x.byListing(l, rfc9111.CacheStatus{Fwd: rfc9111.FwdMiss})
}

// withoutSite answers where the site can't be asked.
func (x *exchange) withoutSite(old *listing) bool {
	switch {
	case old != nil && old.kind == listFolder && time.Now().Before(old.lease):
		return x.byListing(old, rfc9111.CacheStatus{Hit: true, Detail: "offline"})
	case x.lineUp():
		x.pass(rfc9111.FwdMiss, x.plan.Name) // it answers for itself
	default:
		x.answer() // from what is stored, or with the page
	}
	return true
}

// byListing answers by what the site is known to have.
func (x *exchange) byListing(l *listing, cs rfc9111.CacheStatus) bool {
	switch l.kind {
	case listFolder:
		return x.serveFolder(l, cs)
	case listFile:
		x.answer()
	case listGone:
		x.answerGone(cs)
	default:
		x.pass(rfc9111.FwdMiss, x.plan.Name)
	}
	return true
}

// serveFolder sends what is asked of the archive.
func (x *exchange) serveFolder(l *listing, cs rfc9111.CacheStatus) bool {
	files := &files{x: x, l: l}
	if !files.plan() {
		// Something in it is not for everybody, or has a name that could be read in
		// two ways: the platform makes the archive.
		x.pass(rfc9111.FwdMiss, x.plan.Name)
		return true
	}
	if (cs.Detail == "offline" || !x.lineUp()) && !files.held() {
		// What is not here can't be had. A site that is there and in trouble says so
		// itself.
		if x.lineUp() {
			x.pass(rfc9111.FwdMiss, x.plan.Name)
		} else {
			x.noAnswer(errLineDown)
		}
		return true
	}
	h := x.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Etag", l.layout.ETag())
	if !l.last.IsZero() {
		h.Set("Last-Modified", l.last.UTC().Format(http.TimeFormat))
	}
	h.Set("Cache-Control", "no-cache") // the folder may change, and the link end
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Disposition", disposition(x.plan.Folder))
	h.Set("X-Content-Type-Options", "nosniff")
	x.addCookies(h)
	x.localise(h)
	if cs.Detail == "" {
		cs.Detail = x.plan.Name
	}
	rfc9111.AppendCacheStatus(h, Name, cs)
	result := resultHit
	switch {
	case cs.Detail == "offline":
		result = resultStale
	case !cs.Hit:
		result = resultMiss
	}
	stored := rfc9111.Response{Status: http.StatusOK, Header: h}
	if rfc9111.Preconditions(x.r.Method, x.r.Header, stored) == http.StatusNotModified {
		h.Del("Content-Type")
		h.Del("Content-Disposition")
		x.begin(http.StatusNotModified, result)
		return true
	}
	length := l.layout.Len()
	span, status := rfc9111.Span{Off: 0, Len: length}, http.StatusOK
	if rng := x.r.Header.Get("Range"); rng != "" && x.r.Method == http.MethodGet && rfc9111.IfRange(x.r.Header, stored) {
		spans, err := rfc9111.ParseRange(rng, length)
		switch {
		case errors.Is(err, rfc9111.ErrUnsatisfiable):
			h.Set("Content-Range", "bytes */"+contentLength(length))
			h.Del("Content-Type")
			h.Del("Content-Disposition")
			x.begin(http.StatusRequestedRangeNotSatisfiable, result)
			return true
		case err == nil && len(spans) == 1: // of several, all of it answers as well (RFC 9110 §14.2)
			span, status = spans[0], http.StatusPartialContent
			h.Set("Content-Range", "bytes "+contentLength(span.Off)+"-"+contentLength(span.End()-1)+"/"+contentLength(length))
		}
	}
	h.Set("Content-Length", contentLength(span.Len))
	x.begin(status, result)
	if x.r.Method == http.MethodHead {
		return true
	}
	err := l.layout.Copy(x.r.Context(), x.w, span.Off, span.End(), files)
	if errors.Is(err, archive.ErrChanged) {
		x.h.forgetListing(x.site, x.store, x.listingKey())
	}
	x.finish(err)
	return true
}

// disposition names the archive (RFC 6266, RFC 8187).
func disposition(f *profile.Folder) string {
	name := f.Name
	if name == "" {
		name = "partage"
	}
	name += ".zip"
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' || r == '/' {
			return '_'
		}
		return r
	}, name)
	out := mime.FormatMediaType("attachment", map[string]string{"filename": plain})
	if plain != name {
		out += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return out
}
