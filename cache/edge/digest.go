package edge

import (
	"encoding/base64"

	"preau/cache/block"
)

// reprDigest is the value of a Repr-Digest field (RFC 9530 §3).
func reprDigest(d block.Digest) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(d[:]) + ":"
}
