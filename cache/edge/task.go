package edge

import (
	"context"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"preau/cache/block"
	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
	"preau/cache/vouch"
)

// task is what a flight does: ask the site once and store what may be stored.
// It outlives the request that it was made for and holds nothing of it.
type task struct {
	h      *Handler
	store  *storage.Storage
	site   *Site
	key    object.Key
	url    *url.URL
	path   string // as the site knows it, for marks
	query  string
	host   string
	client http.Header    // as the client sent it: what variants are chosen by
	header http.Header    // as it goes to the site, without conditions of ours
	prior  *object.Object // to be validated
	ranged bool           // header has a Range
	near   bool           // for a neighbour
	lists  string         // path to list the response under, if it may be
	pace   *upstream.Pace // of what is fetched in the background, or nil

	asking *asking // nil for a site without a profile
}

// task describes what x needs from the site.
func (x *exchange) task(o *object.Object) *task {
	t := &task{
		h: x.h, store: x.store, site: x.site, key: x.key, url: x.url(), path: x.path, query: x.query, host: x.host(),
		client: x.r.Header.Clone(), header: x.forwardHeader(), prior: o, near: x.neighbour, asking: x.asking(),
		pace: upstream.PaceOf(x.r.Context()),
	}
	if x.site.List && !strings.HasPrefix(x.path, "//") && x.query == "" && !x.hasCredentials() && x.listed() {
		t.lists = x.path
	}
	rng := t.header.Get("Range")
	conditional := t.header.Get("If-None-Match") != "" || t.header.Get("If-Modified-Since") != ""
	t.header.Del("Range")
	t.header.Del("If-Range")
	if o != nil {
		t.header.Del("If-None-Match")
		t.header.Del("If-Modified-Since")
		return t
	}
	if m, ok := x.h.unshared.Get(x.key); rng == "" || conditional || ok && m.whole {
		return t
	}
	// A seek: ask for just that, so that it comes at once. What begins at the
	// start is asked for whole, it is where the rest will be wanted too.
	specs, err := rfc9111.ParseRangeSpecs(rng)
	if err == nil && len(specs) == 1 && (specs[0].Suffix >= 0 || specs[0].First > 0) {
		t.header.Set("Range", rng)
		t.ranged = true
	}
	return t
}

// request is the request to the site.
func (t *task) request(ctx context.Context, to *url.URL, header http.Header) *http.Request {
	req := &http.Request{
		Method: http.MethodGet, URL: to, Host: t.host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	return req.WithContext(ctx)
}

// run asks and sets the flight's results.
func (t *task) run(ctx context.Context, f *flight) {
	header := t.header.Clone()
	t.notBefore(header)
	if t.prior != nil {
		maps.Copy(header, rfc9111.ConditionalHeader(t.prior.Header))
	}
	ctx = vouch.With(ctx, vouch.Fetch{Neighbour: t.near, Waiting: f.nearby.set})
	sent := time.Now()
	resp, ruling, err := t.ask(ctx, header)
	if err == nil && t.prior != nil && resp.StatusCode == http.StatusNotModified && !rfc9111.Same304(t.prior.Header, resp.Header) {
		// It vouches for something we don't have: ask for what there is.
		_ = resp.Body.Close() // a 304 has none
		sent = time.Now()
		resp, ruling, err = t.ask(ctx, t.header.Clone())
	}
	if err != nil {
		f.err = err
		f.cancel()
		return
	}
	f.source, f.lent = sourceOf(resp), lentBy(resp.Body)
	// The request's context must live as long as its body is read.
	resp.Body = &endingBody{ReadCloser: t.paced(resp.Body, f.source), end: f.cancel}
	f.status = resp.StatusCode
	got := rfc9111.Response{Status: resp.StatusCode, Header: resp.Header, RequestTime: sent, ResponseTime: time.Now()}
	switch {
	case ruling.Effect != profile.Keep && !t.asking.shared:
		f.give(resp)
		t.h.unshared.Set(t.key, mark{alone: true})
	case ruling.Effect == profile.Gone:
		_ = resp.Body.Close() // nobody gets it
		t.isGone(ruling)
		f.gone, f.live = true, len(ruling.Groups) == 0
	case ruling.Effect == profile.Own:
		t.isOwn(ruling)
		f.own = true
		f.give(resp)
	case t.prior != nil && resp.StatusCode == http.StatusNotModified:
		_ = resp.Body.Close() // a 304 has none
		t.vouched(ctx, f, got)
	case t.prior != nil && t.failure(resp.StatusCode):
		f.failure = true
		f.give(resp)
	default:
		if !t.keep(f, resp, got) {
			f.give(resp)
		}
	}
}

// fetch sends one request to the site. The caches' own fields mean nothing
// beyond it.
func (t *task) fetch(ctx context.Context, to *url.URL, header http.Header) (*http.Response, error) {
	req := t.request(ctx, to, header)
	if accepts := t.accepts(req); accepts != nil {
		about := vouch.Of(ctx)
		about.Accept = accepts
		req = req.WithContext(vouch.With(ctx, about))
	}
	resp, err := t.site.Upstream.Fetch(req)
	if err == nil {
		vouch.Strip(resp.Header)
	}
	return resp, err
}

// notBefore has caches on the way give nothing older than a purge (RFC 9111
// §5.2.1.1): they may not have heard of it yet.
func (t *task) notBefore(header http.Header) {
	since, ok := t.store.PurgedSince(t.site.Name, t.path, t.query)
	if !ok || strings.Contains(header.Get("Cache-Control"), "no-cache") || strings.Contains(header.Get("Cache-Control"), "max-age=0") {
		return
	}
	header.Set("Cache-Control", "max-age="+contentLength(int64(since/time.Second)))
}

// vouched freshens the stored response by a 304 (RFC 9111 §4.3.4). If its
// fields would make of it what may not be stored, it is good for the asker alone,
// and everybody else has to ask too.
func (t *task) vouched(ctx context.Context, f *flight, got rfc9111.Response) {
	o := *t.prior
	got.Header, f.cookies = t.withoutCookies(got.Header)
	o.Header = rfc9111.Update304(o.Header, got, t.site.RulesFor(o.Header))
	o.RequestTime, o.ResponseTime, o.Doubt = got.RequestTime, got.ResponseTime, object.NoDoubt
	o.SetMarks(t.store.Marker(), t.path, t.query) // its tags may be others now
	f.object = &o
	keep := o
	verdict := rfc9111.Storable(rfc9111.Request{Method: http.MethodGet, URL: t.url, Header: t.client}, response(&o), t.site.RulesFor(o.Header))
	if !verdict.Store {
		f.lone = true
		if !shared(verdict.Reason) {
			return
		}
		keep = *t.prior
		keep.Doubt = object.Invalidated
	}
	if err := t.store.Objects().Update(context.WithoutCancel(ctx), &keep); err != nil {
		t.h.log.DebugContext(ctx, "a freshened response could not be recorded", "site", t.site.Name, "err", err)
	}
}

// shared reports whether a refusal to store is about the response for whoever
// asks, and not about this request.
func shared(r rfc9111.Reason) bool {
	return r != rfc9111.ReasonRequestNoStore && r != rfc9111.ReasonAuthorization
}

// withoutCookies takes the cookies out of what somebody with credentials got:
// they are part of the session and nobody else's.
func (t *task) withoutCookies(h http.Header) (http.Header, []string) {
	cookies := h["Set-Cookie"]
	if len(cookies) == 0 || t.client.Get("Cookie") == "" && t.client.Get("Authorization") == "" {
		return h, nil
	}
	h = h.Clone()
	h.Del("Set-Cookie")
	return h, cookies
}

// keep stores the response if it may, and feeds its body to the object's fill.
// false means that the caller still owns the response and relays it.
func (t *task) keep(f *flight, resp *http.Response, got rfc9111.Response) bool {
	verdict := rfc9111.Storable(rfc9111.Request{Method: http.MethodGet, URL: t.url, Header: t.client}, got, t.site.RulesFor(got.Header))
	if !verdict.Store {
		t.notKept(resp, verdict.Reason)
		return false
	}
	got.Header, f.cookies = t.withoutCookies(got.Header)
	o, stream := t.object(resp, got)
	if o == nil {
		t.h.unshared.Set(t.key, mark{whole: true})
		return false
	}
	if t.store.TooLarge(o.Length) {
		return false
	}
	f.lent = f.lent && t.mayLend(o)
	body, ok := t.open(o, stream, origin{f.source, f.nearby.tried() != nil, f.lent})
	if !ok {
		return false
	}
	t.h.unshared.Forget(t.key)
	if t.prior != nil && (t.prior.VaryKey != o.VaryKey || !slices.Equal(t.prior.VaryNames, o.VaryNames)) {
		t.forget("replaced")
	}
	f.object, f.stored = o, true
	if o.Fragment {
		f.part = &part{rfc9111.Span{Off: stream.From, Len: stream.To - stream.From}, resp.Header.Get("Content-Range")}
	}
	f.mu.Lock()
	f.body = body
	f.mu.Unlock()
	return true
}

// origin is where a stream comes from.
type origin struct {
	from  string // who sends it
	waits bool   // that is a neighbour who may be fetching it
	lent  bool   // and who keeps it: it need not be kept here
}

// open stores o and begins its fill with the stream that is open.
func (t *task) open(o *object.Object, stream *fill.Stream, by origin) (*fill.Body, bool) {
	src := t.source(o)
	if o.Complete {
		_ = stream.Body.Close() // there is nothing in it
		stream = nil
	}
	if stream != nil && by.from != sourceNeighbour { // who sends what is vouched for
		stream = src.checked(stream, t.fragmentsOf(t.h.ctx))
	}
	if stream != nil {
		stream.Body = src.feeding(stream.Body, by.from, by.waits, by.lent)
	}
	var body *fill.Body
	var err error
	if by.lent && stream != nil {
		body, err = t.store.Lend(context.Background(), o, src, stream, t.h.lends(src))
	} else {
		body, err = t.store.Create(context.Background(), o, src, stream)
	}
	if err != nil {
		t.h.log.Debug("a response can't be kept", "site", t.site.Name, "err", err)
		return nil, false
	}
	if t.overtakenByGone() {
		t.removeAll()
	}
	return body, true
}

// notKept takes note of a response that may not be stored.
func (t *task) notKept(resp *http.Response, why rfc9111.Reason) {
	if resp.StatusCode == http.StatusNotModified || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return // about this request's own conditions
	}
	// An error may be over when the class tries again, and then it should come
	// once for all.
	if resp.StatusCode < 400 && shared(why) {
		t.h.unshared.Set(t.key, mark{alone: true})
	}
	if t.prior != nil && !t.failure(resp.StatusCode) {
		t.forget("changed")
	}
}

// forget removes the object that was to be validated: there is another now.
func (t *task) forget(cause string) {
	if err := t.store.Objects().Remove(context.Background(), t.key, t.prior.ID, cause); err != nil {
		t.h.log.Warn("an outdated response could not be removed", "site", t.site.Name, "err", err)
	}
}

// object makes the object for a response that may be stored, and the stream of
// its body. nil means that it is a part that nothing could be joined to.
func (t *task) object(resp *http.Response, got rfc9111.Response) (*object.Object, *fill.Stream) {
	names, _ := rfc9111.VaryFields(resp.Header) // "*" was refused as not storable
	o := &object.Object{
		ID: object.NewID(), Key: t.key, Site: t.site.Name, Status: resp.StatusCode,
		Header:      rfc9111.StoredHeader(got, t.site.RulesFor(got.Header)),
		RequestTime: got.RequestTime, ResponseTime: got.ResponseTime,
		VaryNames: names, VaryKey: varyKey(t.store, names, t.client),
		Length: resp.ContentLength,
	}
	_, strong := rfc9111.StrongValidator(got)
	stream := &fill.Stream{Body: resp.Body, To: resp.ContentLength, Total: resp.ContentLength, Proven: true}
	if resp.StatusCode == http.StatusPartialContent {
		off, last, total, err := rfc9111.ParseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || total < 0 || resp.ContentLength < 0 || resp.ContentLength > last-off+1 {
			return nil, nil
		}
		if !strong && !t.ranged {
			return nil, nil // nobody asked for a part, and the rest can't be joined to it
		}
		// RFC 9111 §3.3: an incomplete 200, to be completed by ranges if the
		// version can be named. A sender that promises more than it sends is
		// believed for what it sends.
		o.Status, o.Length, o.Fragment = http.StatusOK, total, !strong
		o.Header.Del("Content-Range")
		stream.From, stream.To, stream.Total = off, off+resp.ContentLength, total
	}
	o.SetMarks(t.store.Marker(), t.path, t.query)
	o.Ranges = strong && o.Status == http.StatusOK
	o.Header.Del("Content-Length") // the body's length says it, at every answer
	if o.Length == 0 {
		b, err := block.Manifest{SHA256: block.Sum(nil)}.MarshalBinary()
		if err != nil {
			return nil, nil
		}
		o.Complete, o.Inline = true, b
	}
	if t.lists != "" && !o.Fragment && o.Status == http.StatusOK && listable(resp.Header) {
		o.Lists = t.lists
	}
	return o, stream
}

// listable reports whether a response is something that people open by itself.
func listable(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return false
	}
	switch main, sub, _ := strings.Cut(kind, "/"); main {
	case "audio", "video", "image":
		return main != "image" || sub != "x-icon" && sub != "vnd.microsoft.icon"
	case "application":
		return sub == "pdf" || sub == "zip" || sub == "epub+zip" || strings.HasPrefix(sub, "vnd.o")
	default:
		return kind == "text/html"
	}
}

// part is where a fragment lies, and what the site said of it.
type part struct {
	span         rfc9111.Span
	contentRange string
}

// mark remembers how a resource is to be asked for.
type mark struct {
	alone bool // its response could not be shared: nobody need wait for another's
	whole bool // its parts can't be joined: ask for all of it
}

// endingBody ends a flight's context when its response has been relayed.
type endingBody struct {
	io.ReadCloser
	end context.CancelFunc
}

func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

func contentLength(n int64) string { return strconv.FormatInt(n, 10) }
