package rfc9111

import (
	"net/http"
	"time"
)

// Reason is a short constant that explains a decision; it may be written into
// Cache-Status (it is a token) and shown by an explanation of a request.
type Reason string

// Why a response may be stored or not.
const (
	ReasonStored         Reason = "stored"
	ReasonMethod         Reason = "method"                // not GET, nor a POST that answers for GET
	ReasonStatus         Reason = "status"                // not final, or about its own request only
	ReasonNotUnderstood  Reason = "status-not-understood" // must-understand
	ReasonNoStore        Reason = "no-store"
	ReasonRequestNoStore Reason = "request-no-store"
	ReasonPrivate        Reason = "private"
	ReasonAuthorization  Reason = "authorization"
	ReasonNotCacheable   Reason = "not-cacheable" // nothing explicit, and a status without a default
	ReasonVaryAny        Reason = "vary-any"
	ReasonPartial        Reason = "partial" // 206 without one readable Content-Range
	ReasonNothingToReuse Reason = "no-freshness-no-validator"
)

// Verdict is the answer to whether a response may be stored.
type Verdict struct {
	Store  bool
	Reason Reason
}

// Storable says whether a shared cache may store resp as an answer to req (RFC
// 9111 section 3), and whether that would be of any use.
//
// A 206 is storable as the incomplete response of RFC 9111 section 3.3; the
// caller must keep it apart from a complete one and combine parts only by a
// strong validator (section 3.4). Set-Cookie does not forbid storing; a profile
// that minds says so itself. What is stored must pass through StoredHeader.
func Storable(req Request, resp Response, rules Rules) Verdict {
	d := ParseResponseDirectives(resp.Header, rules)
	if reason := forbidden(req, resp, d); reason != "" {
		return Verdict{Reason: reason}
	}
	if reason := useless(resp, d, rules); reason != "" {
		return Verdict{Reason: reason}
	}
	return Verdict{Store: true, Reason: ReasonStored}
}

// forbidden follows the list of RFC 9111 section 3 in its order.
func forbidden(req Request, resp Response, d ResponseDirectives) Reason {
	// The method is understood. A HEAD has nothing to keep: UpdateHEAD uses
	// it to freshen what is stored (section 4.3.5).
	if req.Method != http.MethodGet && req.Method != http.MethodPost {
		return ReasonMethod
	}
	// The status is final. RFC 9110 section 15: what is no status at all
	// counts as a 5xx nobody understands.
	if resp.Status < 200 || resp.Status > 599 || about(resp.Status) {
		return ReasonStatus
	}
	if resp.Status == http.StatusPartialContent && (req.Method != http.MethodGet || !singlePart(resp.Header)) {
		return ReasonPartial
	}
	if d.MustUnderstand && !understood(resp.Status) {
		return ReasonNotUnderstood
	}
	// must-understand lifts no-store once it is obeyed (section 5.2.2.3).
	if d.NoStore && (!d.MustUnderstand || d.Malformed) {
		return ReasonNoStore
	}
	// Section 5.2.1.5.
	if ParseRequestDirectives(req.Header).NoStore {
		return ReasonRequestNoStore
	}
	// With a list of fields, private is about those alone (section 5.2.2.7);
	// StoredHeader leaves them out.
	if d.Private {
		return ReasonPrivate
	}
	// Section 3.5.
	if _, ok := req.Header["Authorization"]; ok && (d.Malformed || !d.Public && !d.MustRevalidate && !d.SMaxage.Set) {
		return ReasonAuthorization
	}
	explicit := d.MaxAge.Set || d.SMaxage.Set || d.Targeted == "" && len(resp.Header["Expires"]) > 0
	if !explicit && !d.Public && !heuristicStatus(resp.Status) {
		return ReasonNotCacheable
	}
	// RFC 9110 section 9.3.3: a POST answers for a GET of its URI if it says
	// so and for how long.
	if req.Method == http.MethodPost && !(explicit && resp.Status == http.StatusOK && locatesItself(req, resp.Header)) {
		return ReasonMethod
	}
	return ""
}

// useless names why a response that may be stored is not worth it: no request
// could be answered with it. Vary: * is one such (RFC 9111 section 4.1), being
// already stale without a validator another.
func useless(resp Response, d ResponseDirectives, rules Rules) Reason {
	if _, star := VaryFields(resp.Header); star {
		return ReasonVaryAny
	}
	if hasValidator(resp.Header) {
		return ""
	}
	if d.NoCache {
		return ReasonNothingToReuse
	}
	if life, _ := resp.lifetime(d, rules); life > 0 || positive(d.StaleWhileRevalidate) || positive(d.StaleIfError) {
		return ""
	}
	return ReasonNothingToReuse
}

func positive(d Delta) bool {
	v, ok := d.OK()
	return ok && v > 0
}

func hasValidator(h http.Header) bool {
	if _, ok := storedTag(h); ok {
		return true
	}
	v := h["Last-Modified"]
	if len(v) == 0 {
		return false
	}
	_, ok := ParseTime(v[0], time.Time{})
	return ok
}

func singlePart(h http.Header) bool {
	v, ok := single(h, "Content-Range")
	if !ok {
		return false
	}
	off, _, _, err := ParseContentRange(v)
	return err == nil && off >= 0
}

func locatesItself(req Request, h http.Header) bool {
	v, ok := single(h, "Content-Location")
	if !ok || req.URL == nil {
		return false
	}
	u, err := req.URL.Parse(v)
	return err == nil && sameOrigin(req.URL, u) && u.EscapedPath() == req.URL.EscapedPath() && u.RawQuery == req.URL.RawQuery
}
