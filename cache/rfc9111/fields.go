package rfc9111

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hopByHop are the fields that belong to one connection (RFC 9110 section
// 7.6.1) besides those that Connection names. Trailer announces fields that no
// stored response keeps.
var hopByHop = [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// StripHopByHop removes the fields that must not be passed on: those of the
// connection, and those that Connection names.
func StripHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for line != "" {
			var name string
			name, line, _ = strings.Cut(line, ",")
			if name = http.CanonicalHeaderKey(trimOWS(name)); !everyones(name) {
				delete(h, name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// everyones reports whether a field is meant for every recipient, so that it is
// never a connection option (RFC 9110 section 7.6.1). Heeding Connection here
// would let a neighbour take away the very fields that keep a response private.
func everyones(name string) bool {
	switch name {
	case "Age", "Authorization", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type",
		"Date", "Etag", "Expires", "Host", "Last-Modified", "Pragma", "Vary":
		return true
	}
	return strings.HasSuffix(name, "-Cache-Control")
}

// StoredHeader returns a copy of a response's header with what may be stored of
// it (RFC 9111 section 3.1): everything except the fields of the connection,
// those of a proxy, and those that no-cache or private name. Set-Cookie is kept.
// A response without a valid Date gets the time of its receipt (RFC 9110
// section 6.6.1).
func StoredHeader(resp Response, rules Rules) http.Header {
	h := resp.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	StripHopByHop(h)
	delete(h, "Proxy-Authenticate")
	delete(h, "Proxy-Authentication-Info")
	delete(h, "Proxy-Authorization")
	dropQualified(h, ParseResponseDirectives(resp.Header, rules))
	if v := h["Date"]; !resp.ResponseTime.IsZero() {
		if len(v) == 0 || !validTime(v[0], resp.ResponseTime) {
			h["Date"] = []string{resp.ResponseTime.UTC().Format(http.TimeFormat)}
		}
	}
	return h
}

func validTime(s string, now time.Time) bool {
	_, ok := ParseTime(s, now)
	return ok
}

// dropQualified removes the fields that no-cache or private name. Those that
// every decision rests on stay: without Cache-Control itself what is stored
// would lose its restrictions.
func dropQualified(h http.Header, d ResponseDirectives) {
	for _, name := range slices.Concat(d.NoCacheFields, d.PrivateFields) {
		if !everyones(name) {
			delete(h, name)
		}
	}
}

// Via appends a hop to Via (RFC 9110 section 7.6.3): the version the message
// came in, and the name the recipient goes by.
func Via(h http.Header, protoMajor, protoMinor int, pseudonym string) {
	version := strconv.Itoa(protoMajor)
	if protoMajor < 2 || protoMinor != 0 {
		version += "." + strconv.Itoa(protoMinor)
	}
	h["Via"] = append(slices.Clip(h["Via"]), version+" "+pseudonym)
}

// SetAge writes Age (RFC 9111 section 5.1), in whole seconds.
func SetAge(h http.Header, age time.Duration) {
	s := min(maxSeconds, max(0, int64(age/time.Second)))
	h["Age"] = []string{strconv.FormatInt(s, 10)}
}
