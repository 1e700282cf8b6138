package rfc9111

import (
	"net/http"
	"net/url"
	"strings"
)

// Invalidates reports whether a response to the method makes what is stored for
// its URI outdated (RFC 9111 section 4.4): the method is not known to be safe,
// and the status is no error.
func Invalidates(method string, status int) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace,
		"PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH": // registered as safe
		return false
	}
	return status >= 200 && status <= 399
}

// InvalidationTargets returns the URIs that such a response outdates: the
// target itself, and where Location and Content-Location point if that is the
// same origin (RFC 9111 section 4.4 forbids to go further). No two are equal and
// none has a fragment.
func InvalidationTargets(reqURL *url.URL, respHeader http.Header) []*url.URL {
	own := *reqURL
	own.Fragment, own.RawFragment = "", ""
	targets := []*url.URL{&own}
	for _, name := range [...]string{"Location", "Content-Location"} {
		for _, v := range respHeader[name] {
			u, err := reqURL.Parse(trimOWS(v))
			if err != nil || !sameOrigin(reqURL, u) {
				continue
			}
			u.Fragment, u.RawFragment = "", ""
			if !contains(targets, u) {
				targets = append(targets, u)
			}
		}
	}
	return targets
}

func contains(list []*url.URL, u *url.URL) bool {
	for _, v := range list {
		if v.String() == u.String() {
			return true
		}
	}
	return false
}

// sameOrigin compares scheme, host and port (RFC 9110 section 4.3.1).
func sameOrigin(a, b *url.URL) bool {
	return equalFold(a.Scheme, b.Scheme) && equalFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}
