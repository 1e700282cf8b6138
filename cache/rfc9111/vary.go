package rfc9111

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// VaryFields returns the request fields that a response's Vary names, in
// canonical form, sorted and once each. star says that it varies on something
// no request shows: "*" anywhere in the list (RFC 9110 section 12.5.5), or a
// member that is no field name. Such a response matches no request.
func VaryFields(h http.Header) (names []string, star bool) {
	for _, line := range h["Vary"] {
		for line != "" {
			var name string
			name, line, _ = strings.Cut(line, ",")
			name = trimOWS(name)
			switch {
			case name == "":
			case name == "*" || !isToken(name):
				return nil, true
			default:
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	if len(names) > 1 {
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names, false
}

// VaryKey returns what a request holds in the named fields, in a form that is
// equal for two requests exactly if one's stored response may answer the other
// (RFC 9111 section 4.1). names must be as VaryFields returns them. An absent
// field differs from an empty one.
//
// What is evened out: several lines count as one list; white space around the
// commas of a list does not count. In Accept, Accept-Charset, Accept-Encoding
// and Accept-Language the order and the case of the members and the way a weight
// is written do not count either, because RFC 9110 section 12.5 gives them no
// meaning. Fields in which a comma is no separator are taken as they stand.
func VaryKey(names []string, reqHeader http.Header) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	for _, name := range names {
		lines, ok := reqHeader[name]
		b.WriteString(name)
		if !ok || len(lines) == 0 {
			b.WriteString(" -\n")
			continue
		}
		value := normalise(name, lines)
		// The length keeps two values apart from one that looks like both.
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(len(value)))
		b.WriteByte(' ')
		b.WriteString(value)
		b.WriteByte('\n')
	}
	return b.String()
}

func normalise(name string, lines []string) string {
	switch name {
	case "Cookie", "Authorization", "Proxy-Authorization", "User-Agent", "Referer", "Origin", "Host",
		"If-Modified-Since", "If-Unmodified-Since", "If-Range", "Date", "From":
		if len(lines) == 1 {
			return trimOWS(lines[0])
		}
		return strings.Join(lines, "\x00") // no list: nothing to combine
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language":
		if v, ok := weighted(name, lines); ok {
			return v
		}
	}
	if len(lines) == 1 && strings.IndexByte(lines[0], ',') < 0 {
		return trimOWS(lines[0])
	}
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteByte(',')
		}
		writeList(&b, line)
	}
	return b.String()
}

// writeList writes a list without the white space around its commas. Empty
// members stay: in a field we do not know they may mean something.
func writeList(b *strings.Builder, line string) {
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			b.WriteString(trimOWS(line[start:i]))
			b.WriteByte(',')
			start = i + 1
		}
	}
	b.WriteString(trimOWS(line[start:]))
}

type preference struct {
	what   string
	weight int // thousandths
}

// weighted writes a list of preferences in one way of many: heaviest first,
// then by name. It gives up on what it cannot read in full.
func weighted(name string, lines []string) (string, bool) {
	var list []preference
	for _, line := range lines {
		for line != "" {
			elem, rest, closed := cut(line)
			if !closed {
				return "", false
			}
			line = rest
			if elem == "" {
				continue // RFC 9110 section 5.6.1.2
			}
			p, ok := parsePreference(name, elem)
			if !ok || len(list) == 64 {
				return "", false
			}
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b preference) int {
		if a.weight != b.weight {
			return b.weight - a.weight
		}
		return strings.Compare(a.what, b.what)
	})
	list = slices.Compact(list)
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(p.what)
		if p.weight != 1000 {
			b.WriteString(";q=")
			b.WriteString(strconv.Itoa(p.weight))
		}
	}
	return b.String(), true
}

func parsePreference(name, elem string) (preference, bool) {
	what, params, has := strings.Cut(elem, ";")
	p := preference{what: strings.ToLower(trimOWS(what)), weight: 1000}
	for has {
		var param string
		if strings.IndexByte(params, '"') >= 0 {
			return p, false // a media type's parameter in quotes: too rare to untangle
		}
		param, params, has = strings.Cut(params, ";")
		key, value, _ := strings.Cut(trimOWS(param), "=")
		switch {
		case equalFold(key, "q"):
			w, ok := parseWeight(value)
			if !ok || has {
				return p, false
			}
			p.weight = w
		case name == "Accept" && isToken(key):
			p.what += ";" + strings.ToLower(key) + "=" + value
		default:
			return p, false
		}
	}
	return p, p.what != ""
}

// parseWeight reads a qvalue (RFC 9110 section 12.4.2) in thousandths.
func parseWeight(s string) (int, bool) {
	if s == "" || len(s) > 5 || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	w := int(s[0]-'0') * 1000
	unit := 100
	for i := 2; i < len(s); i++ {
		if !isDigit(s[i]) {
			return 0, false
		}
		w += int(s[i]-'0') * unit
		unit /= 10
	}
	return w, w <= 1000
}
