package vouch

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fxamacker/cbor/v2"

	"preau/cache/block"
)

// The second value of Body, and the field with a proof.
const (
	Proof  = "proof"
	Signed = "Preau-Proof"
)

const (
	// MaxProof bounds a proof in bytes.
	MaxProof = 12 << 10
	// MaxProvenBlocks bounds the body that one may be about: who checks it has to
	// read the whole list of digests first.
	MaxProvenBlocks = 16 << 10

	purpose = "preau response 1"
)

var (
	// ErrForged reports a proof that nobody who may vouch has signed.
	ErrForged = errors.New("the proof is not signed by anybody who may vouch")
	// ErrOther reports a proof of something else than what was asked for, or of
	// what may not be used any more.
	ErrOther = errors.New("the proof is not of what was asked for")
	// ErrTooLong reports a response that no proof is made of.
	ErrTooLong = errors.New("the response is too long to be proven")
)

// Signer signs as somebody who may vouch. Its method may be called concurrently.
type Signer interface {
	Sign(statement []byte) (signature []byte, err error)
}

// Checker says whether somebody who may vouch has signed a statement, at the
// time that it names. An error that matches ErrForged is the sender's lie; any
// other may be ours. Its method may be called concurrently.
type Checker interface {
	Check(statement, signature []byte, at time.Time) error
}

// Statement is what a proof says of one response.
type Statement struct {
	Purpose string `cbor:"1,keyasint"`
	Site    string `cbor:"2,keyasint"`
	// Name is the keyed hash of what was asked for, and KeyID tells with which
	// key: a URL may be a secret.
	Name      [32]byte    `cbor:"3,keyasint"`
	KeyID     uint32      `cbor:"4,keyasint"`
	VaryNames []string    `cbor:"5,keyasint,omitempty"`
	VaryKey   string      `cbor:"6,keyasint,omitempty"`
	Status    int         `cbor:"7,keyasint"`
	Header    http.Header `cbor:"8,keyasint"` // with the Age that the response had at At
	Length    int64       `cbor:"9,keyasint"`
	// List is the SHA-256 of the list of digests of all of the body's blocks.
	List [32]byte `cbor:"10,keyasint"`
	At   int64    `cbor:"11,keyasint"` // Unix seconds of who signs
}

// Time is when the statement was signed, by the clock of who signed.
func (s Statement) Time() time.Time { return time.Unix(s.At, 0) }

// proof is a statement with its signature, as they travel and are kept.
type proof struct {
	Statement []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"`
}

var proofEncoder = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) //nolint:forbidigo // a constant is wrong
	}
	return m
}()

var proofDecoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxArrayElements: 512, MaxMapPairs: 512, MaxNestedLevels: 8, DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		panic(err) //nolint:forbidigo // a constant is wrong
	}
	return m
}()

// Prove has s signed and returns the proof.
func Prove(s Statement, by Signer) ([]byte, error) {
	if block.NumBlocks(s.Length) > MaxProvenBlocks {
		return nil, ErrTooLong
	}
	s.Purpose = purpose
	text, err := proofEncoder.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode proof: %w", err)
	}
	signature, err := by.Sign(text)
	if err != nil {
		return nil, fmt.Errorf("sign proof: %w", err)
	}
	b, err := proofEncoder.Marshal(proof{text, signature})
	if err != nil {
		return nil, fmt.Errorf("encode proof: %w", err)
	}
	if len(b) > MaxProof {
		return nil, ErrTooLong
	}
	return b, nil
}

// Proven returns what a proof says, once by has found its signature right.
func Proven(b []byte, by Checker) (Statement, error) {
	var p proof
	var s Statement
	if len(b) > MaxProof {
		return s, fmt.Errorf("%w: %d bytes are too many", ErrForged, len(b))
	}
	if err := proofDecoder.Unmarshal(b, &p); err != nil {
		return s, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if err := proofDecoder.Unmarshal(p.Statement, &s); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if s.Purpose != purpose {
		return Statement{}, fmt.Errorf("%w: its purpose is %.40q", ErrForged, s.Purpose)
	}
	if err := by.Check(p.Statement, p.Signature, s.Time()); err != nil {
		return Statement{}, err
	}
	if s.Status < 200 || s.Status > 599 || s.Length < 0 || block.NumBlocks(s.Length) > MaxProvenBlocks || s.Header == nil {
		return Statement{}, fmt.Errorf("%w: status %d, %d bytes", ErrOther, s.Status, s.Length)
	}
	return s, nil
}

// AskProof has h ask for a proof.
func AskProof(h http.Header) { h.Set(Body, Proof) }

// AskedProof reports whether h asks for a proof, or says that there is one.
func AskedProof(h http.Header) bool { return h.Get(Body) == Proof }

// SetProof puts a proof into the head of an answer.
func SetProof(h http.Header, proof []byte) {
	h.Set(Body, Proof)
	h.Set(Signed, base64.StdEncoding.EncodeToString(proof))
}

// ProofOf returns the proof in the head of an answer, nil if there is none.
func ProofOf(h http.Header) []byte {
	text := h.Get(Signed)
	if !AskedProof(h) || text == "" || len(text) > base64.StdEncoding.EncodedLen(MaxProof) {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return b
}

// List is the list of digests of all blocks of a body, for List and Check.
func List(length int64, digests []block.Digest) ([]byte, error) {
	if block.NumBlocks(length) != len(digests) {
		return nil, fmt.Errorf("a body of %d bytes has %d blocks, not %d", length, block.NumBlocks(length), len(digests))
	}
	var b bytes.Buffer
	w := NewWriter(&b, func() {})
	for i, d := range digests {
		if err := w.Block(block.BlockLen(length, i), d); err != nil {
			return nil, err
		}
	}
	w.Close()
	return b.Bytes(), nil
}

// ListLen is the length in bytes of the list of a body's digests.
func ListLen(length int64) int { return block.NumBlocks(length) * entrySize }

// Lists reports whether list is the one that the statement is about.
func (s Statement) Lists(list []byte) bool {
	return len(list) == ListLen(s.Length) && sha256.Sum256(list) == s.List
}

// Part returns a reader of the part of a whole list that names the blocks which
// from..to touches.
func Part(list []byte, from, to int64) *Reader {
	first, end := int(from/block.Size), int((to+block.Size-1)/block.Size)
	end = min(end, len(list)/entrySize)
	first = min(first, end)
	return NewReader(bytes.NewReader(list[first*entrySize:end*entrySize]), end-first)
}
