package edge

import (
	"bytes"
	"net/http"

	"preau/cache/fill"
	"preau/cache/memo"
	"preau/cache/object"
	"preau/cache/rfc9111"
)

// hotBytes bounds the small bodies kept in memory, and hotMax each of them: a
// page and its parts are sent with one write and without a look at the disk.
const (
	hotBytes = 24 << 20
	hotMax   = 64 << 10
)

// hot is a small body in memory. It belongs to one version, so it is never out
// of date; its bytes were verified when they were read.
type hot struct{ data []byte }

// byID is the key of what is remembered of one version.
func byID(id object.ID) (k memo.Key) {
	copy(k[:], id[:])
	return k
}

// plain reports whether the request wants the whole body and nothing special.
func (x *exchange) plain() bool {
	return x.r.Header["Range"] == nil && x.r.Header["Want-Repr-Digest"] == nil
}

// serveHot answers from memory if it can.
func (x *exchange) serveHot(o *object.Object, cs rfc9111.CacheStatus, result string) bool {
	if !x.plain() {
		return false
	}
	b, ok := x.h.hot.Get(byID(o.ID))
	if !ok || !x.maySend(int64(len(b.data))) {
		return false
	}
	h := x.w.Header()
	if h["Accept-Ranges"] == nil && o.Status == http.StatusOK {
		h["Accept-Ranges"] = []string{"bytes"}
	}
	h["Content-Length"] = []string{contentLength(int64(len(b.data)))}
	rfc9111.AppendCacheStatus(h, Name, cs)
	x.begin(o.Status, result)
	if x.r.Method == http.MethodHead {
		return true
	}
	n, err := x.w.Write(b.data)
	x.sent(sourceLocal, int64(n))
	x.finish(err)
	return true
}

// keepHot takes a small body that is all here into memory.
func (x *exchange) keepHot(o *object.Object, body *fill.Body) bool {
	length := body.Length()
	if !o.Complete || length < 0 || length > hotMax || !body.Holds(0, -1) || !x.plain() {
		return false
	}
	reader := body.NewReader(0, -1)
	defer reader.Close()
	buf := bytes.NewBuffer(make([]byte, 0, length))
	if n, err := reader.CopyTo(x.r.Context(), buf); err != nil || n != length {
		return false
	}
	x.h.hot.Set(byID(o.ID), hot{buf.Bytes()})
	return true
}
