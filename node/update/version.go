package update

import (
	"cmp"
	"regexp"
	"strings"
)

// versions is what a version of a package looks like, as images/pack makes them:
// no epoch and no revision, so it can be part of a file's name.
var versions = regexp.MustCompile(`^[0-9][0-9A-Za-z.+~]{0,99}$`)

// Compare orders versions as dpkg does (deb-version(7)): runs of digits count as
// numbers, and ~ sorts before everything, even the end.
func Compare(a, b string) int {
	for a != "" || b != "" {
		var wa, wb string
		wa, a = head(a, false)
		wb, b = head(b, false)
		if c := words(wa, wb); c != 0 {
			return c
		}
		wa, a = head(a, true)
		wb, b = head(b, true)
		wa, wb = strings.TrimLeft(wa, "0"), strings.TrimLeft(wb, "0")
		if c := cmp.Or(cmp.Compare(len(wa), len(wb)), strings.Compare(wa, wb)); c != 0 {
			return c
		}
	}
	return 0
}

// head cuts off what s begins with: digits, or all before the first one.
func head(s string, digits bool) (string, string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9') == digits {
		i++
	}
	return s[:i], s[i:]
}

func words(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// weight is where a character sorts: ~, then the end, letters, and all others.
func weight(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	switch c := s[i]; {
	case c == '~':
		return -1
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return int(c)
	default:
		return int(c) + 256
	}
}
