package publish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/store"
	"preau/replication/identity"
)

// maxSchools is how many schools an audience may name.
const maxSchools = 2000

// errAudience is an audience that can't be understood: the object is for nobody
// until it can.
var errAudience = errors.New("its audience can't be understood, so it is published to nobody")

// fault is a field of an object's metadata that is left out, and why.
type fault struct {
	field string
	err   error
}

// parseMeta reads what an object's metadata says of it. A field that can't be
// understood is left out, and told as a fault. Not so the audience: to leave that
// out would be to publish to everybody, so it is an error.
func parseMeta(info store.Info) (m central.Meta, faults []fault, err error) {
	value := func(names ...string) (string, bool) {
		for _, name := range names {
			if v, ok := info.Meta[name]; ok {
				return v, true
			}
		}
		return "", false
	}
	text := func(to *string, most int, check func(string) error, names ...string) {
		raw, ok := value(names...)
		if !ok || strings.TrimSpace(raw) == "" {
			return
		}
		s, err := decodeText(raw)
		s = strings.TrimSpace(s)
		if err == nil && len(s) > most {
			err = fmt.Errorf("%d bytes, at most %d", len(s), most)
		}
		if err == nil {
			err = check(s)
		}
		if err != nil {
			faults = append(faults, fault{field: names[0], err: err})
			return
		}
		*to = s
	}
	text(&m.Title, central.MaxText, oneLine, "title")
	text(&m.Description, central.MaxText, lines, "description")
	text(&m.Language, maxWord, language, "language")
	text(&m.Level, maxWord, oneLine, "level")
	text(&m.Licence, maxWord, oneLine, "licence", "license")
	text(&m.Collection, maxWord, collectionID, "collection")
	if raw, ok := value("expires", "expiry"); ok && strings.TrimSpace(raw) != "" {
		m.Expires, err = parseExpiry(raw)
		if err != nil {
			faults = append(faults, fault{field: "expires", err: err})
		}
	}
	if m.ContentType, err = contentType(info); err != nil {
		faults = append(faults, fault{field: "content-type", err: err})
	}
	if raw, ok := value("audience"); ok {
		if m.Audience, err = parseAudience(raw); err != nil {
			return central.Meta{}, faults, fmt.Errorf("%w: %w", errAudience, err)
		}
	}
	return m, faults, nil
}

const maxWord = 512 // bytes of a short text

// decodeText reads a value that may be as it is (Ceph gives UTF-8 back
// unchanged), in encoded words (RFC 2047), which the Java and Python tools of
// Amazon write, or percent-encoded UTF-8 (RFC 3986 §2.1).
func decodeText(raw string) (string, error) {
	s := raw
	switch {
	case strings.Contains(s, "=?"):
		dec := mime.WordDecoder{} // of UTF-8, ISO-8859-1 and ASCII: the rest is an error
		decoded, err := dec.DecodeHeader(s)
		if err != nil {
			return "", fmt.Errorf("encoded words: %w", err)
		}
		s = decoded
	case strings.Contains(s, "%"):
		// A text may just have a percent sign in it.
		if decoded, err := url.PathUnescape(s); err == nil && utf8.ValidString(decoded) {
			s = decoded
		}
	}
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	return s, nil
}

func oneLine(s string) error { return noControls(s, "") }
func lines(s string) error   { return noControls(s, "\n\t") }

func noControls(s, but string) error {
	if strings.ContainsFunc(s, func(r rune) bool {
		return (r < ' ' || r >= 0x7f && r < 0xa0) && !strings.ContainsRune(but, r)
	}) {
		return errors.New("control characters")
	}
	return nil
}

// language looks at the shape of a tag (RFC 5646 §2.1), not at what it means.
func language(s string) error {
	for i, part := range strings.Split(s, "-") {
		if len(part) < 1 || len(part) > 8 || i == 0 && len(part) < 2 || strings.ContainsFunc(part, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9')
		}) {
			return errors.New("not a language tag such as fr or fr-FR")
		}
	}
	return nil
}

// collectionID looks at what may be the id of a collection in a region's
// catalogue.
func collectionID(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}) {
		return errors.New("an id of a collection has letters, digits and . _ - only")
	}
	return nil
}

// parseExpiry reads a time, or a day, to the end of which the file is good.
func parseExpiry(raw string) (time.Time, error) {
	s := strings.TrimSpace(raw)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		if day, bad := time.Parse(time.DateOnly, s); bad == nil {
			t, err = day.AddDate(0, 0, 1), nil
		} else if date, bad := http.ParseTime(s); bad == nil {
			t, err = date, nil
		}
	}
	t = central.Milli(t)
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, errors.New("neither a day such as 2027-06-30 nor a time such as 2027-06-30T18:00:00+02:00")
	}
	return t, nil
}

// parseAudience reads codes of schools between commas: at least one, and nothing
// else.
func parseAudience(raw string) ([]identity.School, error) {
	s, err := decodeText(raw)
	if err != nil {
		return nil, err
	}
	if len(s) > 16*maxSchools {
		return nil, errors.New("it is too long")
	}
	var out []identity.School
	for one := range strings.SplitSeq(s, ",") {
		school, err := identity.ParseSchool(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		out = append(out, school)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > maxSchools {
		return nil, fmt.Errorf("it names %d schools, at most %d", len(out), maxSchools)
	}
	return out, nil
}

// contentType is what the object says of itself, unless that is nothing: then
// what its name says.
func contentType(info store.Info) (string, error) {
	byName := types()[strings.ToLower(path.Ext(info.Key))]
	if byName == "" {
		byName = anything
	}
	said := strings.TrimSpace(info.ContentType)
	switch said {
	case "", anything, "binary/octet-stream", "application/x-www-form-urlencoded":
		return byName, nil
	}
	if _, _, err := mime.ParseMediaType(said); err != nil || !strings.Contains(said, "/") || len(said) > 256 || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' || r > '~' }) {
		return byName, errors.New("not a media type")
	}
	return said, nil
}

const anything = "application/octet-stream"

// types is what the ends of names mean. The system's own table is not asked: two
// gateways would then publish one file as two things.
func types() map[string]string {
	return map[string]string{
		".7z": "application/x-7z-compressed", ".aac": "audio/aac", ".apk": "application/vnd.android.package-archive",
		".avi": "video/x-msvideo", ".bmp": "image/bmp", ".bz2": "application/x-bzip2", ".css": "text/css; charset=utf-8",
		".csv": "text/csv; charset=utf-8", ".doc": "application/msword",
		".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
		".epub": "application/epub+zip", ".flac": "audio/flac", ".ggb": "application/vnd.geogebra.file", ".gif": "image/gif",
		".gz": "application/gzip", ".h5p": "application/zip", ".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8",
		".ics": "text/calendar; charset=utf-8", ".iso": "application/x-iso9660-image", ".jpeg": "image/jpeg", ".jpg": "image/jpeg",
		".js": "text/javascript; charset=utf-8", ".json": "application/json", ".m3u8": "application/vnd.apple.mpegurl",
		".m4a": "audio/mp4", ".m4v": "video/mp4", ".md": "text/markdown; charset=utf-8", ".mkv": "video/x-matroska",
		".mov": "video/quicktime", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".mpg": "video/mpeg",
		".odp": "application/vnd.oasis.opendocument.presentation", ".ods": "application/vnd.oasis.opendocument.spreadsheet",
		".odt": "application/vnd.oasis.opendocument.text", ".ogg": "audio/ogg", ".ogv": "video/ogg", ".opus": "audio/ogg",
		".pdf": "application/pdf", ".png": "image/png", ".ppt": "application/vnd.ms-powerpoint",
		".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
		".rtf":  "application/rtf", ".sb3": "application/x.scratch.sb3", ".svg": "image/svg+xml", ".tar": "application/x-tar",
		".ts": "video/mp2t", ".txt": "text/plain; charset=utf-8", ".vtt": "text/vtt; charset=utf-8", ".wav": "audio/wav",
		".webm": "video/webm", ".webp": "image/webp", ".xls": "application/vnd.ms-excel",
		".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		".xml":  "application/xml", ".xz": "application/x-xz", ".zim": "application/x-zim", ".zip": "application/zip",
	}
}

// fingerprint tells metadata from others, as far as it is published.
func fingerprint(m central.Meta) (uint64, error) {
	p, err := central.Encode(m)
	if err != nil {
		return 0, err
	}
	sum := block.Sum(p)
	return binary.BigEndian.Uint64(sum[:]), nil
}
