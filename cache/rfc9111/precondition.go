package rfc9111

import "net/http"

// NeedsOrigin reports whether a request has a precondition that only an origin
// may judge: If-Match or If-Unmodified-Since (RFC 9111 section 4.3.2). Such a
// request goes forward as it is; a cache never answers 412.
func NeedsOrigin(reqHeader http.Header) bool {
	return len(reqHeader["If-Match"]) > 0 || len(reqHeader["If-Unmodified-Since"]) > 0
}

// Preconditions evaluates a request's conditions against the stored response
// that would answer it (RFC 9111 section 4.3.2, RFC 9110 section 13.2.2). It
// returns http.StatusNotModified if the client's copy will do, else 0: serve
// the response. Of the conditions a cache may judge, If-None-Match comes before
// If-Modified-Since. A response that is no success is served whatever the
// conditions (RFC 9110 section 13.2.1), and so is every method but GET and HEAD.
func Preconditions(method string, reqHeader http.Header, stored Response) int {
	if method != http.MethodGet && method != http.MethodHead || stored.Status < 200 || stored.Status > 299 {
		return 0
	}
	if lines := reqHeader["If-None-Match"]; len(lines) > 0 {
		// RFC 9110 section 13.1.2: the weak comparison; "*" matches whatever
		// is stored.
		own, ok := storedTag(stored.Header)
		if anyTag(lines, func(t entityTag) bool { return ok && t.weakly(own) }) {
			return http.StatusNotModified
		}
		return 0
	}
	// RFC 9110 section 13.1.3: what is not one valid date is ignored.
	v, ok := single(reqHeader, "If-Modified-Since")
	if !ok {
		return 0
	}
	since, ok := ParseTime(v, stored.ResponseTime)
	if !ok {
		return 0
	}
	// RFC 9111 section 4.3.2: without Last-Modified the Date stands in, and
	// without that the time of receipt.
	modified, ok := stored.lastModified()
	if !ok {
		modified = stored.date()
	}
	if modified.After(since) {
		return 0
	}
	return http.StatusNotModified
}

// IfRange reports whether the Range of a request may be applied to a stored
// response (RFC 9110 section 13.1.5): there is no If-Range, or it holds the
// response's strong entity tag, or its Last-Modified if that is strong.
func IfRange(reqHeader http.Header, stored Response) bool {
	lines := reqHeader["If-Range"]
	if len(lines) == 0 {
		return true
	}
	if len(lines) > 1 {
		return false
	}
	want := trimOWS(lines[0])
	if t := parseTag(want); t.legal {
		own, ok := storedTag(stored.Header)
		return ok && t.strongly(own)
	}
	date, ok := ParseTime(want, stored.ResponseTime)
	if !ok {
		return false
	}
	modified, ok := stored.strongDate()
	return ok && modified.Equal(date)
}
