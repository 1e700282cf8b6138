package publish_test

import (
	"errors"
	"testing"
	"time"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/storetest"
)

// Who tells the key is answered with one request to the store, and never with
// more than who does not.
func TestAKeyFindsABodyAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.put("a", "one")
		w.put("b", "other")
		st := storetest.NewFaulty(w.st, 1)
		g := w.start(st, small())
		defer g.stop()
		settle(20 * time.Second)
		f := w.follower()
		f.read(g, 10)
		is := f.now["a"]
		read := func(key string, want string) (requests int) {
			t.Helper()
			before := st.Calls()
			rc, err := g.BodyOf(t.Context(), maps, key, is.List, 0, is.Length)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(slurp(t, rc)); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			return st.Calls() - before
		}
		if n := read("a", "one"); n > 2 { // the page of the table, the first time
			t.Errorf("%d requests", n)
		}
		settle(2 * time.Minute) // what is remembered of the place lapses
		if n := read("a", "one"); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		for _, key := range []string{"b", "never was", ""} {
			settle(2 * time.Minute)
			read(key, "one")
		}
		w.put("a", "two")
		settle(12 * time.Minute)
		f.read(g, 10)
		if _, err := g.BodyOf(t.Context(), maps, "a", is.List, 0, is.Length); !errors.Is(err, central.ErrGone) {
			t.Errorf("a version that is gone: %v", err)
		}
		if _, err := g.BodyOf(t.Context(), maps, "a", block.Sum([]byte("?")), 0, 1); !errors.Is(err, central.ErrGone) {
			t.Errorf("a list that never was: %v", err)
		}
	})
}
