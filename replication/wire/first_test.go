package wire_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"preau/replication/identity"
)

// Requests that go out together, before the server's settings have come, use
// header tables of the size that everybody begins with (RFC 7541 §4.2).
func TestTheFirstRequestsMayComeTogether(t *testing.T) {
	t.Run(overTCP, theFirstRequestsMayComeTogether)
	t.Run(overQUIC, theFirstRequestsMayComeTogether)
}

func theFirstRequestsMayComeTogether(t *testing.T) {
	r := newRegion(t, time.Now())
	s := r.serve(t, options{})
	d := dialer(t, r.creds(t, r.node(identity.Server, "s2"), time.Now()), nil)
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		tr := transport(t, d, s.target)
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://s1/some/path", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range 12 {
					req.Header.Set(fmt.Sprint("X-Preau-", i, "-", j), "a value that is worth a place in a table of headers")
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Error(err)
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}
