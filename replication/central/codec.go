package central

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"preau/replication/identity"
)

// Bounds of what is decoded.
const (
	maxChanges   = 1000
	maxChange    = 128 << 10 // bytes of one
	maxDeposit   = 64 << 10
	maxAudience  = 2000
	maxKeyBytes  = 1024
	maxETagBytes = 256
)

var errForm = errors.New("not in its one form")

var encMode = sync.OnceValues(func() (cbor.EncMode, error) {
	return cbor.EncOptions{
		Sort: cbor.SortCoreDeterministic, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, Time: cbor.TimeRFC3339NanoUTC,
	}.EncMode()
})

var decMode = sync.OnceValues(func() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 8, MaxArrayElements: 4096, MaxMapPairs: 64,
	}.DecMode()
})

// Encode writes v, an Object, a Deposit or Changes, in deterministic CBOR
// (RFC 8949 §4.2.1). Times are kept to the millisecond.
func Encode(v any) ([]byte, error) {
	mode, err := encMode()
	if err != nil {
		return nil, err
	}
	return mode.Marshal(v)
}

func decode(p []byte, limit int, v any) error {
	if len(p) > limit {
		return fmt.Errorf("%d bytes, at most %d", len(p), limit)
	}
	mode, err := decMode()
	if err != nil {
		return err
	}
	if err := mode.Unmarshal(p, v); err != nil {
		return err
	}
	return nil
}

// decodeExact is decode, and refuses what Encode would have written differently.
func decodeExact[T any](p []byte, limit int) (T, error) {
	var v T
	if err := decode(p, limit, &v); err != nil {
		return v, err
	}
	again, err := Encode(v)
	if err == nil && !bytes.Equal(again, p) {
		err = errForm
	}
	return v, err
}

// DecodeObject reads an Object that Encode wrote, and refuses all else.
func DecodeObject(p []byte) (Object, error) {
	o, err := decodeExact[Object](p, maxChange)
	if err == nil {
		err = o.Validate()
	}
	if err != nil {
		return Object{}, fmt.Errorf("decode object: %w", err)
	}
	return o, nil
}

// DecodeDeposit reads a Deposit that Encode wrote, and refuses all else.
func DecodeDeposit(p []byte) (Deposit, error) {
	d, err := decodeExact[Deposit](p, maxDeposit)
	if err == nil {
		err = d.Validate()
	}
	if err != nil {
		return Deposit{}, fmt.Errorf("decode deposit: %w: %w", ErrInvalid, err)
	}
	return d, nil
}

// DecodeChanges reads Changes. What the changes say is checked with their
// signature.
func DecodeChanges(p []byte) (Changes, error) {
	var c Changes
	err := decode(p, maxChanges*maxChange, &c)
	last := uint64(0)
	for i, one := range c.Changes {
		switch {
		case err != nil:
		case len(c.Changes) > maxChanges:
			err = fmt.Errorf("%d changes, at most %d", len(c.Changes), maxChanges)
		case one.Seq == 0 || i > 0 && one.Seq != last+1 || one.Seq > c.Head:
			err = fmt.Errorf("change %d has the number %d, of %d", i, one.Seq, c.Head)
		case len(one.Signed) > maxChange || len(one.Signature) > 64:
			err = fmt.Errorf("change %d is too long", i)
		}
		last = one.Seq
	}
	if err == nil && (c.Epoch == "" || len(c.Epoch) > 64) {
		err = errors.New("the epoch has no name")
	}
	if err != nil {
		return Changes{}, fmt.Errorf("decode changes: %w", err)
	}
	return c, nil
}

// Validate reports what can't be true of an object.
func (o Object) Validate() error {
	switch {
	case o.Bucket == "" || len(o.Bucket) > 63:
		return errors.New("the bucket has no name, or one that is too long")
	case o.Key == "" || len(o.Key) > maxKeyBytes || !utf8.ValidString(o.Key):
		return errors.New("the key is empty, too long or no text")
	case len(o.ETag) > maxETagBytes:
		return errors.New("the ETag is too long")
	case o.Length < 0:
		return errors.New("the length is below 0")
	case o.List.IsZero() != (o.Length == 0):
		return errors.New("the list of blocks is missing, or there is nothing for it to list")
	case !exact(o.Modified):
		return errors.New("the time of change is not in milliseconds of UTC")
	}
	return o.Meta.Validate()
}

// Validate reports what can't be true of a file.
func (m Meta) Validate() error {
	for name, text := range map[string]string{
		"title": m.Title, "description": m.Description, "language": m.Language, "level": m.Level,
		"licence": m.Licence, "collection": m.Collection, "content type": m.ContentType,
	} {
		if len(text) > MaxText || !utf8.ValidString(text) {
			return fmt.Errorf("the %s is too long or no text", name)
		}
	}
	if len(m.Audience) > maxAudience {
		return fmt.Errorf("an audience of %d schools, at most %d", len(m.Audience), maxAudience)
	}
	for i, school := range m.Audience {
		if s, err := identity.ParseSchool(string(school)); err != nil || s != school || i > 0 && m.Audience[i-1] >= school {
			return fmt.Errorf("the audience names %q, which is no code of a school or not in its place", school)
		}
	}
	if !exact(m.Expires) {
		return errors.New("the expiry is not in milliseconds of UTC")
	}
	return nil
}

// Validate reports what can't be accepted of a deposit.
func (d Deposit) Validate() error {
	school, err := identity.ParseSchool(string(d.School))
	switch {
	case err != nil || school != d.School:
		return fmt.Errorf("%q is no code of a school", d.School)
	case !goodID(d.ID):
		return fmt.Errorf("%q is no id of a deposit", d.ID)
	case d.Length < 0:
		return errors.New("the length is below 0")
	case d.SHA256.IsZero():
		return errors.New("the SHA-256 is missing")
	case !exact(d.At):
		return errors.New("the time is not in milliseconds of UTC")
	}
	if _, err := identity.ParseRegion(string(d.Region)); err != nil {
		return err
	}
	if _, err := identity.ParseName(string(d.Box)); err != nil {
		return err
	}
	if err := CheckName(d.Name); err != nil {
		return err
	}
	return d.Meta.Validate()
}

// CheckName reports a file name that can't be one: it says nothing, means a
// folder, or holds what no file system or header field should.
func CheckName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name of a file", name)
	case len(name) > MaxName:
		return fmt.Errorf("the name of the file has %d bytes, at most %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return errors.New("the name of the file is not UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '/' || r == '\\' || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029'
	}):
		return fmt.Errorf("the name of the file, %q, has a character that no name may have", name)
	}
	return nil
}

func goodID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// exact reports whether a time is written in its one form.
func exact(t time.Time) bool {
	return t.IsZero() || t.Equal(t.Truncate(time.Millisecond)) && t.Location() == time.UTC && t.Year() > 0 && t.Year() < 10000
}

// Milli is a time in the form that is kept.
func Milli(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}
