package object

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// MarkKeySize is the length of the key that marks are made with.
const MarkKeySize = 32

// What one object may have of marks. Deeper paths are found by their first
// MaxPrefixes prefixes; a response with more tags is found by every purge for
// its site.
const (
	MaxPrefixes = 16
	MaxTags     = 32

	maxMarks = 2 + MaxPrefixes + MaxTags
)

// Mark is a keyed hash by which stored responses are found without keeping
// what they were asked for by: a URL may be a secret.
type Mark [8]byte

// String returns the mark in hexadecimal.
func (m Mark) String() string { return hex.EncodeToString(m[:]) }

// ParseMark is the inverse of String.
func ParseMark(s string) (Mark, error) {
	var m Mark
	if len(s) != 2*len(m) {
		return m, fmt.Errorf("mark has %d characters, want %d", len(s), 2*len(m))
	}
	if _, err := hex.Decode(m[:], []byte(s)); err != nil {
		return Mark{}, fmt.Errorf("mark: %w", err)
	}
	return m, nil
}

// MarkKeyID tells keys apart. Zero is no key's.
type MarkKeyID uint32

// Kinds of marks. They are part of what is hashed, and so for ever.
const (
	markSite   = 's'
	markExact  = 'u'
	markPrefix = 'p'
	markTag    = 't'
	nameWhole  = 'n' // of names, which are no marks
)

// Marker makes marks. It is a value, and pure: whoever has the same key makes
// the same marks, be it a box that stores a response or a server that is told
// what to purge.
type Marker struct {
	key []byte
	id  MarkKeyID
}

// NewMarker makes a Marker with a key of MarkKeySize bytes.
func NewMarker(key []byte) (Marker, error) {
	if len(key) != MarkKeySize {
		return Marker{}, fmt.Errorf("mark key has %d bytes, want %d", len(key), MarkKeySize)
	}
	m := Marker{key: slices.Clone(key)}
	sum := m.mac('k', "", "")
	m.id = max(1, MarkKeyID(binary.BigEndian.Uint32(sum[:4])))
	return m, nil
}

// KeyID names the key without telling it.
func (m Marker) KeyID() MarkKeyID { return m.id }

// mac is the truncated HMAC of one name.
func (m Marker) mac(kind byte, site, name string) Mark {
	sum := m.whole(kind, site, name)
	return Mark(sum[:len(Mark{})])
}

// whole is the HMAC of one name. The length keeps site and name apart.
func (m Marker) whole(kind byte, site, name string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, m.key)
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(site)))
	h.Write(head[:])
	h.Write([]byte(site))
	h.Write([]byte(name))
	h.Sum(sum[:0])
	return sum
}

// Site is the mark of everything of a site.
func (m Marker) Site(site string) Mark { return m.mac(markSite, site, "") }

// Exact is the mark of one URL: the path as the site knows it, with its query
// if it has one ("/a/b?c=d").
func (m Marker) Exact(site, url string) Mark {
	path, query, has := strings.Cut(url, "?")
	name := "/" + strings.Join(segments(path), "/")
	if has && query != "" {
		name += "?" + decoded(query)
	}
	return m.mac(markExact, site, name)
}

// Prefix is the mark of a path and of all that lies below it, whatever the
// query. It ends at a slash, said or not: /a finds /a, /a/ and /a/b, not /ab.
// A path of more than MaxPrefixes steps finds what lies below those.
func (m Marker) Prefix(site, path string) Mark {
	path, _, _ = strings.Cut(path, "?")
	steps := segments(path)
	return m.prefix(site, steps[:min(len(steps), MaxPrefixes-1)])
}

func (m Marker) prefix(site string, steps []string) Mark {
	return m.mac(markPrefix, site, "/"+strings.Join(steps, "/"))
}

// Tag is the mark of a tag that responses carry in Surrogate-Key or Cache-Tag.
func (m Marker) Tag(site, tag string) Mark {
	return m.mac(markTag, site, strings.ToLower(strings.TrimSpace(tag)))
}

// Marks returns the marks of a response: its exact URL first, then its site,
// its prefixes, its tags; nothing if it has too many tags.
func (m Marker) Marks(site, path, query string, header http.Header) []Mark {
	tags, ok := tagsOf(header)
	if !ok {
		return nil
	}
	steps := segments(path)
	url := path
	if query != "" {
		url += "?" + query
	}
	out := make([]Mark, 0, 2+min(len(steps)+1, MaxPrefixes)+len(tags))
	out = append(out, m.Exact(site, url), m.Site(site))
	for n := range min(len(steps)+1, MaxPrefixes) {
		out = append(out, m.prefix(site, steps[:n]))
	}
	for _, t := range tags {
		out = append(out, m.Tag(site, t))
	}
	return out
}

// tagsOf lists the tags of a response; false if there are too many.
func tagsOf(h http.Header) ([]string, bool) {
	var out []string
	for _, name := range []string{"Surrogate-Key", "Cache-Tag"} {
		for _, v := range h[name] {
			// The one is separated by spaces and the other by commas, by
			// custom; no tag holds either.
			for t := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
				if len(out) == MaxTags {
					return nil, false
				}
				out = append(out, t)
			}
		}
	}
	return out, true
}

// segments are the steps of a path in one spelling: whoever writes a space,
// %20 or a dot segment (RFC 3986 §6.2.2) means the same resource. Resources
// that share a spelling are purged together, which is the harmless mistake.
func segments(path string) []string {
	var out []string
	for s := range strings.SplitSeq(decoded(path), "/") {
		switch s {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, s)
		}
	}
	return out
}

// decoded resolves percent-encodings; what is none stays as it is.
func decoded(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			var c [1]byte
			if _, err := hex.Decode(c[:], []byte(s[i+1:i+3])); err == nil {
				b = append(b, c[0])
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// SetMarks gives o marks made by m for a response to path and query of its
// site. The record holds nothing else of the URL.
func (o *Object) SetMarks(m Marker, path, query string) {
	o.Marks, o.MarkKey = nil, 0
	for _, x := range m.Marks(o.Site, path, query, o.Header) {
		o.Marks = append(o.Marks, x[:]...)
		o.MarkKey = m.id
	}
}

// ExactMark is the mark of the object's URL, if it has marks.
func (o *Object) ExactMark() (Mark, bool) {
	if len(o.Marks) < len(Mark{}) {
		return Mark{}, false
	}
	return Mark(o.Marks[:len(Mark{})]), true
}

var errMarks = errors.New("marks are not whole")

// marksSound reports marks that can't be what was once stored.
func (o *Object) marksSound() error {
	if len(o.Marks)%len(Mark{}) != 0 || len(o.Marks) > maxMarks*len(Mark{}) {
		return errMarks
	}
	return nil
}

// HasMark reports whether o has one of marks, all made with the key named id.
// An object without marks, or with marks of another key, may have any: true.
func (o *Object) HasMark(id MarkKeyID, has func(Mark) bool) bool {
	if o.MarkKey == 0 || o.MarkKey != id || len(o.Marks) == 0 {
		return true
	}
	for m := range slices.Chunk(o.Marks, len(Mark{})) {
		if has(Mark(m)) {
			return true
		}
	}
	return false
}
