package store

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxMeta is how long an object's metadata may be: the bytes of all names and
// values and of the content type together.
const MaxMeta = 2048

// CheckBucket reports a name that no bucket can have. What it passes is also the
// name of one folder on any file system.
func CheckBucket(bucket string) error {
	if len(bucket) < 3 || len(bucket) > 63 {
		return fmt.Errorf("%w: a bucket's name of %d characters, must be 3 to 63", ErrInvalid, len(bucket))
	}
	for i, c := range []byte(bucket) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case (c == '-' || c == '.') && i > 0 && i < len(bucket)-1 && bucket[i-1] != '.':
		default:
			return fmt.Errorf("%w: the bucket's name %q: small letters, digits and single - or . between them", ErrInvalid, bucket)
		}
	}
	return nil
}

// CheckOptions reports metadata that can't be carried as headers of HTTP.
func CheckOptions(o Options) error {
	total := len(o.ContentType)
	for _, c := range []byte(o.ContentType) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%w: the content type %q is not plain ASCII", ErrInvalid, o.ContentType)
		}
	}
	for name, value := range o.Meta {
		total += len(name) + len(value)
		if !isMetaName(name) {
			return fmt.Errorf("%w: metadata %q: names are small letters, digits and - only", ErrInvalid, name)
		}
		if !utf8.ValidString(value) {
			return fmt.Errorf("%w: metadata %q is not UTF-8", ErrInvalid, name)
		}
		// RFC 2047 words are how S3 carries other text; radosgw reads them, too.
		if strings.Contains(value, "=?") {
			return fmt.Errorf("%w: metadata %q has a \"=?\", which begins an encoded word", ErrInvalid, name)
		}
		for _, r := range value {
			if r < ' ' || r == 0x7f {
				return fmt.Errorf("%w: metadata %q has control characters", ErrInvalid, name)
			}
		}
	}
	if total > MaxMeta {
		return fmt.Errorf("%w: metadata of %d bytes, at most %d", ErrInvalid, total, MaxMeta)
	}
	return nil
}

func isMetaName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

// Exactly returns a reader of body that fails unless body is size bytes long. It
// fails before it gives the last byte away, so that whoever reads has never
// got a whole body that is wrong. Its own error is ErrInvalid; body's are kept.
func Exactly(body io.Reader, size int64) io.Reader {
	return &exactly{body: body, left: size, size: size}
}

type exactly struct {
	body       io.Reader
	left, size int64
	held       [1]byte // the last byte, until the end is known to follow
	holding    bool
	err        error
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !e.holding && e.left > 1 {
		n, err := e.body.Read(p[:min(int64(len(p)), e.left-1)])
		e.left -= int64(n)
		if err != nil {
			e.err = e.ended(err)
		}
		return n, e.err
	}
	if !e.holding && e.left == 1 {
		_, err := io.ReadFull(e.body, e.held[:])
		if err != nil {
			e.err = e.ended(err)
			return 0, e.err
		}
		e.holding = true
	}
	var more [1]byte
	switch _, err := io.ReadFull(e.body, more[:]); {
	case err == nil:
		e.err = fmt.Errorf("%w: the body is longer than the %d bytes announced", ErrInvalid, e.size)
		return 0, e.err
	case !errors.Is(err, io.EOF):
		e.err = fmt.Errorf("read the body: %w", err)
		return 0, e.err
	}
	e.err = io.EOF
	if e.holding {
		p[0] = e.held[0]
		return 1, io.EOF
	}
	return 0, io.EOF
}

func (e *exactly) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the body is shorter than the %d bytes announced", ErrInvalid, e.size)
	}
	return fmt.Errorf("read the body: %w", err)
}

// CheckCondition reports a condition that can never hold.
func CheckCondition(c Condition) error {
	if c.Absent && c.ETag != "" {
		return fmt.Errorf("%w: an object can't be absent and have an ETag", ErrInvalid)
	}
	if !isETag(c.ETag) {
		return fmt.Errorf("%w: %q is no ETag", ErrInvalid, c.ETag)
	}
	return nil
}

// isETag tells whether s can go into a header as it is, quoted or not.
func isETag(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == ',' || c == '*' {
			return false
		}
	}
	return len(s) <= 256
}

// CheckLimit reports a page that nobody lists.
func CheckLimit(limit int) error {
	if limit < 1 || limit > MaxPage {
		return fmt.Errorf("%w: a page of %d objects, must be 1 to %d", ErrInvalid, limit, MaxPage)
	}
	return nil
}

// CheckPart reports a part that no object can have.
func CheckPart(number int, size int64) error {
	switch {
	case number < 1 || number > MaxParts:
		return fmt.Errorf("%w: part %d, must be 1 to %d", ErrInvalid, number, MaxParts)
	case size < 0:
		return fmt.Errorf("%w: a part of %d bytes", ErrInvalid, size)
	}
	return nil
}

// CheckParts reports parts that make no object: none, some missing in between or
// out of order, one that is too small before the last.
func CheckParts(parts []Part) error {
	if len(parts) == 0 || len(parts) > MaxParts {
		return fmt.Errorf("%w: an object of %d parts, must be 1 to %d", ErrInvalid, len(parts), MaxParts)
	}
	for i, p := range parts {
		switch {
		case p.Number != i+1:
			return fmt.Errorf("%w: part %d where part %d must be", ErrInvalid, p.Number, i+1)
		case p.Size < MinPart && i < len(parts)-1:
			return fmt.Errorf("%w: part %d has %d bytes, at least %d before the last", ErrInvalid, p.Number, p.Size, MinPart)
		}
	}
	return nil
}

// ETagOfParts is the ETag of an object that Complete makes of parts.
func ETagOfParts(parts []Part) (string, error) {
	sum := md5.New()
	for _, p := range parts {
		one, err := hex.DecodeString(p.ETag)
		if err != nil || len(one) != md5.Size {
			return "", fmt.Errorf("%w: part %d has the ETag %q, which is no MD5", ErrInvalid, p.Number, p.ETag)
		}
		// Write of a hash never fails.
		_, _ = sum.Write(one)
	}
	return hex.EncodeToString(sum.Sum(nil)) + "-" + strconv.Itoa(len(parts)), nil
}

// DefaultType is the content type of an object that was given none.
const DefaultType = "application/octet-stream"

// TypeOf is the content type that an object gets.
func TypeOf(o Options) string {
	if o.ContentType == "" {
		return DefaultType
	}
	return o.ContentType
}

// CloneMeta copies metadata; of none it makes nil, as Info has it.
func CloneMeta(meta map[string]string) map[string]string {
	if len(meta) == 0 {
		return nil
	}
	return maps.Clone(meta)
}
