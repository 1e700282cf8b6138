package edge_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
)

// TestADigestIsToldToWhoAsks: of the whole representation, whatever part of it is
// sent, and of what is stored only.
func TestADigestIsToldToWhoAsks(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int{100, 1<<20 + 1} {
		path := fmt.Sprint("/", size)
		data := noise(size, 1)
		w.answer(file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60"))
		w.get(path)
		sum := sha256.Sum256(data)
		want := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		w.until(func() bool { return w.get(path, "Want-Repr-Digest", "sha-256=1").header.Get("Repr-Digest") == want }, "the digest is not told")
		r := w.get(path, "Want-Repr-Digest", "sha-256=1", "Range", "bytes=5-9")
		if got := r.header.Get("Repr-Digest"); got != want || len(r.body) != 5 {
			t.Errorf("%d bytes with %q", len(r.body), got)
		}
		for _, wish := range [][]string{nil, {"Want-Repr-Digest", "sha-512=1"}, {"Want-Repr-Digest", "sha-256=0"}} {
			if got := w.get(path, wish...).header.Get("Repr-Digest"); got != "" {
				t.Errorf("%v: %q", wish, got)
			}
		}
	}
}
