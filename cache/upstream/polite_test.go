package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// ask sends one request of a kind and reads its answer.
func ask(t *testing.T, do func(*http.Request) (*http.Response, error), req *http.Request) *http.Response {
	t.Helper()
	resp, err := do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

func TestNoRedirectIsFollowed(t *testing.T) {
	var elsewhere atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		hello(w, r)
	}))
	defer target.Close()
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/here" {
					elsewhere.Add(1)
				}
				to := target.URL
				if r.URL.Path == "/own" {
					to = "/here"
				}
				http.Redirect(w, r, to, status)
			}))
			defer srv.Close()
			u := startReal(t, srv.URL)
			for name, do := range map[string]func(*http.Request) (*http.Response, error){"fetch": u.Fetch, "pass": u.RoundTrip} {
				for _, path := range []string{"/a", "/own"} {
					resp := ask(t, do, request(t, u, path))
					if resp.StatusCode != status || resp.Header.Get("Location") == "" {
						t.Errorf("%s %s: %d to %q", name, path, resp.StatusCode, resp.Header.Get("Location"))
					}
				}
			}
			tr := u.newTransport(u.dialTwice)
			defer tr.CloseIdleConnections()
			if got, err := u.probeOnce(t.Context(), tr); err != nil || got != status {
				t.Errorf("probe: %d, %v", got, err)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestTheSiteIsToldOfTheBoxOnlyIfTheOperatorWantsIt(t *testing.T) {
	var mu sync.Mutex
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = r.Header.Clone()
		mu.Unlock()
		hello(w, r)
	}))
	defer srv.Close()
	for value, want := range map[string]string{ForwardedNone: "", ForwardedBox: "for=_preau"} {
		t.Run(value, func(t *testing.T) {
			u := startReal(t, srv.URL, func(c *Config) { c.Forwarded = value })
			for name, do := range map[string]func(*http.Request) (*http.Response, error){"fetch": u.Fetch, "pass": u.RoundTrip} {
				req := request(t, u, "/a")
				resp := ask(t, do, req)
				mu.Lock()
				if f := got.Get("Forwarded"); f != want || got.Get("X-Forwarded-For") != "" {
					t.Errorf("%s: Forwarded: %q", name, f)
				}
				mu.Unlock()
				if len(req.Header) != 0 || resp.Request != req {
					t.Errorf("%s: the caller's request was changed", name)
				}
			}
		})
	}
}

func TestRequestsAreCountedByKind(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(hello))
	defer srv.Close()
	u := startReal(t, srv.URL)
	for range 3 {
		ask(t, u.Fetch, request(t, u, "/a"))
	}
	ask(t, u.RoundTrip, request(t, u, "/a"))
	for kind, want := range map[string]float64{"fetch": 3, "pass": 1} {
		c := u.metrics.fetches
		if kind == "pass" {
			c = u.metrics.passes
		}
		if got := testutil.ToFloat64(c[resultAnswered]); got != want {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
		if d := c[resultAnswered].Desc().String(); !strings.Contains(d, "preau_upstream_requests_total") {
			t.Error(d)
		}
	}
}
