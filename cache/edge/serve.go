package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
)

// serve answers from a stored response. aged says that it was not generated or
// validated for this request, so that its Age is told. false means that
// nothing was sent and another attempt should be made.
func (x *exchange) serve(o *object.Object, cs rfc9111.CacheStatus, result string, aged bool) bool {
	if x.proves {
		return x.serveProof(o)
	}
	x.collect(o)
	x.hurry()
	h := x.w.Header()
	for k, v := range o.Header {
		h[k] = slices.Clip(v) // shared by all who get it: an append must copy
	}
	delete(h, profile.Field)
	if aged || h.Get("Age") != "" {
		rfc9111.SetAge(h, response(o).CurrentAge(time.Now()))
	}
	if len(x.cookies) > 0 {
		h["Set-Cookie"] = x.cookies
	}
	x.addCookies(h)
	x.name(h, o.Status)
	rfc9111.Via(h, 1, 1, Name)
	x.localise(h)
	x.observe(o)

	if x.serveRendition(o, cs, result) || x.serveDated(o, cs, result) {
		return true
	}
	if o.Status == http.StatusOK && rfc9111.Preconditions(x.r.Method, x.r.Header, response(o)) == http.StatusNotModified {
		rfc9111.AppendCacheStatus(h, Name, cs)
		for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Range", "Transfer-Encoding"} {
			h.Del(name)
		}
		x.begin(http.StatusNotModified, result)
		return true
	}
	if !bodyAllowed(o.Status) {
		rfc9111.AppendCacheStatus(h, Name, cs)
		x.begin(o.Status, result)
		return true
	}
	if x.serveHot(o, cs, result) {
		return true
	}
	if body := x.body; body != nil {
		x.body = nil
		return x.serveBody(o, body, cs, result)
	}
	body, err := x.store.Body(o, x.lazySource(o))
	if err != nil {
		x.clear()
		if errors.Is(err, object.ErrNotFound) {
			return false // it was another's, and has just been passed on
		}
		if !errors.Is(err, fill.ErrStopped) {
			x.h.log.Warn("a stored body can't be opened", "site", x.site.Name, "err", err)
		}
		x.noAnswer(err)
		return true
	}
	defer body.Release()
	return x.serveBody(o, body, cs, result)
}

// observe tells the observer of a response that is served.
func (x *exchange) observe(o *object.Object) {
	fn := x.h.observe.Load()
	if fn == nil || x.neighbour || o.Status != http.StatusOK || x.r.Method != http.MethodGet {
		return
	}
	// A player asks for a film in a hundred parts: that is one request.
	if rng := x.r.Header.Get("Range"); rng != "" && !strings.HasPrefix(rng, "bytes=0-") {
		return
	}
	if o.Lists != "" {
		(*fn)(x.site.Name, o.Lists, true)
	} else if m, ok := o.ExactMark(); ok {
		(*fn)(x.site.Name, m.String(), false)
	}
}

// serveBody sends what the request asks of body.
func (x *exchange) serveBody(o *object.Object, body *fill.Body, cs rfc9111.CacheStatus, result string) bool {
	x.hurry()
	h := x.w.Header()
	length := body.Length()
	spans, status := []rfc9111.Span{{Off: 0, Len: length}}, o.Status
	if length >= 0 && o.Status == http.StatusOK {
		if h.Get("Accept-Ranges") == "" {
			h.Set("Accept-Ranges", "bytes")
		}
		if rng := x.r.Header.Get("Range"); rng != "" && x.r.Method == http.MethodGet && rfc9111.IfRange(x.r.Header, response(o)) {
			asked, err := rfc9111.ParseRange(rng, length)
			switch {
			case x.part != nil && o.Fragment:
				// What the site sent for this very request, be it what was asked
				// for or not.
				spans, status = []rfc9111.Span{x.part.span}, http.StatusPartialContent
			case err == nil:
				spans, status = asked, http.StatusPartialContent
			case errors.Is(err, rfc9111.ErrUnsatisfiable):
				rfc9111.AppendCacheStatus(h, Name, cs)
				h.Set("Content-Range", fmt.Sprintf("bytes */%d", length))
				h.Del("Content-Type")
				x.begin(http.StatusRequestedRangeNotSatisfiable, result)
				return true
			}
		}
	}
	if wantsDigest(x.r.Header) {
		x.addDigest(h, body)
	}
	if x.r.Method == http.MethodHead {
		rfc9111.AppendCacheStatus(h, Name, cs)
		if length >= 0 {
			h.Set("Content-Length", contentLength(length))
		}
		x.begin(status, result)
		return true
	}
	if x.neighbour && !x.mayFollow(body, spans) {
		x.clear()
		x.onlyIfCached()
		return true
	}
	if len(spans) > 1 && o.Fragment {
		x.giveUp(o)
		return false
	}
	if len(spans) > 1 {
		return x.serveParts(o, body, spans, length, cs, result)
	}
	from, to := spans[0].Off, int64(-1)
	if length >= 0 {
		to = from + spans[0].Len
	}
	if o.Fragment && !body.Holds(from, to) && !body.Fetching() {
		x.giveUp(o)
		return false
	}
	if (status == http.StatusOK || status == http.StatusPartialContent) && !o.Fragment && !x.maySend(spans[0].Len) {
		return x.serveDigests(o, body, cs, result, status, spans[0])
	}
	if x.keepHot(o, body) && x.serveHot(o, cs, result) {
		return true
	}
	if cs.Hit && !body.Holds(from, to) {
		// Some of it comes from the site after all.
		cs = x.partial(body)
		if !x.lineUp() && !body.Fetching() && !x.nearby() {
			x.clear()
			x.noAnswer(errLineDown)
			return true
		}
	}
	if err := x.refusal(o.ID, from, to); err != nil && !body.Holds(from, to) {
		return x.notBegun(err)
	}
	counted := x.counted(cs, body, from, to)
	reader := body.NewReader(from, to)
	defer reader.Close()
	// The first byte decides whether there is a response to begin.
	if err := x.firstByte(reader, body, from); err != nil {
		if o.Fragment && errors.Is(err, fill.ErrUnavailable) {
			x.giveUp(o) // it ended before what is asked for
			return false
		}
		x.outdated(o, err)
		return x.notBegun(err)
	}
	if cs.Fwd == rfc9111.FwdPartial {
		cs.Detail = bodySource(body) // it is known by now
	}
	rfc9111.AppendCacheStatus(h, Name, cs)
	if length >= 0 {
		h.Set("Content-Length", contentLength(spans[0].Len))
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, length))
		if x.part != nil && o.Fragment {
			h.Set("Content-Range", x.part.contentRange)
		}
	}
	x.begin(status, result)
	reader.Count(counted)
	ctx, settled := x.untilRefused(o.ID, from, to)
	_, err := reader.CopyTo(ctx, x.w)
	settled()
	x.outdated(o, err)
	x.finish(err)
	return true
}

// serveParts sends several ranges as multipart/byteranges (RFC 9110 §14.6).
func (x *exchange) serveParts(o *object.Object, body *fill.Body, spans []rfc9111.Span, length int64, cs rfc9111.CacheStatus, result string) bool {
	h := x.w.Header()
	head := func(s rfc9111.Span) textproto.MIMEHeader {
		m := textproto.MIMEHeader{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", s.Off, s.Off+s.Len-1, length)}}
		if t := o.Header.Get("Content-Type"); t != "" {
			m.Set("Content-Type", t)
		}
		return m
	}
	for _, s := range spans {
		if !cs.Hit || body.Holds(s.Off, s.End()) {
			continue
		}
		cs = x.partial(body)
		if !x.lineUp() && !body.Fetching() && !x.nearby() {
			x.clear()
			x.noAnswer(errLineDown)
			return true
		}
	}
	// A first run without bodies tells the length.
	var size counter
	mw := multipart.NewWriter(&size)
	boundary := mw.Boundary()
	for _, s := range spans {
		if _, err := mw.CreatePart(head(s)); err != nil {
			return x.notBegun(err)
		}
		size += counter(s.Len)
	}
	if err := mw.Close(); err != nil {
		return x.notBegun(err)
	}
	first := body.NewReader(spans[0].Off, spans[0].Off+spans[0].Len)
	err := x.firstByte(first, body, spans[0].Off)
	first.Close()
	if err != nil {
		x.outdated(o, err)
		return x.notBegun(err)
	}
	rfc9111.AppendCacheStatus(h, Name, cs)
	h.Set("Content-Type", "multipart/byteranges; boundary="+boundary)
	h.Set("Content-Length", contentLength(int64(size)))
	x.begin(http.StatusPartialContent, result)
	mw = multipart.NewWriter(x.w)
	if err := mw.SetBoundary(boundary); err != nil {
		x.finish(err)
		return true
	}
	for _, s := range spans {
		if _, err = mw.CreatePart(head(s)); err != nil {
			break
		}
		reader := body.NewReader(s.Off, s.Off+s.Len)
		reader.Count(x.counted(cs, body, s.Off, s.End()))
		_, err = reader.CopyTo(x.r.Context(), x.w)
		reader.Close()
		if err != nil {
			break
		}
	}
	if err == nil {
		err = mw.Close()
	}
	x.outdated(o, err)
	x.finish(err)
	return true
}

// partial says that some of what is stored must be fetched after all.
func (x *exchange) partial(body *fill.Body) rfc9111.CacheStatus {
	return rfc9111.CacheStatus{Fwd: rfc9111.FwdPartial, Stored: !body.Passing(), Collapsed: body.Fetching(), Detail: bodySource(body)}
}

// counted returns what counts the bytes of an answer by their source.
func (x *exchange) counted(cs rfc9111.CacheStatus, body *fill.Body, from, to int64) func(int64) {
	if cs.Hit || cs.FwdStatus == http.StatusNotModified && body.Holds(from, to) { // there already, and only validated
		return func(n int64) { x.sent(sourceLocal, n) }
	}
	return func(n int64) { x.sent(bodySource(body), n) }
}

// mayFollow reports whether a neighbour may wait for what is not held of body:
// not for what waits for a neighbour, and where it wants only what is here, for
// what is on its way.
func (x *exchange) mayFollow(body *fill.Body, spans []rfc9111.Span) bool {
	held, coming := true, true
	for _, s := range spans {
		to := int64(-1)
		if s.Len >= 0 {
			to = s.End()
		}
		held = held && body.Holds(s.Off, to)
		coming = coming && body.Coming(s.Off, to)
	}
	switch {
	case held:
		return true
	case fedByNeighbour(body):
		return false
	}
	return coming || !rfc9111.ParseRequestDirectives(x.r.Header).OnlyIfCached
}

// giveUp forgets a fragment that can't answer the request, so that the next
// attempt asks for the whole.
func (x *exchange) giveUp(o *object.Object) {
	x.clear()
	x.h.unshared.Set(x.key, mark{whole: true})
	if err := x.store.Objects().Remove(x.r.Context(), o.Key, o.ID, "unusable"); err != nil {
		x.h.log.Warn("an unusable fragment could not be removed", "site", x.site.Name, "err", err)
	}
}

// outdated forgets a version of which the site has no more to give: whoever
// asks next must get another.
func (x *exchange) outdated(o *object.Object, err error) {
	if !errors.Is(err, fill.ErrChanged) {
		return
	}
	if err := x.store.Objects().Remove(context.WithoutCancel(x.r.Context()), o.Key, o.ID, "changed"); err != nil {
		x.h.log.Warn("an outdated response could not be removed", "site", x.site.Name, "err", err)
	}
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// notBegun deals with a body whose first byte can't be had: nothing was sent.
func (x *exchange) notBegun(err error) bool {
	x.clear()
	switch {
	case x.r.Context().Err() != nil:
		return true
	case errors.Is(err, fill.ErrChanged):
		return false
	}
	x.noAnswer(err)
	return true
}

// begin sends the head of the response.
func (x *exchange) begin(status int, result string) {
	x.wrote = true
	x.count(result)
	x.w.WriteHeader(status)
}

// clear takes back fields of a response that was not begun.
func (x *exchange) clear() { clear(x.w.Header()) }

// finish ends a response whose body broke off: the connection is broken, so
// that no client takes what it has for the whole (RFC 9112 §8).
func (x *exchange) finish(err error) {
	if err == nil {
		return
	}
	if x.r.Context().Err() == nil && !errors.Is(err, context.Canceled) {
		x.h.log.Debug("a response broke off", "site", x.site.Name, "err", err)
	}
	panic(http.ErrAbortHandler)
}

// relay sends a response that is not stored to the client who asked for it.
func (x *exchange) relay(resp *http.Response, fwd, source string) {
	defer func() { _ = resp.Body.Close() }() // read to its end, or the client left
	x.checkRelayed(resp)
	header := resp.Header
	header.Del(profile.Field)
	announced := trailerNames(resp)
	rfc9111.StripHopByHop(header)
	rfc9111.Via(header, resp.ProtoMajor, resp.ProtoMinor, Name)
	x.addCookies(header)
	x.localise(header)
	h := x.w.Header()
	maps.Copy(h, header)
	if len(announced) > 0 {
		h["Trailer"] = announced
	}
	rfc9111.AppendCacheStatus(h, Name, rfc9111.CacheStatus{Fwd: fwd, FwdStatus: resp.StatusCode, Detail: source})
	if resp.ContentLength >= 0 && bodyAllowed(resp.StatusCode) {
		h.Set("Content-Length", contentLength(resp.ContentLength))
	}
	x.begin(resp.StatusCode, resultPass)
	if fl, ok := x.w.(http.Flusher); ok && resp.ContentLength < 0 {
		fl.Flush() // the first byte may be long in coming
	}
	if b, ok := resp.Body.(*endingBody); ok {
		// Without this a silent stream would be read for ever after its client left.
		defer context.AfterFunc(x.r.Context(), b.end)()
	}
	n, err := io.Copy(&flushing{x.w}, resp.Body)
	x.sent(source, n)
	if err == nil {
		maps.Copy(h, resp.Trailer)
	}
	x.finish(err)
}

func trailerNames(resp *http.Response) []string {
	var names []string
	for k := range resp.Trailer {
		names = append(names, k)
	}
	return names
}

// flushing sends on each piece as it comes: nobody knows how slow the rest is.
type flushing struct{ w http.ResponseWriter }

func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if fl, ok := f.w.(http.Flusher); ok && err == nil {
		fl.Flush()
	}
	return n, err
}

// sendInterim passes a 1xx response on (RFC 9110 §15.2).
func (x *exchange) sendInterim(in interim) {
	if in.status == http.StatusSwitchingProtocols || in.status == http.StatusContinue || !x.r.ProtoAtLeast(1, 1) {
		return
	}
	rfc9111.StripHopByHop(in.header)
	h := x.w.Header()
	maps.Copy(h, in.header)
	x.w.WriteHeader(in.status)
	clear(h)
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// wantsDigest reports whether the client asks for the representation's SHA-256
// (RFC 9530 §4).
func wantsDigest(h http.Header) bool {
	for _, v := range h.Values("Want-Repr-Digest") {
		for item := range strings.SplitSeq(v, ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(item), "=")
			if strings.TrimSpace(name) == "sha-256" && strings.TrimSpace(weight) != "0" {
				return true
			}
		}
	}
	return false
}
