// Package upstream is one site's origin as the box reaches it: the connections,
// and what is known about the line to it.
//
// All URLs of a site share one line, so the first request that finds it dead
// spares the others the wait. A dial that fails is proof. Silence, cut
// connections and gateway errors (502, 503, 504) prove nothing by themselves,
// since an origin in good health is slow at times and cuts requests at times:
// they start a probe, a HEAD on a connection of its own, and the probe decides.
// While the line is down, probes go on in the background, further and further
// apart; any real answer to any request ends that. While all goes well, or
// nobody asks for anything, the origin sees no probe at all.
//
// Fetch is for what is going to be stored: it is watched, and broken off as
// soon as the line is known to be down. RoundTrip is for everything else: its
// outcomes are observed, but long polls, event streams, upgrades and slow
// answers are never cut.
//
// The platforms are spared: so many fetches go at once and in a minute, the
// others wait their turn, and while a site asks for a pause (Retry-After) none
// goes at all; what would wait too long fails with ErrBusy, so that a stored
// copy can stand in. Requests that are passed through wait for nobody.
//
// A box is no way round a filter and none into the school's network. It talks
// to no host but the site's own, as the school's resolver names it, or to the
// proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, which also carries
// upgraded connections. Where a site's name leads to private addresses they are
// not connected to unless the operator says so.
//
// The package does not decide what to do about a line that is down, does not
// rewrite requests (but for Config.Forwarded), follows no redirect, repeats no
// request, and decompresses nothing.
//
// Metrics, all with the label site:
//
//	preau_upstream_received_bytes_total        bytes read from the origin's connections, TLS and probes included
//	preau_upstream_sent_bytes_total            bytes written to them
//	preau_upstream_requests_total{kind,result} fetch, pass; answered, gateway_error, line_down, stalled, cut, canceled, busy, error
//	preau_upstream_fetches                     fetches under way
//	preau_upstream_fetches_waiting             fetches that wait for their turn
//	preau_upstream_busy_seconds                how long the site wants to be left alone yet
//	preau_upstream_broken_bodies_total{result} line_down, stalled, cut: fetches broken after their header
//	preau_upstream_probes_total{result}        up, down, unclear
//	preau_upstream_outages_total               how often the line went down
//	preau_upstream_line_up                     1 or 0
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Upstream is one site's origin. Its methods may be called concurrently.
type Upstream struct {
	cfg     Config
	base    *url.URL
	log     *slog.Logger
	metrics *metrics
	meter   meter
	tls     *tls.Config
	dial    dialFunc
	proxy   *url.URL        // nil: none
	tunnel  *http.Transport // of upgrades that need one
	running atomic.Bool
	kick    chan struct{} // tells Run to look at line.probeAt again

	mu        sync.Mutex
	line      line
	gate      gate
	turns     *time.Timer // lets the next fetch out; nil until one has waited
	up, down  chan struct{}
	watches   map[*watch]struct{}
	transport *http.Transport
	retired   []*http.Transport // from before the line went down
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// New checks cfg and registers metrics; it connects to nothing. The line counts
// as up until something shows the contrary.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Upstream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("upstream %s config: %w", cfg.Name, err)
	}
	proxy, err := proxyFor(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", cfg.Name, err)
	}
	dialer := net.Dialer{KeepAlive: 15 * time.Second}
	if proxy != nil {
		// It is the proxy that resolves the site's name and judges it; where the
		// proxy is, the operator has said.
		log.Info("site is reached through a proxy", "part", "upstream", "site", cfg.Name, "proxy", proxy.Host)
		return newUpstream(cfg, log, reg, proxy, dialer.DialContext)
	}
	return newUpstream(cfg, log, reg, nil, newGuard(cfg, dialer).dial)
}

func newUpstream(cfg Config, log *slog.Logger, reg prometheus.Registerer, proxy *url.URL, dial dialFunc) (*Upstream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("upstream %s config: %w", cfg.Name, err)
	}
	tlsConfig, err := clientTLS(cfg.RootCAFile)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", cfg.Name, err)
	}
	now := time.Now()
	u := &Upstream{
		cfg:     cfg,
		base:    baseOf(cfg.URL),
		log:     log.With("part", "upstream", "site", cfg.Name),
		meter:   meter{epoch: now},
		tls:     tlsConfig,
		dial:    dial,
		proxy:   proxy,
		kick:    make(chan struct{}, 1),
		line:    newLine(now, cfg.ProbeEvery, cfg.ProbeEveryMax),
		gate:    gate{most: cfg.MaxFetches, pace: newPace(cfg.FetchesPerMinute), wait: int64(cfg.MaxWait)},
		up:      make(chan struct{}),
		down:    make(chan struct{}),
		watches: make(map[*watch]struct{}),
	}
	close(u.up)
	u.transport = u.newTransport(u.dialObserved)
	u.tunnel = u.newTunnel()
	if u.metrics, err = newMetrics(u, reg); err != nil {
		return nil, fmt.Errorf("upstream %s metrics: %w", cfg.Name, err)
	}
	return u, nil
}

// Run probes the line whenever it is in doubt or down, until ctx ends; then it
// returns nil. Requests work without it, but then nothing looks for the end of
// an outage, and silence is bounded by HeaderTimeout and BodyStall only.
func (u *Upstream) Run(ctx context.Context) error {
	if !u.running.CompareAndSwap(false, true) {
		return errors.New("upstream " + u.cfg.Name + " runs already")
	}
	defer u.running.Store(false)
	defer u.closeIdle()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		if at := u.probeAt(); !at.IsZero() {
			timer.Reset(time.Until(at))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-u.kick:
		case <-due:
			u.observe(event{kind: evProbeStarted})
			u.observe(u.probe(ctx))
		}
	}
}

// State says what is known about the line now.
func (u *Upstream) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.line.state
	if u.gate.quiet > u.meter.now() {
		st.BusyUntil = u.meter.epoch.Add(time.Duration(u.gate.quiet))
	}
	return st
}

// Doubt has the site asked soon whether the line is still there, if that is what
// is taken for granted: for whoever has seen another way out of the school go. It
// may be called as often as there is reason to.
func (u *Upstream) Doubt() { u.observe(event{kind: evDoubt}) }

// Down returns a channel that is closed when the line goes down, or is closed
// already if it is down. It stays closed; ask again after the line is up.
func (u *Upstream) Down() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.down
}

// Up returns a channel that is closed when the line comes up, or is closed
// already if it is up. It stays closed; ask again after the line is down.
func (u *Upstream) Up() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.up
}

// ReceivedBytes counts what was read from the origin's connections: heads, TLS
// and probes included, as the line carries them all.
func (u *Upstream) ReceivedBytes() int64 { return u.meter.received.Load() }

// SentBytes counts what was written to the origin's connections.
func (u *Upstream) SentBytes() int64 { return u.meter.sent.Load() }

func (u *Upstream) probeAt() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.line.probeAt
}

// observe takes one event through the state machine and does what follows.
func (u *Upstream) observe(ev event) {
	ev.lastByte = u.meter.last()
	ev.jitter = rand.Float64()

	u.mu.Lock()
	now := time.Now()
	before := u.line.state
	eff := u.line.step(now, ev)
	state := u.line.state
	var broken []*watch
	var stale []*http.Transport
	switch {
	case eff.wentDown:
		close(u.down)
		u.up = make(chan struct{})
		broken = u.waiting(now, true)
		u.gate.dismiss(&LineError{Cause: state.Cause, Err: ev.err})
		if state.Cause != CauseServerError {
			// Pooled connections may have died with the line without a word.
			// None of them is used again; what runs on them runs on.
			stale = append(stale, u.transport)
			u.retired = append(u.retired, u.transport)
			u.transport = u.newTransport(u.dialObserved)
		}
	case eff.wentUp:
		close(u.up)
		u.down = make(chan struct{})
		stale, u.retired = u.retired, nil
	case eff.stillDown:
		broken = u.waiting(now, false)
	}
	u.mu.Unlock()

	for _, w := range broken {
		w.cancel(&LineError{Cause: state.Cause, Err: ev.err})
	}
	for _, t := range stale {
		t.CloseIdleConnections()
	}
	if eff.newProbeAt {
		select {
		case u.kick <- struct{}{}:
		default: // Run is told already
		}
	}
	switch {
	case eff.wentDown:
		u.metrics.outages.Inc()
		u.log.Warn("line down", "cause", state.Cause, "waiting", len(broken))
	case eff.wentUp:
		u.log.Info("line up", "cause", before.Cause, "dur", now.Sub(before.Since))
	}
}

func (u *Upstream) currentTransport() *http.Transport {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.transport
}

func (u *Upstream) closeIdle() {
	u.mu.Lock()
	all := append([]*http.Transport{u.transport}, u.retired...)
	u.mu.Unlock()
	for _, t := range all {
		t.CloseIdleConnections()
	}
}
