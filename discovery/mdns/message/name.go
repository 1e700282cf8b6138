package message

import (
	"encoding/binary"
	"strings"
)

// maxName is the length of the longest name, as it is on the wire.
const maxName = 255

// name reads a name, which may go on elsewhere (RFC 1035 §4.1.4). Each jump must
// lead further back than the last, so that there is an end.
func (c *cursor) name() string {
	if c.err != nil {
		return ""
	}
	var out []byte
	at, back, after, size := c.at, c.at, -1, 1
	for {
		c.expect(at < len(c.b))
		if c.err != nil {
			return ""
		}
		n := int(c.b[at])
		switch n & 0xc0 {
		case 0x00:
			if n == 0 {
				if after < 0 {
					after = at + 1
				}
				c.at = after
				return string(out)
			}
			size += n + 1
			c.expect(at+1+n <= len(c.b) && size <= maxName)
			if c.err != nil {
				return ""
			}
			if len(out) > 0 {
				out = append(out, '.')
			}
			out = appendLabel(out, c.b[at+1:at+1+n])
			at += 1 + n
		case 0xc0:
			c.expect(at+2 <= len(c.b))
			if c.err != nil {
				return ""
			}
			to := int(binary.BigEndian.Uint16(c.b[at:]) & 0x3fff)
			c.expect(to < back && to >= 12)
			if c.err != nil {
				return ""
			}
			if after < 0 {
				after = at + 2
			}
			at, back = to, to
		default:
			c.expect(false)
			return ""
		}
	}
}

func appendLabel(out, label []byte) []byte {
	for _, b := range label {
		if b == '.' || b == '\\' {
			out = append(out, '\\')
		}
		out = append(out, b)
	}
	return out
}

// Label is a label as it stands in a name: dots and backslashes escaped.
func Label(s string) string { return string(appendLabel(nil, []byte(s))) }

// Below says whether name is one label before parent, and returns that label,
// unescaped.
func Below(name, parent string) (label string, ok bool) {
	i := len(name) - len(parent) - 1
	if i < 1 || name[i] != '.' || !Same(name[i+1:], parent) {
		return "", false
	}
	var out []byte
	for j := 0; j < i; j++ {
		switch name[j] {
		case '.':
			return "", false
		case '\\':
			// The dot before parent is escaped: it is in a label.
			if j++; j == i {
				return "", false
			}
		}
		out = append(out, name[j])
	}
	return string(out), true
}

// Same says whether two names are the same. Only the letters A to Z have two
// forms (RFC 6762 §16).
func Same(a, b string) bool { return len(a) == len(b) && Fold(a) == Fold(b) }

// Fold is the form of a name for comparisons.
func Fold(s string) string {
	if strings.IndexFunc(s, upper) < 0 {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if upper(rune(c)) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func upper(r rune) bool { return 'A' <= r && r <= 'Z' }
