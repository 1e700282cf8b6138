package edge

import (
	"encoding/base64"
	"net/http"

	"preau/cache/block"
	"preau/cache/fill"
)

// mostSummed bounds the body that is read and hashed before it is sent, for a
// client that asks for its digest: a wish, that need not be granted (RFC 9530 §4).
const mostSummed = 256 << 20

// addDigest tells the digest of a whole body, if it is known or can be soon.
func (x *exchange) addDigest(h http.Header, body *fill.Body) {
	sum := body.SHA256()
	if n := body.Length(); sum.IsZero() && n >= 0 && n <= mostSummed {
		var err error
		if sum, err = body.Whole(x.r.Context()); err != nil {
			x.h.log.Debug("the digest of a body can't be made", "site", x.site.Name, "err", err)
			return
		}
	}
	if !sum.IsZero() {
		h.Set("Repr-Digest", reprDigest(sum))
	}
}

// reprDigest is the value of a Repr-Digest field (RFC 9530 §3).
func reprDigest(d block.Digest) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(d[:]) + ":"
}
