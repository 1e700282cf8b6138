package shelf_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// An answer says whether its bytes were here, and where they came from if not
// (RFC 9211).
func TestAnAnswerSaysWhereItComesFrom(t *testing.T) {
	w := newWorld(t)
	it := w.publish("a", noise(3<<20, 9))
	w.upsert(it)
	for _, want := range []string{"preau; fwd=miss; stored; detail=region", "preau; hit; detail=local"} {
		got := w.get(it.Path())
		if got.err != nil || got.header.Get("Cache-Status") != want {
			t.Errorf("%q, want %q (%v)", got.header.Get("Cache-Status"), want, got.err)
		}
	}
	if got := w.get(it.Path(), "If-None-Match", `*`); got.header.Get("Cache-Status") != "preau; hit; detail=local" {
		t.Errorf("304: %q", got.header.Get("Cache-Status"))
	}
	if got := w.get("/r/none/none.txt"); got.header.Get("Cache-Status") != "" {
		t.Errorf("of nothing: %q", got.header.Get("Cache-Status"))
	}
}

// What devices get is counted: whole, in parts, and nothing of what is the same.
func TestBytesSentAreCounted(t *testing.T) {
	w := newWorld(t)
	it := w.publish("a", noise(3<<20, 9))
	w.upsert(it)
	for range 2 {
		w.get(it.Path())
	}
	w.get(it.Path(), "Range", "bytes=10-19")
	w.get(it.Path(), "If-None-Match", "*")
	w.front.Close() // a handler counts after its last byte
	want := strings.NewReader(`# HELP preau_shelf_sent_bytes_total Bytes of bodies sent to devices.
# TYPE preau_shelf_sent_bytes_total counter
preau_shelf_sent_bytes_total 6.291466e+06
`)
	if err := testutil.GatherAndCompare(w.reg, want, "preau_shelf_sent_bytes_total"); err != nil {
		t.Error(err)
	}
}
