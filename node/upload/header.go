package upload

import (
	"crypto/sha1" //nolint:gosec // the protocol asks for it; it guards against accidents only
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is said of a file.
const (
	maxMetadata = 16 << 10
	maxKeys     = 20
	maxWords    = 4000
	maxFilename = 255
)

// Meta is what is said of a file by whoever sends it.
type Meta struct {
	Filename    string
	ContentType string `json:",omitempty"`
	Title       string `json:",omitempty"`
	Description string `json:",omitempty"`
	Collection  string `json:",omitempty"`
	Licence     string `json:",omitempty"`
}

var (
	errMetadata = errors.New("Upload-Metadata can't be read")
	errFilename = errors.New("no file can have that name")
	errChecksum = errors.New("Upload-Checksum can't be read")
	errAlgo     = errors.New("that algorithm is not known here")
)

// parseMetadata reads Upload-Metadata (tus 1.0.0, Creation): pairs of a key and a
// value in base64, with commas between. Keys that mean nothing here are let go.
func parseMetadata(v string) (Meta, error) {
	var m Meta
	if len(v) > maxMetadata {
		return m, fmt.Errorf("%w: it has %d bytes", errMetadata, len(v))
	}
	into := map[string]*string{
		"filename": &m.Filename, "filetype": &m.ContentType, "title": &m.Title, "description": &m.Description,
		"collection": &m.Collection, "licence": &m.Licence,
	}
	seen := map[string]bool{}
	if strings.TrimSpace(v) != "" {
		for pair := range strings.SplitSeq(v, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
			if key == "" || seen[key] || len(seen) >= maxKeys || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
				return m, fmt.Errorf("%w: a key is missing, there twice, or one too many", errMetadata)
			}
			seen[key] = true
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
			if err != nil || !utf8.Valid(raw) || len(raw) > maxWords {
				return m, fmt.Errorf("%w: the value of %q", errMetadata, key)
			}
			if to := into[key]; to != nil {
				*to = tidy(string(raw))
			}
		}
	}
	return m, checkFilename(m.Filename)
}

// tidy makes one line of text.
func tidy(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}

func checkFilename(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxFilename || strings.ContainsAny(name, `/\`) {
		return fmt.Errorf("%w: %q", errFilename, name)
	}
	return nil
}

// parseSize reads a number of bytes: digits and nothing else.
func parseSize(v string) (int64, bool) {
	if v == "" || strings.TrimLeft(v, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n, err == nil
}

// checksum is what a client says that a piece sums up to.
type checksum struct {
	sum  hash.Hash
	want []byte
}

// algorithms are what is told in Tus-Checksum-Algorithm.
const algorithms = "sha1,sha256"

// parseChecksum reads Upload-Checksum (tus 1.0.0, Checksum); nil for none.
func parseChecksum(v string) (*checksum, error) {
	if v == "" {
		return nil, nil
	}
	name, value, ok := strings.Cut(v, " ")
	want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if !ok || err != nil {
		return nil, errChecksum
	}
	var c checksum
	switch name {
	case "sha1":
		c = checksum{sha1.New(), want} //nolint:gosec // see above
	case "sha256":
		c = checksum{sha256.New(), want}
	default:
		return nil, fmt.Errorf("%w: %q", errAlgo, name)
	}
	if len(want) != c.sum.Size() {
		return nil, errChecksum
	}
	return &c, nil
}
