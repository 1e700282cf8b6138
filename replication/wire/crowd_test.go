package wire_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Requests that come all at once wait for one connection, which has no room for
// all of them: none fails, and the rest get connections of their own.
func TestACrowdThatComesAtOnceIsServed(t *testing.T) {
	t.Run(overQUIC, func(t *testing.T) {
		const all = 180
		var here atomic.Int32
		together := make(chan struct{})
		// One that fails would leave the others waiting.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ours := newRegion(t, time.Now())
		s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if here.Add(1) == all {
				close(together)
			}
			select { // each is under way until all are
			case <-together:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, "yes")
		})})
		tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
		var group sync.WaitGroup
		for range all {
			group.Go(func() {
				if got, err := get(ctx, tr, "/"); err != nil || got != "yes" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		group.Wait()
	})
}
