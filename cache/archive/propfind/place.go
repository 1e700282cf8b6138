package propfind

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// place takes an item's address (RFC 4918 section 8.3): an absolute path, or a
// URL with one.
func (i *Item) place(href string) error {
	u, err := url.Parse(href)
	if err != nil {
		return fmt.Errorf("%w: an address that is none", ErrMalformed)
	}
	path := u.EscapedPath()
	if u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%w: an address that is no path of the server", ErrMalformed)
	}
	segments, ok := split(path)
	if !ok {
		return fmt.Errorf("%w: an address that is no file's", ErrMalformed)
	}
	i.Path, i.segments = path, segments
	return nil
}

// split returns the segments of an escaped path, unescaped, and whether each can
// be a file's name. A slash at the end counts for nothing: servers put it behind
// folders as they like (section 5.2).
func split(path string) ([]string, bool) {
	var segments []string
	for s := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		name, err := url.PathUnescape(s)
		if err != nil || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || !utf8.ValidString(name) {
			return nil, false
		}
		segments = append(segments, name)
	}
	if len(segments) == 1 && segments[0] == "" {
		return nil, true
	}
	return segments, !slices.Contains(segments, "")
}

// Below returns the item's name within a folder: unescaped, with slashes
// between, without one at the end, and empty for the folder itself. Servers
// escape more or fewer characters than those who ask, so that paths are compared
// unescaped. It reports false if the item is not in the folder.
func (i Item) Below(folder string) (name string, ok bool) {
	segments, ok := split(folder)
	if !ok || len(segments) > len(i.segments) || !slices.Equal(segments, i.segments[:len(segments)]) {
		return "", false
	}
	return strings.Join(i.segments[len(segments):], "/"), true
}
