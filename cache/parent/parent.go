// Package parent is a site's origin for a cache that has other caches before
// it: what is going to be stored is asked of them first, and of the site itself
// when none of them has an answer.
//
// Only what anybody may have is asked of a parent: GET and HEAD without
// credentials, without a body, under the site's own name. All else goes
// straight to the site, as does everything while no parent can be reached. A
// parent that fails is left alone for a while, and then tried by the next
// request; one that is slow has the next one asked beside it. Answers are
// believed only if they say (in Cache-Status, RFC 9211) that they passed
// through a cache like this one: whatever else stands there is no parent.
//
// The body of what a parent brought says so: it has a method Source, which
// returns SourceRegion.
//
// The package stores nothing, does not choose the order of parents, and sends
// them nothing that says who asks. The line counts as up while either the site
// or a parent can be reached.
//
// Metrics, with the label site:
//
//	preau_parent_fetches_total{result}        parent, site, failed: who answered
//	preau_parent_answers_total{result}        answered, offline, gateway, foreign, failed, slow, canceled: what parents said
//	preau_parent_broken_bodies_total{result}  cut, stalled
//	preau_parent_received_bytes_total         of bodies
package parent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/upstream"
	"preau/cache/vouch"
)

// Parent is one cache that may be asked.
type Parent struct {
	// Name tells parents apart: it is how a dead one is remembered.
	Name string
	// RoundTripper reaches it. It must not decompress, and follows no redirect.
	RoundTripper http.RoundTripper
	// Base is where the site lies on it: "https://server/o/NAME".
	Base *url.URL
}

// Config says how patient one is with parents. Start from DefaultConfig.
type Config struct {
	// HedgeAfter is how long a parent may take before the next is asked beside
	// it, and AnswerTimeout before it is given up.
	HedgeAfter, AnswerTimeout time.Duration
	// BodyStall is how long a body may bring nothing before it is broken off,
	// to go on elsewhere.
	BodyStall time.Duration
	// RetryAfter is how long a parent that failed is left alone at first; it
	// doubles up to RetryMax.
	RetryAfter, RetryMax time.Duration
	// Most bounds how many parents are asked for one response.
	Most int
}

// DefaultConfig suits servers that are some 20 ms away.
func DefaultConfig() Config {
	return Config{
		HedgeAfter: 2 * time.Second, AnswerTimeout: 20 * time.Second, BodyStall: 8 * time.Second,
		RetryAfter: time.Second, RetryMax: 30 * time.Second, Most: 3,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"hedge_after", c.HedgeAfter}, {"answer_timeout", c.AnswerTimeout}, {"body_stall", c.BodyStall},
		{"retry_after", c.RetryAfter}, {"retry_max", c.RetryMax},
	} {
		if d.d <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be longer than 0", d.name))
		}
	}
	if c.RetryMax < c.RetryAfter {
		errs = append(errs, errors.New("retry_max: is shorter than retry_after"))
	}
	if c.Most < 1 {
		errs = append(errs, errors.New("most: must be at least 1"))
	}
	return errors.Join(errs...)
}

// List returns the parents that may be asked for what key names, best first.
// It is called for each fetch and must be quick; key is the path with its
// query, which stays on this machine.
type List func(key string) []Parent

// Origin is a site behind parents. Its methods may be called concurrently.
type Origin struct {
	cfg     Config
	name    string
	site    *upstream.Upstream
	list    List
	log     *slog.Logger
	metrics *metrics
	root    *url.URL // of the site
	kick    chan struct{}
	running atomic.Bool

	health   *Health
	mu       sync.Mutex
	state    upstream.State
	up, down chan struct{}
}

// New checks cfg and registers metrics; it connects to nothing. name is the
// site's name.
func New(cfg Config, name string, site *upstream.Upstream, list List, log *slog.Logger, reg prometheus.Registerer) (*Origin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("parents of site %s: %w", name, err)
	}
	if site == nil || list == nil {
		return nil, fmt.Errorf("parents of site %s: needs a site and a list of parents", name)
	}
	o := &Origin{
		cfg: cfg, name: name, site: site, list: list, log: log.With("part", "parent", "site", name),
		root: site.URL("/", ""),
		kick: make(chan struct{}, 1), health: NewHealth(cfg.RetryAfter, cfg.RetryMax),
		state: upstream.State{Up: true, Since: time.Now()},
		up:    make(chan struct{}), down: make(chan struct{}),
	}
	close(o.up)
	var err error
	if o.metrics, err = newMetrics(name, reg); err != nil {
		return nil, err
	}
	return o, nil
}

// URL is where the site has the given path.
func (o *Origin) URL(escapedPath, rawQuery string) *url.URL { return o.site.URL(escapedPath, rawQuery) }

// RoundTrip passes a request through, straight to the site.
func (o *Origin) RoundTrip(req *http.Request) (*http.Response, error) { return o.site.RoundTrip(req) }

// Fetch asks parents, where it may, and then the site.
func (o *Origin) Fetch(req *http.Request) (*http.Response, error) {
	key, ok := Key(req, o.root)
	if !ok {
		return o.direct(req)
	}
	parents := o.alive(key)
	if len(parents) == 0 {
		return o.direct(req)
	}
	resp, final, err := o.race(req, key, parents)
	o.review()
	switch {
	case err == nil:
		return resp, nil
	case req.Context().Err() != nil:
		return nil, fmt.Errorf("parents of %s: %w", o.name, context.Cause(req.Context()))
	}
	if final {
		o.metrics.fetches.WithLabelValues(byNobody).Inc()
		return nil, err
	}
	o.log.DebugContext(req.Context(), "no parent has an answer", "err", err)
	return o.direct(req)
}

// direct asks the site itself. On a line that is known to be down it is not
// waited for: the site's own probes find out when it is back.
func (o *Origin) direct(req *http.Request) (*http.Response, error) {
	if st := o.site.State(); !st.Up && o.ever() {
		o.metrics.fetches.WithLabelValues(byNobody).Inc()
		return nil, fmt.Errorf("site %s: %w", o.name, &upstream.LineError{Cause: st.Cause})
	}
	resp, err := o.ask(req)
	o.review()
	if err != nil {
		o.metrics.fetches.WithLabelValues(byNobody).Inc()
		return nil, err
	}
	o.metrics.fetches.WithLabelValues(bySite).Inc()
	return resp, nil
}

// ask asks the site itself, which has nothing to do with the caches' own fields.
func (o *Origin) ask(req *http.Request) (*http.Response, error) {
	resp, err := o.site.Fetch(vouch.Stripped(req))
	if err == nil {
		vouch.Strip(resp.Header)
	}
	return resp, err
}

// alive lists the parents for key that are not left alone now.
func (o *Origin) alive(key string) []Parent {
	list := o.list(key)
	now := time.Now()
	list = slices.DeleteFunc(slices.Clone(list), func(p Parent) bool {
		return p.RoundTripper == nil || p.Base == nil || o.health.Until(p.Name).After(now)
	})
	return list[:min(len(list), o.cfg.Most)]
}

// ever reports whether there is any parent, alive or not.
func (o *Origin) ever() bool { return len(o.list("/")) > 0 }
