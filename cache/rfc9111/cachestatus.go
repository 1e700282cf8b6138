package rfc9111

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Why a request went forward, for CacheStatus.Fwd (RFC 9211 section 2.2).
const (
	FwdBypass   = "bypass"
	FwdMethod   = "method"
	FwdURIMiss  = "uri-miss"
	FwdVaryMiss = "vary-miss"
	FwdMiss     = "miss"
	FwdRequest  = "request"
	FwdStale    = "stale"
	FwdPartial  = "partial"
)

// CacheStatus is one cache's member of a Cache-Status field (RFC 9211).
type CacheStatus struct {
	// Hit: the request was answered without going forward. Fwd and what
	// belongs to it are then left out.
	Hit       bool
	Fwd       string
	FwdStatus int // 0 leaves it out
	Stored    bool
	Collapsed bool
	TTL       *time.Duration // negative when stale; nil leaves it out
	Key       string
	Detail    string
}

// Member returns the status as a member of the list, as the named cache.
func (s CacheStatus) Member(name string) string {
	b := make([]byte, 0, 96)
	b = appendTokenOrString(b, name)
	switch {
	case s.Hit:
		b = append(b, "; hit"...)
	case isSFToken(s.Fwd):
		b = append(b, "; fwd="...)
		b = append(b, s.Fwd...)
		if s.FwdStatus != 0 {
			b = append(b, "; fwd-status="...)
			b = strconv.AppendInt(b, int64(s.FwdStatus), 10)
		}
		if s.Stored {
			b = append(b, "; stored"...)
		}
		if s.Collapsed {
			b = append(b, "; collapsed"...)
		}
	}
	if s.TTL != nil {
		b = append(b, "; ttl="...)
		b = strconv.AppendInt(b, wholeSeconds(*s.TTL), 10)
	}
	if s.Key != "" {
		b = append(b, "; key="...)
		b = appendString(b, s.Key)
	}
	if s.Detail != "" {
		b = append(b, "; detail="...)
		b = appendTokenOrString(b, s.Detail)
	}
	return string(b)
}

// wholeSeconds rounds down, so that what has just gone stale has a negative
// time to live.
func wholeSeconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d < 0 && d%time.Second != 0 {
		s--
	}
	return s
}

// AppendCacheStatus adds the status at the end of the list, which is the end
// towards the client (RFC 9211 section 2).
func AppendCacheStatus(h http.Header, name string, s CacheStatus) {
	h["Cache-Status"] = append(slices.Clip(h["Cache-Status"]), s.Member(name))
}

func isSFToken(s string) bool {
	if s == "" || s[0] != '*' && !isAlpha(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isTokenChar(s[i]) && s[i] != ':' && s[i] != '/' {
			return false
		}
	}
	return true
}

func appendTokenOrString(b []byte, s string) []byte {
	if isSFToken(s) {
		return append(b, s...)
	}
	return appendString(b, s)
}

// appendString writes a String of RFC 9651, which is printable ASCII; anything
// else becomes a question mark.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, byte(r))
		}
	}
	return append(b, '"')
}

// String returns the member's parameters for logs, with no cache's name.
func (s CacheStatus) String() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.Member("x"), "x"), "; ")
}
