// Package vouch is how one cache vouches for the bytes that another one sends.
//
// A box that may take a body from a neighbour, whom nobody need believe, asks
// its region for the same response with the field
//
//	Preau-Body: digests
//
// The answer has the status and the fields that the plain one would have, with
// three differences. It says Preau-Body: digests. It has no Content-Length; the
// length that the plain body has is in Preau-Length, which is left out while
// nobody knows it. And in place of the body come the digests of the blocks that
// the answered range touches, in their order and each sent as soon as it is
// known, so that a body that is still being fetched is vouched for as it comes.
// Blocks lie on the grid of multiples of block.Size from the beginning of the
// representation, and the first and the last are whole ones, wherever in them
// the range begins and ends. An entry of the list is 36 bytes:
//
//	4 bytes   length of the block, big endian
//	32 bytes  its SHA-256
//
// An entry of length 0 names no block: it only says that the work goes on. An
// answer without the field is the plain one, from whoever does not know it or
// had nothing to gain by it: short bodies, several ranges, errors, what is not
// stored.
//
// Where nobody can vouch, as without a line, a proof does: what the region says of
// a response, signed. A box that has taken a response asks for it beforehand,
//
//	Preau-Body: proof
//
// with HEAD, and keeps what the answer has in Preau-Proof. Another box asks that
// one with GET and gets the same field, and in place of the body the digests of
// all blocks, of which the proof names the SHA-256. It believes the proof, never
// the box: a box can at worst bring an older proof, which is as good as a copy
// stored then: it grows stale by the same rules, and is refused if something was
// purged since.
//
// None of the fields is ever sent to a web site, or believed from one or from a
// device.
//
// The package knows the format only: it fetches nothing, stores nothing, and
// blames nobody.
package vouch

import (
	"net/http"
	"strconv"
)

// The fields, and the one value of Body.
const (
	Body    = "Preau-Body"
	Digests = "digests"
	Length  = "Preau-Length"
)

// Least is the length in bytes of the shortest body that is vouched for: below,
// the body itself costs no more than its digest.
const Least = 2 << 10

// Ask has h ask for digests.
func Ask(h http.Header) { h.Set(Body, Digests) }

// Asked reports whether h asks for digests, or says that they are there.
func Asked(h http.Header) bool { return h.Get(Body) == Digests }

// Strip removes the caches' own fields from h.
func Strip(h http.Header) {
	h.Del(Body)
	h.Del(Length)
	h.Del(Signed)
}

// Stripped returns req without the fields; req itself if it has none.
func Stripped(req *http.Request) *http.Request {
	if len(req.Header[Body])+len(req.Header[Length])+len(req.Header[Signed]) == 0 {
		return req
	}
	out := req.WithContext(req.Context())
	out.Header = req.Header.Clone()
	Strip(out.Header)
	return out
}

// LengthOf returns the length of the plain body that h tells, or -1.
func LengthOf(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get(Length), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
