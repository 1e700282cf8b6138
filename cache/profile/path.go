package profile

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// segments decodes an escaped path. ok is false for what one server may read
// differently from the next: empty and dot segments, encoded slashes,
// backslashes, path parameters, control characters, text that would decode
// again, and letters that nobody needs to encode (RFC 3986 section 6.2.2.2).
// Rules that match such a path by one reading would be led round by another.
func segments(escaped string) (path string, list []string, ok bool) {
	if len(escaped) == 0 || escaped[0] != '/' || len(escaped) > 8<<10 {
		return "", nil, false
	}
	list = strings.Split(escaped[1:], "/")
	for i, s := range list {
		if s == "" && i == len(list)-1 {
			break
		}
		plain, ok := segment(s)
		if !ok {
			return "", nil, false
		}
		list[i] = plain
	}
	return "/" + strings.Join(list, "/"), list, true
}

func segment(escaped string) (string, bool) {
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == ';' || c == '\\' || c == '?' || c == '#' || c <= ' ' || c >= 0x7f {
			return "", false
		}
		if c != '%' {
			continue
		}
		if i+2 >= len(escaped) || !isHex(escaped[i+1]) || !isHex(escaped[i+2]) {
			return "", false
		}
		b := unhex(escaped[i+1])<<4 | unhex(escaped[i+2])
		if b == '/' || b == '\\' || b == ';' || b < ' ' || b == 0x7f || unreserved(b) {
			return "", false
		}
		i += 2
	}
	plain, err := url.PathUnescape(escaped)
	if err != nil || !utf8.ValidString(plain) {
		return "", false
	}
	return plain, plainName(plain)
}

// plainName reports whether a decoded name is one segment under any reading.
func plainName(s string) bool {
	if s == "" || s == "." || s == ".." || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c == '/' || c == '\\' || c == ';' || c < ' ' || c == 0x7f {
			return false
		}
		if c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// escape encodes names as a path in which equal names are equal text.
func escape(names ...string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, name := range names {
		b.WriteByte('/')
		for i := range len(name) {
			c := name[i]
			if unreserved(c) || c == '!' || c == '*' || c == '\'' || c == '(' || c == ')' {
				b.WriteByte(c)
				continue
			}
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
