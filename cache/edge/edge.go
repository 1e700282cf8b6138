// Package edge is the HTTP face of the cache: from a device's request to its
// response, for all sites of a node.
//
// Each request is answered from what is stored, or from the fill that is under
// way, or from the site; what may be stored and reused is decided by rfc9111
// and the site's rules. What can't be cached passes through untouched and
// streaming: any method, uploads, WebSocket and other upgrades, long polls,
// server-sent events. Nothing but the configured sites is ever reached.
//
// The package keeps nothing itself and tells nobody who asked for what: it
// adds no forwarding field with a client's address, and its log and metrics
// name sites, never clients or URLs.
//
// Metrics: preau_edge_requests_total{site,result}, where result is one of hit,
// stale, revalidated, miss, collapsed, pass, error; and
// preau_edge_sent_bytes_total{site,source}, where source is local or site.
package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/storage"
	"preau/cache/upstream"
)

// Name is the cache's name in Cache-Status and Via.
const Name = "preau"

// unsharedFor is how long a resource whose response could not be shared is
// asked for by every client at once instead of one after the other.
const unsharedFor = 2 * time.Minute

// Site is one upstream site and how it is met.
type Site struct {
	Name         string
	Hosts        []string // exact, "*.example.org", or "*"
	Rules        rfc9111.Rules
	PreserveHost bool // ask the site under the name the client used
	List         bool // stored pages may be listed on the page shown offline
	Upstream     Origin

	counters counters
}

// Origin is where a site's responses come from, and what is known of the way
// there. *upstream.Upstream is the site itself. Its methods may be called
// concurrently.
type Origin interface {
	// Fetch sends a request whose answer is going to be stored. An error that
	// matches upstream.ErrLineDown says that nobody can be reached who has it.
	Fetch(req *http.Request) (*http.Response, error)
	// RoundTrip passes a request through to the site.
	RoundTrip(req *http.Request) (*http.Response, error)
	// URL is where the site has the given path, escaped as it came.
	URL(escapedPath, rawQuery string) *url.URL
	// State says whether it makes sense to fetch now.
	State() upstream.State
	// Up and Down return channels that are closed when the state becomes so,
	// or is so already.
	Up() <-chan struct{}
	Down() <-chan struct{}
}

// Handler answers requests for its sites.
type Handler struct {
	sites   []*Site
	byHost  hosts
	log     *slog.Logger
	metrics *metrics

	store   atomic.Pointer[storage.Storage]
	observe atomic.Pointer[Observer]

	unshared *otter.Cache[object.Key, mark]
	hot      *otter.Cache[object.ID, hot]

	ctx    context.Context // of flights; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	flights map[flightKey]*flight
	closed  bool
}

// New checks sites and registers metrics. Without SetStorage everything passes
// through. Close ends what the handler runs.
func New(sites []*Site, log *slog.Logger, reg prometheus.Registerer) (*Handler, error) {
	h := &Handler{sites: sites, log: log.With("part", "edge"), flights: map[flightKey]*flight{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	var err error
	if h.byHost, err = newHosts(sites); err != nil {
		return nil, err
	}
	h.unshared, err = otter.New(&otter.Options[object.Key, mark]{
		MaximumSize:      10_000,
		ExpiryCalculator: otter.ExpiryWriting[object.Key, mark](unsharedFor),
	})
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if h.metrics, err = newMetrics(reg); err != nil {
		return nil, err
	}
	for _, s := range sites {
		s.counters = h.metrics.site(s.Name)
	}
	h.hot, err = otter.New(&otter.Options[object.ID, hot]{
		MaximumWeight: hotBytes,
		Weigher:       func(_ object.ID, b hot) uint32 { return uint32(len(b.data)) + 200 },
	})
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	return h, nil
}

// SetStorage gives the handler its storage, or takes it away with nil.
func (h *Handler) SetStorage(s *storage.Storage) { h.store.Store(s) }

// Observer is told of each response that was served from what is stored, or is
// stored now: its site and its path, if it may be listed, else the mark of its
// URL in hexadecimal. It learns nothing of who asked. It is called by those who
// serve and must be quick.
type Observer func(site, name string, listed bool)

// SetObserver has fn called from now on, or nobody with nil.
func (h *Handler) SetObserver(fn Observer) {
	if fn == nil {
		h.observe.Store(nil)
		return
	}
	h.observe.Store(&fn)
}

// Close ends the fetches that have no response yet. Responses that are being
// sent are the server's to end.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.work.Wait()
	h.unshared.StopAllGoroutines() // what it forgets by time it forgets when asked
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		http.Error(w, "This box is no open proxy.", http.StatusMethodNotAllowed)
		return
	}
	x, ok := h.exchange(w, r)
	if !ok {
		h.unknownSite(w, r)
		return
	}
	if x.climbs() {
		http.Error(w, "This path leaves the site.", http.StatusBadRequest)
		return
	}
	x.store = h.store.Load()
	switch {
	case x.store == nil:
		x.pass(rfc9111.FwdBypass, "no-storage")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		x.pass(rfc9111.FwdMethod, "")
	case r.Header.Get("Upgrade") != "" && r.Header.Get("Upgrade") != "h2c", rfc9111.NeedsOrigin(r.Header):
		x.pass(rfc9111.FwdRequest, "")
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"): // never whole, and silent for as long as it likes
		x.pass(rfc9111.FwdRequest, "")
	case r.ContentLength != 0: // a body may change what a GET means
		x.pass(rfc9111.FwdRequest, "")
	default:
		evenCodings(r.Header)
		x.key = x.store.Key(x.keyParts()...)
		x.answer()
	}
}
