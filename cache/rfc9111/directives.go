package rfc9111

import (
	"net/http"
	"strings"
	"time"
)

// Delta is the argument of a directive that takes delta-seconds.
type Delta struct {
	D     time.Duration
	Set   bool // the directive is there
	Valid bool // and its argument can be read
}

// set keeps the first value: of a directive that comes twice the first counts
// (RFC 9111 section 4.2.1).
func (d *Delta) set(arg string) {
	if d.Set {
		return
	}
	d.Set = true
	d.D, d.Valid = parseDelta(arg)
}

// OK returns the value if the directive is there and can be read.
func (d Delta) OK() (time.Duration, bool) { return d.D, d.Set && d.Valid }

// RequestDirectives is what a request's Cache-Control asks (RFC 9111 section
// 5.2.1, RFC 5861 section 4). They are wishes: a cache may do without them,
// this one heeds them all. Directives whose argument cannot be read are absent.
type RequestDirectives struct {
	MaxAge, MinFresh, StaleIfError Delta
	MaxStale                       Delta
	MaxStaleAny                    bool // max-stale without an argument
	NoCache, NoStore               bool
	NoTransform                    bool
	// OnlyIfCached asks for a stored response or 504 (RFC 9111 section
	// 5.2.1.7): whatever a Decision says must be validated is then a 504.
	OnlyIfCached bool
}

// ParseRequestDirectives reads the Cache-Control of a request. Without one,
// Pragma: no-cache counts as no-cache: HTTP/1.0 clients know nothing else, and
// RFC 9111 section 5.4 leaves it to us.
func ParseRequestDirectives(h http.Header) RequestDirectives {
	var d RequestDirectives
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		for _, line := range h["Pragma"] {
			for line != "" {
				var elem string
				elem, line, _ = cut(line)
				d.NoCache = d.NoCache || equalFold(elem, "no-cache")
			}
		}
		return d
	}
	eachDirective(lines, func(name, arg string, hasArg bool) {
		switch {
		case equalFold(name, "no-cache"):
			d.NoCache = true
		case equalFold(name, "no-store"):
			d.NoStore = true
		case equalFold(name, "max-age"):
			d.MaxAge.set(arg)
		case equalFold(name, "max-stale"):
			if hasArg {
				d.MaxStale.set(arg)
			} else {
				d.MaxStaleAny = true
			}
		case equalFold(name, "min-fresh"):
			d.MinFresh.set(arg)
		case equalFold(name, "stale-if-error"):
			d.StaleIfError.set(arg)
		case equalFold(name, "only-if-cached"):
			d.OnlyIfCached = true
		case equalFold(name, "no-transform"):
			d.NoTransform = true
		}
	})
	return d
}

// ResponseDirectives is what a response lets a shared cache do: its
// Cache-Control (RFC 9111 section 5.2.2, RFC 5861, RFC 8246), or the targeted
// field that stands in its place (RFC 9213).
type ResponseDirectives struct {
	MaxAge, SMaxage                    Delta
	StaleWhileRevalidate, StaleIfError Delta
	NoCache, Private                   bool     // without a list of fields
	NoCacheFields, PrivateFields       []string // with one; canonical names
	NoStore, Public                    bool
	MustRevalidate, ProxyRevalidate    bool
	MustUnderstand, Immutable          bool
	NoTransform                        bool
	// Malformed says that a quoted-string in Cache-Control has no end. What
	// restricts still counts, what permits does not.
	Malformed bool
	// Targeted is the field the directives come from, empty for
	// Cache-Control. If it is set, Expires must be ignored too.
	Targeted string
}

// ParseResponseDirectives reads the directives that apply to this cache.
func ParseResponseDirectives(h http.Header, rules Rules) ResponseDirectives {
	for _, name := range rules.Targeted {
		// RFC 9213 section 2.2: the first of the list that is there, valid and
		// not empty counts; Cache-Control and Expires then do not.
		key := http.CanonicalHeaderKey(name)
		if lines := h[key]; len(lines) > 0 {
			if d, ok := parseTargeted(lines); ok {
				d.Targeted = key
				return d
			}
		}
	}
	var d ResponseDirectives
	if lines := h["Cache-Control"]; len(lines) > 0 {
		if !eachDirective(lines, d.add) {
			d.Malformed = true
			d.Public, d.Immutable = false, false
			d.StaleWhileRevalidate, d.StaleIfError = Delta{}, Delta{}
		}
	}
	return d
}

// add takes one directive of a Cache-Control field. Directives that forbid
// something count even with an argument they should not have.
func (d *ResponseDirectives) add(name, arg string, hasArg bool) {
	switch {
	case equalFold(name, "max-age"):
		d.MaxAge.set(arg)
	case equalFold(name, "s-maxage"):
		d.SMaxage.set(arg)
	case equalFold(name, "no-cache"):
		// The token form of the argument is not to be sent but may be
		// understood (RFC 9111 section 5.2.2.4).
		qualify(&d.NoCache, &d.NoCacheFields, arg, hasArg)
	case equalFold(name, "private"):
		qualify(&d.Private, &d.PrivateFields, arg, hasArg)
	case equalFold(name, "no-store"):
		d.NoStore = true
	case equalFold(name, "public"):
		d.Public = true
	case equalFold(name, "must-revalidate"):
		d.MustRevalidate = true
	case equalFold(name, "proxy-revalidate"):
		d.ProxyRevalidate = true
	case equalFold(name, "must-understand"):
		d.MustUnderstand = true
	case equalFold(name, "immutable"):
		d.Immutable = true
	case equalFold(name, "no-transform"):
		d.NoTransform = true
	case equalFold(name, "stale-while-revalidate"):
		d.StaleWhileRevalidate.set(arg)
	case equalFold(name, "stale-if-error"):
		d.StaleIfError.set(arg)
	}
}

// qualify records no-cache or private. A list that names no field, or
// something that is no field, makes the directive apply to the whole response:
// the stricter reading.
func qualify(whole *bool, fields *[]string, list string, hasList bool) {
	if !hasList {
		*whole = true
		return
	}
	before := len(*fields)
	for rest := list; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, ",")
		if elem = trimOWS(elem); elem == "" {
			continue
		}
		if !isToken(elem) {
			*whole = true
			continue
		}
		*fields = append(*fields, http.CanonicalHeaderKey(elem))
	}
	if len(*fields) == before {
		*whole = true
	}
}

// eachDirective calls f for every directive of a Cache-Control field: a token,
// alone or with "=" and a token or quoted-string (RFC 9111 section 5.2). What
// is not a directive is skipped. It returns false if a quoted-string never
// ends; the rest of that line is then read as if quotes were ordinary
// characters, so that a no-store behind the stray quote is not lost.
func eachDirective(lines []string, f func(name, arg string, hasArg bool)) bool {
	sound := true
	for _, line := range lines {
		quotes := true
		for line != "" {
			elem, rest, closed := "", "", false
			if quotes {
				elem, rest, closed = cut(line)
			}
			if !closed {
				sound, quotes = false, false
				elem, rest, _ = strings.Cut(line, ",")
				elem = trimOWS(elem)
			}
			line = rest
			name, arg, hasArg := strings.Cut(elem, "=")
			if !isToken(name) { // "max-age =1" is no directive at all
				continue
			}
			if hasArg && len(arg) > 1 && arg[0] == '"' && arg[len(arg)-1] == '"' {
				arg = unquote(arg[1 : len(arg)-1])
			}
			f(name, arg, hasArg)
		}
	}
	return sound
}

// unquote takes the backslashes out of the inside of a quoted-string.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}
