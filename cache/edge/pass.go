package edge

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"

	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// errGone is how an answer is replaced by the page about what is gone.
var errGone = errors.New("what is asked for is gone")

// pass sends the request through to the site as it is and its response back,
// streaming both ways. Nothing is stored; a successful unsafe request
// invalidates what is (RFC 9111 §4.4).
func (x *exchange) pass(fwd, detail string) {
	x.own()
	if x.wrote {
		return
	}
	if x.neighbour && x.plan != nil {
		x.onlyIfCached() // what is a client's own is not for neighbours
		return
	}
	if ok, _ := x.enter(); !ok {
		return
	}
	proxy := &httputil.ReverseProxy{
		Transport:     passTransport{x},
		FlushInterval: -1, // event streams and long polls: pass on what comes, when it comes
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			u := x.url()
			p.Out.URL, p.Out.Host = u, x.host()
			dropForwarded(p.Out.Header)
			rfc9111.Via(p.Out.Header, x.r.ProtoMajor, x.r.ProtoMinor, Name)
		},
		ModifyResponse: func(resp *http.Response) error {
			if x.passedGone(resp) {
				return errGone
			}
			x.passed(resp, fwd, detail)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, context.Canceled) && x.r.Context().Err() != nil {
				return // the client left
			}
			if errors.Is(err, errGone) {
				x.answerGone(rfc9111.CacheStatus{Fwd: fwd})
				return
			}
			x.noAnswer(err)
		},
	}
	if x.r.ContentLength != 0 {
		// An answer may begin before the request has ended. What can't do this
		// does it by itself (HTTP/2) or never (HTTP/1.0).
		_ = http.NewResponseController(x.w).EnableFullDuplex() //nolint:errcheck // see above
	}
	proxy.ServeHTTP(x.w, x.r)
}

// passed prepares the response to a request that was passed through.
func (x *exchange) passed(resp *http.Response, fwd, detail string) {
	x.wrote = true
	resp.Header.Del(profile.Field)
	x.count(resultPass)
	x.invalidate(resp)
	if x.r.Method == http.MethodHead && x.store != nil && (x.plan == nil || x.plan.Do == profile.ByRFC9111) {
		x.freshenByHead(resp)
	}
	vouch.Strip(resp.Header)
	rfc9111.Via(resp.Header, resp.ProtoMajor, resp.ProtoMinor, Name)
	x.localise(resp.Header)
	if detail == "" {
		detail = sourceSite
	}
	rfc9111.AppendCacheStatus(resp.Header, Name, rfc9111.CacheStatus{Fwd: fwd, FwdStatus: resp.StatusCode, Detail: detail})
	if resp.StatusCode != http.StatusSwitchingProtocols { // there the body must stay a connection
		resp.Body = &countedBody{ReadCloser: resp.Body, x: x}
	}
}

// invalidate marks what the response to an unsafe request outdates.
func (x *exchange) invalidate(resp *http.Response) {
	if x.store == nil || !rfc9111.Invalidates(x.r.Method, resp.StatusCode) {
		return
	}
	own := x.url()
	if x.site.PreserveHost {
		own.Host = x.r.Host
	}
	for _, u := range rfc9111.InvalidationTargets(own, resp.Header) {
		parts := x.keyParts()
		path, ok := x.sitePath(u.EscapedPath())
		if !ok {
			continue
		}
		parts[1], parts[2] = path, u.RawQuery
		if u.ForceQuery {
			parts[2] = "?"
		}
		for _, parts := range x.sharedToo(parts) {
			if _, err := x.store.Objects().Invalidate(x.r.Context(), x.store.Key(parts...)); err != nil {
				x.h.log.Warn("an outdated response could not be invalidated", "site", x.site.Name, "err", err)
			}
		}
	}
}

// sharedToo is what a key of a client's own is made of, and what the key of the
// same for everybody is.
func (x *exchange) sharedToo(parts []string) [][]string {
	if x.plan == nil {
		return [][]string{parts}
	}
	s := *x
	s.path, s.query, s.force, s.shared = parts[1], parts[2], false, true
	return [][]string{parts, s.keyParts()}
}

// passTransport sends requests by the site's line.
type passTransport struct{ x *exchange }

func (t passTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.x.site.Upstream.RoundTrip(req)
}

// countedBody counts what is passed on.
type countedBody struct {
	io.ReadCloser
	x *exchange
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.sent(sourceSite, int64(n))
	return n, err
}
