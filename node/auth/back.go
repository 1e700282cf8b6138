package auth

import (
	"net/url"
	"strings"
)

// local is a path of this box to go back to after a sign-in, or nothing for
// whatever else it may be: an address elsewhere, or another sign-in.
func local(path string) string {
	if len(path) > 2000 || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return ""
	}
	// A browser takes \ for / and leaves out tabs and line breaks (URL Standard,
	// "basic URL parser").
	if strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
		return ""
	}
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(withoutLanguage(u.Path), "/"), "/")
	switch first {
	case "sign-in", "sign-out", "claim":
		return ""
	}
	return path
}

func withoutLanguage(path string) string {
	for _, l := range []string{"/fr", "/en"} {
		if rest, ok := strings.CutPrefix(path, l); ok && strings.HasPrefix(rest, "/") {
			return rest
		}
	}
	return path
}
