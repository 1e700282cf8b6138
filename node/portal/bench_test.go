package portal_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/portal"
	"preau/node/portal/portaltest"
)

// What a home page costs: kept for a moment, and made anew each time.
func BenchmarkHome(b *testing.B) {
	w := portaltest.New(false)
	w.Crowd(20_000, 300)
	p, err := portal.New(portal.DefaultConfig(), w.Parts(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	portaltest.Ready(b, p)
	for name, path := range map[string]func(n int) string{
		"kept": func(int) string { return "/fr/" }, "made": func(n int) string { return "/fr/?" + strconv.Itoa(n) },
		"find": func(n int) string { return "/fr/find?q=document+" + strconv.Itoa(n%20_000) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, path(n), nil)
				r.Header.Set("Accept-Encoding", "gzip")
				p.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
