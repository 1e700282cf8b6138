// Package pool is a site's origin for a box that has neighbours: boxes of the
// same school, on the same network, in front of the same line.
//
// For each response one box of the school is the one to fetch it, and the
// others are filled from that one, following its fill while it runs, so that
// each byte crosses the line once. No neighbour is believed. The authority (the
// region, by way of package parent) is asked for the response's head and the
// digests of its blocks, which are a few bytes, and each block that a neighbour
// sends is compared before any of it goes on. Where the authority does not
// vouch, what it answers is the response. A neighbour that sends altered bytes
// is reported; one that says nothing has the next one asked beside it; one that
// says that it is working on it (102) is waited for, since to ask elsewhere
// would carry the bytes twice, but not for much longer than the authority took to
// vouch over the same line: else one box that says so for ever could hold up all. A body that breaks ends with an error, and
// whoever reads it asks for the rest.
//
// Where nobody vouches and nobody answers, as without a line, neighbours are asked
// for a proof: what the authority has signed of the response that they hold (see
// package vouch). Who fetches says whether it can be used (vouch.Fetch.Accept), and
// then the bytes are compared with what it says as with what is vouched for.
//
// A box whose turn it is asks the others only for what they have already, which
// makes nobody fetch or wait. Nothing else that a neighbour asks for is asked of
// another. Only what anybody may have is asked of neighbours: GET without
// credentials.
//
// A response's body says (Lent) whether it comes from the box whose turn it is,
// which keeps it for all of them.
//
// The package stores nothing, does not know who is near or whose turn it is,
// and remembers of neighbours only which have failed lately.
//
// Metrics, with the label site:
//
//	preau_pool_fetches_total{result}      neighbour, authority, failed: who answered
//	preau_pool_answers_total{result}      used, absent, other, failed, silent, late, canceled: what neighbours said
//	preau_pool_broken_bodies_total{result} altered, cut, stalled, unvouched
//	preau_pool_altered_blocks_total       blocks that were not what was vouched for
//	preau_pool_proofs_total{result}       used, refused, forged: what neighbours' proofs were good for
//	preau_pool_hedged_total               neighbours asked beside a silent one
//	preau_pool_received_bytes_total       of bodies, from neighbours
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/parent"
	"preau/cache/upstream"
	"preau/cache/vouch"
)

// Source is the Source of bodies that neighbours sent.
const Source = "neighbour"

// authority is what one that does not vouch as it should is remembered by; no
// box has that name.
const authority = ""

// Config says how patient one is with neighbours. Start from DefaultConfig.
type Config struct {
	// HeldWithin is how long others have to say whether they hold what is this
	// box's turn to fetch.
	HeldWithin time.Duration
	// HedgeLeast and HedgeMost bound the silence after which the next neighbour
	// is asked beside; between them it is a few times what is usual.
	HedgeLeast, HedgeMost time.Duration
	// SilentAfter is the same for one that has said that it is working on it.
	SilentAfter time.Duration
	// AnswerTimeout is how long all of them together may take to answer.
	AnswerTimeout time.Duration
	// BodyStall is how long a body may bring nothing before it is broken off.
	// It should be longer than what a neighbour needs to go on elsewhere itself.
	BodyStall time.Duration
	// RetryAfter is how long a neighbour that failed is left alone at first; it
	// doubles up to RetryMax.
	RetryAfter, RetryMax time.Duration
	// Most bounds how many neighbours are asked for one response.
	Most int
	// Memory bounds what bodies of all sites together take; nil for as much as
	// one site should have.
	Memory *Memory
}

// DefaultConfig suits a school's network.
func DefaultConfig() Config {
	return Config{
		HeldWithin: time.Second, HedgeLeast: 100 * time.Millisecond, HedgeMost: time.Second,
		SilentAfter: 2 * time.Second, AnswerTimeout: 45 * time.Second, BodyStall: 12 * time.Second,
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
		{"held_within", c.HeldWithin}, {"hedge_least", c.HedgeLeast}, {"hedge_most", c.HedgeMost}, {"silent_after", c.SilentAfter},
		{"answer_timeout", c.AnswerTimeout}, {"body_stall", c.BodyStall}, {"retry_after", c.RetryAfter}, {"retry_max", c.RetryMax},
	} {
		if d.d <= 0 {
			errs = append(errs, fmt.Errorf("%s: must be longer than 0", d.name))
		}
	}
	if c.HedgeMost < c.HedgeLeast {
		errs = append(errs, errors.New("hedge_most: is shorter than hedge_least"))
	}
	if c.RetryMax < c.RetryAfter {
		errs = append(errs, errors.New("retry_max: is shorter than retry_after"))
	}
	if c.Most < 1 {
		errs = append(errs, errors.New("most: must be at least 1"))
	}
	return errors.Join(errs...)
}

// Authority is what may vouch for a site's responses, and has them in the end:
// the edge.Origin that the box would have without neighbours. Its methods may
// be called concurrently.
type Authority interface {
	Fetch(req *http.Request) (*http.Response, error)
	RoundTrip(req *http.Request) (*http.Response, error)
	URL(escapedPath, rawQuery string) *url.URL
	State() upstream.State
	Up() <-chan struct{}
	Down() <-chan struct{}
}

// List returns the other boxes that may be asked for what key names, in the
// order in which it is their turn, and the place of this box among them: how
// many of them come before it. 0 says that it is this box's turn. It is called
// for each fetch and must be quick; key is the path with its query, which stays
// on this machine. A Base is where the site lies on that box.
type List func(key string) (others []parent.Parent, place int)

// Reports is told what comes of neighbours. Its methods must be quick, and may
// be called concurrently.
type Reports interface {
	// Report says that the box of that name sent what it should not have.
	Report(name, why string)
	// Lost says that the box of that name does not answer at all.
	Lost(name string)
}

// Origin is a site behind neighbours. Its methods may be called concurrently.
type Origin struct {
	Authority

	cfg     Config
	site    string
	root    *url.URL // of the site
	list    List
	reports Reports
	log     *slog.Logger
	metrics *metrics
	memory  *Memory

	well  *parent.Health // of neighbours that are asked for what is theirs to fetch
	quick *parent.Health // of those that are asked for what they hold

	mu    sync.Mutex
	usual time.Duration // until a neighbour's first word
}

// New checks cfg and registers metrics; it connects to nothing. site is the
// site's name.
func New(cfg Config, site string, from Authority, list List, reports Reports, log *slog.Logger, reg prometheus.Registerer) (*Origin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("neighbours of site %s: %w", site, err)
	}
	if from == nil || list == nil || reports == nil {
		return nil, fmt.Errorf("neighbours of site %s: needs an authority, a list of neighbours and who is told of them", site)
	}
	o := &Origin{
		Authority: from, cfg: cfg, site: site, root: from.URL("/", ""), list: list, reports: reports,
		log: log.With("part", "pool", "site", site), memory: cfg.Memory,
		well: parent.NewHealth(cfg.RetryAfter, cfg.RetryMax), quick: parent.NewHealth(cfg.RetryAfter, cfg.RetryMax),
	}
	if o.memory == nil {
		o.memory = NewMemory(mostBuffers)
	}
	var err error
	if o.metrics, err = newMetrics(site, reg); err != nil {
		return nil, err
	}
	return o, nil
}

// Fetch asks neighbours, where it may, and the authority; and where that has no
// answer, neighbours that can prove theirs.
func (o *Origin) Fetch(req *http.Request) (*http.Response, error) {
	req = vouch.Stripped(req)
	resp, err := o.fetch(req)
	if err == nil {
		return resp, nil
	}
	if resp := o.proven(req); resp != nil {
		return resp, nil
	}
	o.metrics.fetches.WithLabelValues(byNobody).Inc()
	return nil, err
}

// fetch asks neighbours for what the authority vouches for, and the authority.
func (o *Origin) fetch(req *http.Request) (*http.Response, error) {
	key, ok := parent.Key(req, o.root)
	if !ok || req.Method != http.MethodGet {
		return o.direct(req)
	}
	want, ok := wanted(req.Header)
	if !ok {
		return o.direct(req)
	}
	others, place := o.list(key)
	place = min(max(place, 0), len(others))
	if place > 0 && vouch.Of(req.Context()).Neighbour {
		return o.direct(req) // it is this box's turn, the other thinks
	}
	before, after := o.alive(o.well, others[:place]), others[place:]
	switch {
	case len(before) == 0 && (len(after) == 0 || !want.onGrid || want.conditional), !o.memory.free(),
		o.well.Until(authority).After(time.Now()):
		return o.direct(req)
	case len(before) == 0:
		return o.asOwner(req, key, want, o.alive(o.quick, after))
	}
	return o.fromOwner(req, key, o.turns(before, after), others[0].Name)
}

// direct takes what the authority has.
func (o *Origin) direct(req *http.Request) (*http.Response, error) {
	vouch.Of(req.Context()).Waiting(false)
	resp, err := o.Authority.Fetch(req)
	return o.answered(resp, err)
}

// answered counts an answer of the authority that is the response.
func (o *Origin) answered(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	o.metrics.fetches.WithLabelValues(byAuthority).Inc()
	vouch.Strip(resp.Header)
	return resp, nil
}

// fromOwner takes the response from the box whose turn it is, or from one that
// has it, if the authority vouches for it. owner is the first of them: what it
// sends it keeps, and what another sends in its place is to be kept here, for the
// next who asks.
func (o *Origin) fromOwner(req *http.Request, key string, list []turn, owner string) (*http.Response, error) {
	v, resp, err := o.vouched(req)
	if v == nil {
		return o.answered(resp, err)
	}
	n := o.ask(req, key, v, list)
	if n == nil {
		v.close()
		if req.Context().Err() != nil {
			return nil, fmt.Errorf("neighbours of %s: %w", o.site, context.Cause(req.Context()))
		}
		return o.direct(req)
	}
	return o.joined(req, v, n, n.name == owner)
}

// asOwner takes the response from a neighbour that has it already, which is
// seldom, or else from the authority at once.
func (o *Origin) asOwner(req *http.Request, key string, want want, after []parent.Parent) (*http.Response, error) {
	n := o.whoHolds(req, key, want, after)
	if n == nil {
		return o.direct(req)
	}
	v, resp, err := o.vouched(req)
	if v == nil {
		n.close()
		return o.answered(resp, err)
	}
	same, sure := v.same(n.resp)
	if !same {
		o.metrics.answers.WithLabelValues(saidOther).Inc()
		n.close()
		v.close()
		return o.direct(req)
	}
	n.sure = sure
	return o.joined(req, v, n, false)
}

// joined is the response as the authority says, with the neighbour's bytes.
func (o *Origin) joined(req *http.Request, v *vouched, n *answer, lent bool) (*http.Response, error) {
	buf, ok := o.memory.take(v.span)
	if !ok {
		n.close()
		v.close()
		return o.direct(req)
	}
	return o.join(req, v, n, lent, buf), nil
}

// join is joined, with the memory that it takes.
func (o *Origin) join(req *http.Request, v *vouched, n *answer, lent bool, buf *buffer) *http.Response {
	o.metrics.answers.WithLabelValues(saidUsed).Inc()
	o.metrics.fetches.WithLabelValues(byNeighbour).Inc()
	resp := *v.resp
	resp.Request = req
	resp.Header = v.resp.Header.Clone()
	vouch.Strip(resp.Header)
	resp.ContentLength = v.span.length()
	resp.TransferEncoding = nil
	if resp.ContentLength >= 0 {
		resp.Header.Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	resp.Body = newBody(req.Context(), o, v, n, lent, buf)
	return &resp
}

// turn is a neighbour that may be asked.
type turn struct {
	parent.Parent
	held bool // only for what it holds
}

// turns lists who is asked, in their order: those whose turn it is before this
// box's, and then those who may just have it.
func (o *Origin) turns(before, after []parent.Parent) []turn {
	var out []turn
	for _, p := range before {
		out = append(out, turn{p, false})
	}
	for _, p := range o.alive(o.quick, after) {
		out = append(out, turn{p, true})
	}
	return out[:min(len(out), o.cfg.Most)]
}

// alive lists those that are not left alone now, as many as are to be asked.
func (o *Origin) alive(health *parent.Health, list []parent.Parent) []parent.Parent {
	list = o.able(health, list)
	return list[:min(len(list), o.cfg.Most)]
}

// able lists all that are not left alone now.
func (o *Origin) able(health *parent.Health, list []parent.Parent) []parent.Parent {
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(list), func(p parent.Parent) bool {
		return p.RoundTripper == nil || p.Base == nil || health.Until(p.Name).After(now) || o.well.Until(p.Name).After(now)
	})
}
