// Package edge is the HTTP face of the cache: from a device's request to its
// response, for all sites of a node.
//
// Each request is answered from what is stored, or from the fill that is under
// way, or from the site; what may be stored and reused is decided by rfc9111
// and the site's rules. What can't be cached passes through untouched and
// streaming: any method, uploads, WebSocket and other upgrades, long polls,
// server-sent events. Nothing but the configured sites is ever reached.
//
// A site may have a profile, the written rules for its platform (package
// profile). What a profile calls shared is asked for by nobody in particular,
// once for all (plan.go), and its answers mean what the profile says (ruling.go):
// that they are for everybody, or each asker's own, or that there is nothing any
// more, which is purged and remembered (gone.go). Of those who open a link that
// is not known the first goes alone (gate.go). A folder is sent as an archive that
// is made here of its files (folder.go). Of films of which the site says the sums
// of the fragments, nobody is given one that is another (fragment.go).
//
// What a neighbour sends and keeps for the school is passed on, and stored here only
// once it is asked for here often (lent.go).
//
// The package keeps nothing itself and tells nobody who asked for what: it
// adds no forwarding field with a client's address, and its log and metrics
// name sites, never clients or URLs.
//
// Metrics: preau_edge_requests_total{site,result}, where result is one of hit,
// stale, revalidated, miss, collapsed, pass, error; and
// preau_edge_sent_bytes_total{site,source}, where source is local, neighbour,
// region or site. Both count what neighbours and peers ask for too, and the files
// of which an archive is made; preau_edge_live{site}, the open requests by which
// people talk to each other; and preau_edge_fragments_total{site,result}, where
// result is one of verified, mended, refused, unchecked.
package edge

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/memo"
	"preau/cache/object"
	"preau/cache/popular"
	"preau/cache/profile"
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
	// Profile is what is written about the site's platform; with nil it is
	// RFC 9111 and Rules, and nothing else.
	Profile Profile
	// Rendition, unless 0, is the height of the one rendition that is left of those
	// that a film's playlist offers: the nearest at or below.
	Rendition int

	counters counters
}

// Origin is where a site's responses come from, and what is known of the way
// there. *upstream.Upstream is the site itself. Its methods may be called
// concurrently.
type Origin interface {
	// Fetch sends a request whose answer is going to be stored. An error that
	// matches upstream.ErrLineDown says that nobody can be reached who has it.
	// A body with a method Source() string says who answered: "neighbour",
	// "region", or else the site. The request's context says what vouch.Of
	// returns, and is told when a neighbour is waited for.
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
	home    atomic.Pointer[Home]

	unshared *memo.Cache[mark]
	wanted   *popular.Counter // of what neighbours lend
	hot      *memo.Cache[hot] // by ID

	keys     object.Keyer          // of what is remembered in memory only
	gone     *memo.Cache[struct{}] // what sites no longer have
	alive    *memo.Cache[struct{}] // capabilities that open something
	probed   *memo.Cache[verdict]  // of what capabilities open
	listings *memo.Cache[*listing] // of folders
	calls    calls
	purges   purges
	paces    paces

	proofs    proofs
	fragments *fragments

	ctx    context.Context // of flights; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	flights map[flightKey]*flight
	gates   map[object.Key]*gate
	probes  map[object.Key]*probing
	lists   map[object.Key]*listingFlight
	closed  bool
}

// New checks sites and registers metrics. Without SetStorage everything passes
// through. Close ends what the handler runs.
func New(sites []*Site, log *slog.Logger, reg prometheus.Registerer) (*Handler, error) {
	h := &Handler{sites: sites, log: log.With("part", "edge"), flights: map[flightKey]*flight{}, gates: map[object.Key]*gate{}, probes: map[object.Key]*probing{}, lists: map[object.Key]*listingFlight{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	var err error
	if h.byHost, err = newHosts(sites); err != nil {
		return nil, err
	}
	h.unshared, err = memo.New(memo.Options[mark]{Most: mostRemembered, For: unsharedFor})
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if h.wanted, err = popular.New(wantedConfig); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if err := h.remembers(); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if h.metrics, err = newMetrics(reg); err != nil {
		return nil, err
	}
	if h.fragments, err = newFragments(reg); err != nil {
		return nil, err
	}
	for _, s := range sites {
		s.counters = h.metrics.site(s.Name)
	}
	h.hot, err = memo.New(memo.Options[hot]{
		Most: hotBytes, Weigh: func(b hot) uint32 { return uint32(len(b.data)) + 200 },
	})
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	return h, nil
}

// SetStorage gives the handler its storage, or takes it away with nil. What is
// purged from the one before is purged when it returns.
func (h *Handler) SetStorage(s *storage.Storage) {
	if old := h.store.Swap(s); old != nil && old != s {
		h.purges.leave()
	}
}

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
	h.unshared.Close() // what it forgets by time it forgets when asked
	h.gone.Close()
	if h.proofs.without != nil {
		h.proofs.without.Close()
	}
	h.alive.Close()
	h.probed.Close()
	h.fragments.sums.c.Close()
}

// remembers makes what is remembered in memory of links that are secrets: keyed
// hashes, with a key that nothing else knows.
func (h *Handler) remembers() (err error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	if h.keys, err = object.NewKeyer(secret); err != nil {
		return err
	}
	if h.gone, err = memo.New(memo.Options[struct{}]{Most: mostRemembered, For: goneFor}); err != nil {
		return err
	}
	if h.probed, err = memo.New(memo.Options[verdict]{Most: mostRemembered, For: probeFor}); err != nil {
		return err
	}
	if h.listings, err = memo.New(memo.Options[*listing]{Most: mostListings, Weigh: (*listing).weight}); err != nil {
		return err
	}
	h.alive, err = memo.New(memo.Options[struct{}]{Most: mostRemembered, For: aliveFor})
	return err
}

// starts takes note of something that runs until Close; false means that it
// must not begin.
func (h *Handler) starts() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.work.Add(1)
	return true
}

// ServeHTTP implements http.Handler: the face for devices.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, faceDevices) }

// answer answers for whom as says.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, as exchange) {
	if r.Method == http.MethodConnect {
		http.Error(w, "This box is no open proxy.", http.StatusMethodNotAllowed)
		return
	}
	x, ok := h.exchange(w, r, as)
	if !ok {
		h.unknownSite(w, r)
		return
	}
	if x.climbs() {
		http.Error(w, "This path leaves the site.", http.StatusBadRequest)
		return
	}
	x.store = h.store.Load()
	if x.wrote {
		return // sent to where the site begins
	}
	x.planRequest()
	defer x.lives()()
	defer x.passGate(false)
	if x.isGone() {
		x.answerGone(rfc9111.CacheStatus{Hit: true})
		return
	}
	switch {
	case x.store == nil:
		x.pass(rfc9111.FwdBypass, "no-storage")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		x.pass(rfc9111.FwdMethod, x.passRule())
	case r.Header.Get("Upgrade") != "" && r.Header.Get("Upgrade") != "h2c", rfc9111.NeedsOrigin(r.Header):
		x.pass(rfc9111.FwdRequest, x.passRule())
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"): // never whole, and silent for as long as it likes
		x.pass(rfc9111.FwdRequest, x.passRule())
	case r.ContentLength != 0: // a body may change what a GET means
		x.pass(rfc9111.FwdRequest, x.passRule())
	case x.plan != nil && x.plan.Do == profile.Pass:
		x.pass(rfc9111.FwdBypass, x.plan.Name)
	case x.plan != nil && x.plan.Do != profile.ByRFC9111:
		evenCodings(r.Header)
		x.share()
		if x.probed() == verdictOwn {
			x.pass(rfc9111.FwdBypass, x.plan.Name)
			return
		}
		defer h.paces.begin(x.key, upstream.PaceOf(r.Context()))()
		if x.plan.Do == profile.Archive {
			x.answerFolder()
			return
		}
		x.answer()
	default:
		evenCodings(r.Header)
		x.key = x.store.Key(x.keyParts()...)
		defer h.paces.begin(x.key, upstream.PaceOf(r.Context()))()
		x.answer()
	}
}
