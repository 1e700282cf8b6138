package portaltest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"preau/node/portal"
)

// Ready waits until a portal has read what there is.
func Ready(tb testing.TB, p *portal.Portal) {
	tb.Helper()
	Until(tb, func() bool {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/en/c/?fresh="+time.Now().Format(time.RFC3339Nano), nil)
		p.ServeHTTP(w, r)
		return !strings.Contains(w.Body.String(), "has just started")
	})
}

// Until waits for something that will be so in a moment.
func Until(tb testing.TB, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(time.Minute)
	defer over.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-over.C:
			tb.Fatal("it is not so after a minute")
		}
	}
}

// Control cuts and mends a world's line by POST /cut and /mend.
func Control(w *World) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cut", func(http.ResponseWriter, *http.Request) { w.Cut(time.Now()) })
	mux.HandleFunc("POST /mend", func(http.ResponseWriter, *http.Request) { w.Cut(time.Time{}) })
	return mux
}
