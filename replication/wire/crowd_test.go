package wire_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Requests that come all at once wait for one connection, which has no room for
// all of them: none fails, and the rest get connections of their own.
func TestACrowdThatComesAtOnceIsServed(t *testing.T) {
	t.Run(overQUIC, func(t *testing.T) {
		const all = 180
		var here sync.WaitGroup
		here.Add(all)
		ours := newRegion(t, time.Now())
		s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			here.Done()
			here.Wait() // each is under way until all are
			_, _ = io.WriteString(w, "yes")
		})})
		tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
		var group sync.WaitGroup
		for range all {
			group.Go(func() {
				if got, err := get(t.Context(), tr, "/"); err != nil || got != "yes" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		group.Wait()
	})
}
