package rfc9111

import (
	"net/http"
	"strings"
)

// entityTag is an entity tag of RFC 9110 section 8.8.3. Origins exist that send
// tags without quotes and compare them as they stand; such a tag is legal ==
// false and equal only to itself, letter by letter.
type entityTag struct {
	opaque      string // with its quotes
	weak, legal bool
}

func parseTag(s string) entityTag {
	body, weak := strings.CutPrefix(s, "W/")
	if len(body) < 2 || body[0] != '"' || body[len(body)-1] != '"' {
		return entityTag{opaque: s}
	}
	for i := 1; i < len(body)-1; i++ {
		if c := body[i]; c < 0x21 || c == '"' || c == 0x7f {
			return entityTag{opaque: s}
		}
	}
	return entityTag{opaque: body, weak: weak, legal: true}
}

// strongly and weakly are the two comparisons of RFC 9110 section 8.8.3.2.
func (t entityTag) strongly(u entityTag) bool {
	return t.legal && u.legal && !t.weak && !u.weak && t.opaque == u.opaque
}

func (t entityTag) weakly(u entityTag) bool {
	return t.legal == u.legal && t.opaque == u.opaque
}

// storedTag returns the entity tag of a response. A tag without quotes is only
// taken if it can stand alone in a list.
func storedTag(h http.Header) (entityTag, bool) {
	v, ok := single(h, "Etag")
	if !ok {
		return entityTag{}, false
	}
	v = trimOWS(v)
	t := parseTag(v)
	if !t.legal && (v == "" || v == "*" || strings.ContainsAny(v, " \t,")) {
		return entityTag{}, false
	}
	return t, true
}

// nextTag takes the first member off a list of entity tags. What is no entity
// tag reaches to the next comma.
func nextTag(s string) (t entityTag, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t,")
	if s == "" {
		return entityTag{}, "", false
	}
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if start < len(s) && s[start] == '"' {
		if end := strings.IndexByte(s[start+1:], '"'); end >= 0 {
			end += start + 2
			if tail := strings.TrimLeft(s[end:], " \t"); tail == "" || tail[0] == ',' {
				return parseTag(s[:end]), tail, true
			}
		}
	}
	elem, rest, _ := strings.Cut(s, ",")
	return parseTag(trimOWS(elem)), rest, true
}

// anyTag reports whether a list of entity tags is "*" or has a member for
// which match holds.
func anyTag(lines []string, match func(entityTag) bool) bool {
	if len(lines) == 1 && trimOWS(lines[0]) == "*" {
		return true
	}
	for _, line := range lines {
		for {
			t, rest, ok := nextTag(line)
			if !ok {
				break
			}
			if match(t) {
				return true
			}
			line = rest
		}
	}
	return false
}
