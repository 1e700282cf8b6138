package edge

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mostPlaylist bounds the multivariant playlists that are read.
const mostPlaylist = 256 << 10

// variant is one EXT-X-STREAM-INF of a multivariant playlist, with its URI (RFC
// 8216 section 4.3.4.2).
type variant struct {
	tag, uri  int // lines
	attrs     map[string]string
	height    int // the shorter side of the picture; 0 if it is not said
	bandwidth int64
}

// oneRendition rewrites a multivariant playlist so that of its renditions one is
// left: the tallest that is not taller than height, or else the least tall. The
// groups of sound and captions that it goes with are left too, and every tag that
// is about the whole presentation. ok is false if the playlist is none, offers no
// choice, or can't be read: then it is to be sent as it is.
func oneRendition(playlist []byte, height int) (out []byte, ok bool) {
	if len(playlist) > mostPlaylist || !utf8.Valid(playlist) {
		return nil, false
	}
	lines := splitLines(playlist)
	if len(lines) == 0 || lines[0] != "#EXTM3U" { // RFC 8216 section 4.3.1.1
		return nil, false
	}
	all, ok := variants(lines)
	if !ok {
		return nil, false
	}
	chosen, ok := choose(all, height)
	if !ok {
		return nil, false
	}
	left := make(map[int]bool, 2)
	for _, v := range all {
		// Variants that differ in nothing but where they are, are there in place of
		// each other (section 6.2.4).
		if sameRendition(v, chosen) {
			left[v.tag], left[v.uri] = true, true
		}
	}
	var b bytes.Buffer
	for i, line := range lines {
		isVariant := slices.ContainsFunc(all, func(v variant) bool { return v.tag == i || v.uri == i })
		if isVariant && !left[i] || !keepsTag(line, chosen) {
			continue
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.Bytes(), b.Len() < len(playlist)
}

// splitLines are the lines of a playlist, which end with LF or CR LF.
func splitLines(playlist []byte) []string {
	lines := strings.Split(strings.TrimSuffix(string(playlist), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return lines
}

// variants finds the renditions. It reports false if there are none, or the
// playlist is not as it should be.
func variants(lines []string) (all []variant, ok bool) {
	open := false
	for i, line := range lines {
		text, is := strings.CutPrefix(line, "#EXT-X-STREAM-INF:")
		switch {
		case is && open:
			return nil, false
		case is:
			attrs, ok := attributes(text)
			if !ok {
				return nil, false
			}
			v := variant{tag: i, attrs: attrs, height: shorterSide(attrs["RESOLUTION"])}
			v.bandwidth, _ = strconv.ParseInt(attrs["BANDWIDTH"], 10, 64) //nolint:errcheck // 0 if it is not said
			all, open = append(all, v), true
		case line == "" || line[0] == '#':
			if strings.HasPrefix(line, "#EXTINF:") {
				return nil, false // a playlist of media is no list of playlists (section 4.3.4)
			}
		case open:
			all[len(all)-1].uri, open = i, false
		default:
			return nil, false // a URI of nothing
		}
	}
	return all, len(all) > 0 && !open
}

// choose is the rendition to keep. There must be a choice.
func choose(all []variant, height int) (best variant, ok bool) {
	for _, v := range all {
		if v.height > 0 && (best.height == 0 || nearer(v, best, height)) {
			best = v
		}
	}
	return best, best.height > 0 && slices.ContainsFunc(all, func(v variant) bool { return !sameRendition(v, best) })
}

// nearer reports whether a is nearer to what is wanted than b: at or below rather
// than above, then nearer in height, then with fewer bits.
func nearer(a, b variant, height int) bool {
	belowA, belowB := a.height <= height, b.height <= height
	switch {
	case belowA != belowB:
		return belowA
	case a.height == b.height:
		return a.bandwidth < b.bandwidth
	case belowA:
		return a.height > b.height
	}
	return a.height < b.height
}

// sameRendition reports whether two variants say the same of themselves, but for
// which way they are had.
func sameRendition(a, b variant) bool {
	if len(a.attrs) != len(b.attrs) {
		return false
	}
	for name, v := range a.attrs {
		if w, ok := b.attrs[name]; !ok || w != v && name != "PATHWAY-ID" {
			return false
		}
	}
	return true
}

// keepsTag reports whether a line is of the whole presentation or of what the
// chosen variant goes with.
func keepsTag(line string, chosen variant) bool {
	if strings.HasPrefix(line, "#EXT-X-I-FRAME-STREAM-INF:") {
		return false // pictures for seeking, of other renditions
	}
	text, ok := strings.CutPrefix(line, "#EXT-X-MEDIA:")
	if !ok {
		return true
	}
	attrs, ok := attributes(text)
	if !ok {
		return true
	}
	group, ok := chosen.attrs[attrs["TYPE"]]
	switch attrs["TYPE"] {
	case "AUDIO", "SUBTITLES", "CLOSED-CAPTIONS":
		// Where the variant names no group of the kind, nobody can say which is meant.
		return !ok || group == attrs["GROUP-ID"]
	case "VIDEO":
		return ok && group == attrs["GROUP-ID"]
	}
	return true
}

// attributes reads an attribute list (RFC 8216 section 4.2). Values are as they
// are written, with the quotes of strings. A name that comes twice makes the list
// unreadable.
func attributes(text string) (map[string]string, bool) {
	attrs := map[string]string{}
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || !attributeName(name) {
			return nil, false
		}
		if _, twice := attrs[name]; twice {
			return nil, false
		}
		end := strings.IndexByte(rest, ',')
		if strings.HasPrefix(rest, `"`) {
			quote := strings.IndexByte(rest[1:], '"')
			if quote < 0 {
				return nil, false
			}
			after := rest[quote+2:]
			if after != "" && after[0] != ',' {
				return nil, false
			}
			if end = quote + 2; after == "" {
				end = -1
			}
		}
		if end < 0 {
			attrs[name] = strings.TrimSpace(rest)
			break
		}
		attrs[name] = strings.TrimSpace(rest[:end])
		text = rest[end+1:]
	}
	return attrs, true
}

func attributeName(name string) bool {
	return name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// shorterSide is that of a decimal resolution, by which renditions are called: a
// film that stands upright has it as its width.
func shorterSide(resolution string) int {
	w, h, ok := strings.Cut(resolution, "x")
	width, err1 := strconv.ParseUint(w, 10, 31)
	height, err2 := strconv.ParseUint(h, 10, 31)
	if !ok || err1 != nil || err2 != nil {
		return 0
	}
	return int(min(width, height))
}
