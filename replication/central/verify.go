package central

import (
	"crypto/ed25519"
	"errors"
	"fmt"
)

// ErrUnsigned is a change that was not signed by the key that was expected, or
// that says what can't be.
var ErrUnsigned = errors.New("a change is not signed by the centre")

// Sign makes the Change that publishes o. Its Seq is for the history to give.
func Sign(key ed25519.PrivateKey, o Object) (Change, error) {
	if err := o.Validate(); err != nil {
		return Change{}, fmt.Errorf("sign object: %w", err)
	}
	if o.SHA256.IsZero() {
		return Change{}, errors.New("sign object: the SHA-256 is missing")
	}
	return signed(key, o, false)
}

// SignDeleted makes the Change that says that an object is gone.
func SignDeleted(key ed25519.PrivateKey, bucket, objectKey string) (Change, error) {
	o := Object{Bucket: bucket, Key: objectKey}
	if err := o.Validate(); err != nil {
		return Change{}, fmt.Errorf("sign deletion: %w", err)
	}
	return signed(key, o, true)
}

func signed(key ed25519.PrivateKey, o Object, deleted bool) (Change, error) {
	if len(key) != ed25519.PrivateKeySize {
		return Change{}, errors.New("sign: the key is not one of Ed25519")
	}
	p, err := Encode(o)
	if err != nil {
		return Change{}, fmt.Errorf("sign: %w", err)
	}
	return Change{Deleted: deleted, Signed: p, Signature: ed25519.Sign(key, inContext(p))}, nil
}

func inContext(p []byte) []byte {
	return append([]byte(SignContext), p...)
}

// Verify returns what c says, once it is certain that the holder of key said so.
// Of a deletion only Bucket and Key are set. That c is a deletion is signed too:
// an Object with no SHA-256 can be nothing else, and one with it no deletion.
// The number of the change is not signed. Errors are ErrUnsigned.
func Verify(key ed25519.PublicKey, c Change) (Object, error) {
	switch {
	case len(key) != ed25519.PublicKeySize:
		return Object{}, fmt.Errorf("%w: the centre's key is not one of Ed25519", ErrUnsigned)
	case len(c.Signed) > maxChange:
		return Object{}, fmt.Errorf("%w: %d bytes, at most %d", ErrUnsigned, len(c.Signed), maxChange)
	case !ed25519.Verify(key, inContext(c.Signed), c.Signature):
		return Object{}, fmt.Errorf("%w: change %d has another signature", ErrUnsigned, c.Seq)
	}
	o, err := DecodeChange(c)
	if err != nil {
		return Object{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	return o, nil
}

// DecodeChange reads what c says and does not look at who signed it.
func DecodeChange(c Change) (Object, error) {
	o, err := DecodeObject(c.Signed)
	if err != nil {
		return Object{}, err
	}
	if c.Deleted != o.SHA256.IsZero() || c.Deleted && !o.bare() {
		return Object{}, errors.New("it is neither a version nor a deletion")
	}
	return o, nil
}

// bare reports whether only Bucket and Key are set.
func (o Object) bare() bool {
	m := o.Meta
	return o.ETag == "" && o.Length == 0 && o.Modified.IsZero() && o.SHA256.IsZero() && o.List.IsZero() &&
		m.Title == "" && m.Description == "" && m.Language == "" && m.Level == "" && m.Licence == "" &&
		m.Collection == "" && m.ContentType == "" && m.Expires.IsZero() && len(m.Audience) == 0
}
