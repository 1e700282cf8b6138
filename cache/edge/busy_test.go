package edge_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// TestASiteThatAsksForAPauseGetsOne is about what people see of it: what is
// stored, or a page that says what is the matter.
func TestASiteThatAsksForAPauseGetsOne(t *testing.T) {
	w := newWorld(t)
	w.answer(file([]byte("held"), "Cache-Control", "max-age=0", "ETag", `"one"`))
	w.want(w.get("/a"), 200, "held")
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "300")
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	w.get("/b")
	w.requests()
	w.want(w.get("/a"), 200, "held")
	r := w.get("/c", "Accept", "text/html", "Accept-Language", "fr")
	w.want(r, 503, "*", "busy")
	if s, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || s < 60 || s > 300 || !strings.Contains(string(r.body), "très demandé") {
		t.Errorf("%v %s", r.header, r.body)
	}
	w.wantAsked(0)
}
