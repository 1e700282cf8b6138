package follow

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/catalogue"
	"preau/replication/identity"
)

func TestAServerThatWasRevokedIsKnown(t *testing.T) {
	f, c := opened(t)
	c.apply(t, record(t, catalogue.Revocation{Role: identity.Server, Name: "s2"}),
		record(t, catalogue.Revocation{Role: identity.Box, Name: "s3", School: school}))
	for name, want := range map[string]bool{"s1": false, "s2": true, "s3": false} {
		if f.ServerRevoked(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// roundTrip is a way to a server without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What the feed finds out of servers is known to those who bring and fetch, who
// would wait for each dead one in turn; also of the one that deposits stay with.
func TestAServerThatDoesNotAnswerTheFeedIsAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParents(nil)
		for _, name := range []string{"s1", "s2", "s3"} {
			p.servers = append(p.servers, catalogue.Server{Name: name})
			p.open[name] = &way{}
		}
		taker := newDepositTaker(p, "box-a", func() bool { return true }, func() bool { return true }, func(string) bool { return false })
		names := func() (out [3]string) {
			for i, r := range taker.servers() {
				out[i] = r.name
			}
			return out
		}
		answers := map[string]error{}
		feed := func(name string) {
			w := feedWay{roundTrip(func(*http.Request) (*http.Response, error) {
				if err := answers[name]; err != nil {
					return nil, err
				}
				return httptest.NewRecorder().Result(), nil
			}), p, name}
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name+"/v1/feed", nil)
			if resp, err := w.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}
		first := names()
		taker.stay(first[0])

		answers[first[0]] = context.Canceled
		if feed(first[0]); names() != first {
			t.Errorf("the feed gave up of its own, and the order is %v instead of %v", names(), first)
		}
		answers[first[0]] = errors.New("no answer")
		feed(first[0])
		if got, want := names(), [3]string{first[1], first[2], first[0]}; got != want {
			t.Errorf("a server did not answer the feed: %v instead of %v", got, want)
		}
		// All failed while there was no line; the one that answers first is the one.
		answers[first[1]], answers[first[2]] = errors.New("no answer"), errors.New("no answer")
		feed(first[1])
		feed(first[2])
		answers[first[1]] = nil
		feed(first[1])
		if got, want := names(), [3]string{first[1], first[0], first[2]}; got != want {
			t.Errorf("one server answers again: %v instead of %v", got, want)
		}
		if time.Sleep(pauseAfter); names() != first {
			t.Errorf("after a while the order is %v instead of %v", names(), first)
		}
	})
}
