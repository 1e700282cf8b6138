package upstream

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkFetch is one small answer over loopback, as a fetch and as a pass,
// alone and beside others.
func BenchmarkFetch(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(hello))
	defer srv.Close()
	cfg := DefaultConfig()
	cfg.Name, cfg.URL = "library", mustURL(b, srv.URL)
	u, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	defer u.closeIdle()
	once := func(b *testing.B, do func(*http.Request) (*http.Response, error)) {
		b.Helper()
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, srv.URL, nil)
		if err != nil {
			b.Error(err)
			return
		}
		resp, err := do(req)
		if err != nil {
			b.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Error(err)
		}
		_ = resp.Body.Close()
	}
	b.Run("fetch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			once(b, u.Fetch)
		}
	})
	b.Run("fetch beside others", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				once(b, u.Fetch)
			}
		})
	})
	b.Run("pass", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			once(b, u.RoundTrip)
		}
	})
}

// BenchmarkWatch is what a fetch costs beside the request itself: its turn, and
// the look at it.
func BenchmarkWatch(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Name, cfg.URL = "library", mustURL(b, "http://library.example")
	u, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	none := func(error) {}
	b.ReportAllocs()
	for b.Loop() {
		w, err := u.watch(b.Context(), none)
		if err != nil {
			b.Fatal(err)
		}
		w.end()
	}
}
