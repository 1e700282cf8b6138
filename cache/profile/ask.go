package profile

import (
	"net/url"
	"strings"
)

// ask is a request as the rules read it.
type ask struct {
	Request
	// clear says that the path can be read in one way only; path and segments
	// are empty otherwise.
	clear    bool
	path     string   // decoded
	segments []string // of path; the last is empty if it ends in a slash
	folded   string   // path, or the escaped one if that is not clear, in lower case
	// pairs are the query's, in order; asked says that all of it can be read.
	pairs []pair
	asked bool
}

// pair is one key=value of a query.
type pair struct{ key, value, raw string }

func read(r Request) *ask {
	q := &ask{Request: r}
	q.path, q.segments, q.clear = segments(r.Path)
	if q.clear {
		q.folded = strings.ToLower(q.path)
	} else {
		q.folded = strings.ToLower(r.Path)
	}
	q.pairs, q.asked = pairs(r.Query)
	return q
}

// pairs reads a query. Both halves are decoded as forms are.
func pairs(raw string) ([]pair, bool) {
	if raw == "" {
		return nil, true
	}
	if len(raw) > 8<<10 {
		return nil, false
	}
	var list []pair
	ok := true
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil || strings.ContainsFunc(part, noQuery) || strings.ContainsRune(key, 0) || strings.ContainsRune(value, 0) {
			ok = false
			continue
		}
		list = append(list, pair{key, value, part})
	}
	return list, ok
}

// noQuery are characters that a query has only encoded (RFC 3986 section 3.4),
// or that some servers part a query at.
func noQuery(c rune) bool { return c <= ' ' || c >= 0x7f || c == ';' || c == '#' }

// value returns the value of a key, and whether it is there once.
func (q *ask) value(key string) (string, bool) {
	v, n := "", 0
	for _, p := range q.pairs {
		if p.key == key {
			v = p.value
			n++
		}
	}
	return v, n == 1
}

// has reports whether one of the keys is in the query.
func (q *ask) has(keys ...string) bool {
	for _, p := range q.pairs {
		for _, k := range keys {
			if strings.EqualFold(p.key, k) {
				return true
			}
		}
	}
	return false
}

// without returns the raw query without some keys.
func (q *ask) without(drop func(key string) bool) string {
	var b strings.Builder
	for _, p := range q.pairs {
		if drop(p.key) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.raw)
	}
	return b.String()
}

// in reports whether the path is one of those, or lies below it. Letters of
// either case count: it is asked for what is private, and some servers do not
// tell them apart.
func (q *ask) in(folders ...string) bool { return under(q.folded, folders...) }

func under(path string, folders ...string) bool {
	for _, f := range folders {
		if path == f || strings.HasPrefix(path, f) && (f[len(f)-1] == '/' || path[len(f)] == '/') {
			return true
		}
	}
	return false
}

// first reports whether the path begins with those segments, exactly.
func (q *ask) first(names ...string) bool {
	if len(q.segments) < len(names) {
		return false
	}
	for i, n := range names {
		if q.segments[i] != n {
			return false
		}
	}
	return true
}

// suffix returns the last name's ending behind its last dot, in lower case.
func (q *ask) suffix() string {
	if len(q.segments) == 0 {
		return ""
	}
	last := q.segments[len(q.segments)-1]
	i := strings.LastIndexByte(last, '.')
	if i < 0 {
		return ""
	}
	return strings.ToLower(last[i+1:])
}

// static reports whether the path is named like a file that a web server hands
// out without asking a program.
func (q *ask) static() bool {
	switch q.suffix() {
	case "js", "mjs", "css", "map", "svg", "png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "woff", "woff2", "ttf", "otf",
		"eot", "wasm", "tflite", "mp3", "ogg", "oga", "opus", "wav", "json", "webmanifest":
		return true
	}
	return false
}

// cookies calls f with the names of the request's cookies.
func (q *ask) cookies(f func(name string)) {
	for _, line := range q.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if part = strings.TrimSpace(part); part != "" {
				name, _, _ := strings.Cut(part, "=")
				f(strings.TrimSpace(name))
			}
		}
	}
}

// itself is the request's own target.
func (q *ask) itself() Target { return Target{Path: q.Path, Query: q.Query} }
