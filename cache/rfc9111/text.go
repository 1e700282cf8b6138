package rfc9111

import (
	"net/http"
	"strings"
	"time"
)

// maxSeconds is what a delta-seconds too great to be held counts as (RFC 9111
// section 1.2.2); nothing here lasts longer.
const maxSeconds = 1 << 31

const longest = maxSeconds * time.Second

// parseDelta reads delta-seconds: decimal digits and nothing else.
func parseDelta(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n < maxSeconds {
			n = n*10 + int64(c-'0')
		}
	}
	return time.Duration(min(n, maxSeconds)) * time.Second, true
}

// addSaturating adds two durations that are not negative.
func addSaturating(a, b time.Duration) time.Duration {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<63 - 1
}

func isOWS(c byte) bool { return c == ' ' || c == '\t' }

func trimOWS(s string) string {
	for s != "" && isOWS(s[0]) {
		s = s[1:]
	}
	for s != "" && isOWS(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// isTokenChar reports whether c may stand in a token (RFC 9110 section 5.6.2).
func isTokenChar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold compares ASCII without case. Field syntax knows no other letters,
// and strings.EqualFold would take the Kelvin sign for a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// single returns the only line of a field. Fields with several lines are not a
// single value, so they yield nothing.
func single(h http.Header, name string) (string, bool) {
	if v := h[name]; len(v) == 1 {
		return v[0], true
	}
	return "", false
}

// cut takes the first element off a comma-separated list. A comma inside a
// quoted-string does not separate (RFC 9110 section 5.6.1). closed is false if
// a quoted-string in it has no end; elem is then all that is left.
func cut(s string) (elem, rest string, closed bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return trimOWS(s[:i]), s[i+1:], true
		}
	}
	return trimOWS(s), "", !quoted
}
