package region

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"preau/node/control"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/wire"
)

// entrance sends boxes that follow to the feed, and all else to rest. Thousands
// of boxes wait in the feed's handler for days, so what is on the stack there is
// most of what a box costs: the feed is reached by way of no http.ServeMux, and
// who it is that asks has been settled, and its frames are gone, when it begins.
//
// A server that is out of the region sends all boxes elsewhere.
type entrance struct {
	feed, rest http.Handler
	removed    *atomic.Bool
}

// ServeHTTP implements http.Handler.
func (e *entrance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.removed.Load() && wire.PeerOf(r).Role == identity.Box {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		//nolint:errcheck // whoever asked goes elsewhere, heard or not
		json.NewEncoder(w).Encode(control.Failure{Code: "removed", Detail: "this server is out of the region: ask another"})
		return
	}
	if r.URL.Path != feed.Path {
		e.rest.ServeHTTP(w, r)
		return
	}
	if isBox(w, r) {
		e.feed.ServeHTTP(w, r)
	}
}

// isBox reports whether a box sent r. If not, it has answered.
func isBox(w http.ResponseWriter, r *http.Request) (yes bool) {
	note := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { yes = true })
	wire.Only(note, identity.Box).ServeHTTP(w, r)
	return yes
}
