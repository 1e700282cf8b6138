package edge

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"preau/cache/object"
	"preau/cache/rfc9111"
)

// freshenByHead applies what a response to HEAD says of the stored response to
// GET (RFC 9111 §4.3.5).
func (x *exchange) freshenByHead(resp *http.Response) {
	set, err := x.store.Objects().Lookup(x.key)
	if err != nil {
		return
	}
	o := x.selectVariant(set)
	if o == nil {
		return
	}
	stored := response(o)
	if o.Length >= 0 { // the length is not among the stored fields
		stored.Header = stored.Header.Clone()
		stored.Header.Set("Content-Length", contentLength(o.Length))
	}
	// What may not be stored for others may not change what they get either.
	verdict := rfc9111.Storable(rfc9111.Request{Method: http.MethodGet, URL: x.url(), Header: x.r.Header},
		rfc9111.Response{Status: resp.StatusCode, Header: resp.Header}, x.site.RulesFor(resp.Header))
	if !verdict.Store && !shared(verdict.Reason) {
		return
	}
	private := verdict.Reason == rfc9111.ReasonPrivate || verdict.Reason == rfc9111.ReasonNoStore
	head := rfc9111.Response{Status: resp.StatusCode, Header: resp.Header, RequestTime: x.start, ResponseTime: time.Now()}
	header, effect := rfc9111.UpdateHEAD(stored, head, x.site.RulesFor(stored.Header))
	next := *o
	switch {
	case private && effect != rfc9111.HeadIgnored, effect == rfc9111.HeadInvalidates:
		next.Doubt = object.Invalidated
	case effect == rfc9111.HeadUpdates:
		if x.hasCredentials() {
			header.Del("Set-Cookie")
			for _, c := range o.Header["Set-Cookie"] {
				header.Add("Set-Cookie", c)
			}
		}
		header.Del("Content-Length")
		next.Header, next.RequestTime, next.ResponseTime, next.Doubt = header, head.RequestTime, head.ResponseTime, object.NoDoubt
		next.SetMarks(x.store.Marker(), x.path, x.query)
	default:
		return
	}
	if err := x.store.Objects().Update(x.r.Context(), &next); err != nil {
		x.h.log.Debug("what HEAD told could not be recorded", "site", x.site.Name, "err", err)
	}
}

// weight reads the q parameter of a preference (RFC 9110 §12.4.2).
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			if q, err := strconv.ParseFloat(v, 64); err == nil {
				return q
			}
			return 0
		}
	}
	return 1
}
