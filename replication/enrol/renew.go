package enrol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/wire"
)

// RenewConfig says how often a Renewer asks. Start from DefaultRenewConfig.
type RenewConfig struct {
	// Every is the time between two looks at how the certificate stands.
	Every time.Duration `toml:"every"`
	// Retry is the pause after a failed one; it doubles up to MaxRetry.
	Retry    time.Duration `toml:"retry"`
	MaxRetry time.Duration `toml:"max_retry"`
}

// DefaultRenewConfig looks twice a day.
func DefaultRenewConfig() RenewConfig {
	return RenewConfig{Every: 12 * time.Hour, Retry: 30 * time.Second, MaxRetry: time.Hour}
}

// Validate reports every mistake at once.
func (c RenewConfig) Validate() error {
	var errs []error
	if c.Every <= 0 {
		errs = append(errs, fmt.Errorf("every: %v is not a time that can pass", c.Every))
	}
	if c.Retry <= 0 || c.MaxRetry < c.Retry {
		errs = append(errs, fmt.Errorf("retry, max_retry: %v, %v: want 0 < retry <= max_retry", c.Retry, c.MaxRetry))
	}
	return errors.Join(errs...)
}

// Renewer keeps a node's certificate valid. It never asks its own clock what day
// it is: each time it looks, a server tells its date, and the certificate is
// renewed once half its life is over by that.
type Renewer struct {
	store  *Store
	dialer *wire.Dialer
	cfg    RenewConfig
	log    *slog.Logger

	renewals *prometheus.CounterVec
	expiry   prometheus.Gauge
}

// NewRenewer makes a Renewer for the certificate in store. The dialer is one with
// the store's Credentials.
func NewRenewer(store *Store, dialer *wire.Dialer, cfg RenewConfig, log *slog.Logger, reg prometheus.Registerer) (*Renewer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("renewal config: %w", err)
	}
	r := &Renewer{
		store: store, dialer: dialer, cfg: cfg, log: log.With("part", "enrol"),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_enrol_renewals_total",
			Help: "Attempts to look after this node's certificate, by result.",
		}, []string{"result"}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "preau_enrol_certificate_expiry_timestamp_seconds",
			Help: "When this node's certificate runs out.",
		}),
	}
	if err := errors.Join(reg.Register(r.renewals), reg.Register(r.expiry)); err != nil {
		return nil, fmt.Errorf("renewal metrics: %w", err)
	}
	for _, result := range []string{"ok", "fresh", "failed"} {
		r.renewals.WithLabelValues(result)
	}
	r.expiry.Set(float64(store.Certificate().NotAfter.Unix()))
	return r, nil
}

// Run renews until ctx ends and then returns nil. It never gives up: a box whose
// region is away, or that lapsed and waits for somebody to allow it in again, goes
// on asking, ever more slowly, for the price of one connection an hour.
func (r *Renewer) Run(ctx context.Context) error {
	// 3,000 boxes that come up after the same power cut do not ask at once.
	wait := rand.N(r.cfg.Retry)
	retry := r.cfg.Retry
	var last string
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		renewed, err := r.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.renewals.WithLabelValues("failed").Inc()
			if kind := err.Error(); kind != last { // once, not every hour
				r.warn(ctx, err)
				last = kind
			}
			wait = jitter(retry)
			retry = min(2*retry, r.cfg.MaxRetry)
			continue
		case renewed:
			r.renewals.WithLabelValues("ok").Inc()
			cert := r.store.Certificate()
			r.expiry.Set(float64(cert.NotAfter.Unix()))
			r.log.InfoContext(ctx, "certificate renewed", "until", cert.NotAfter)
		default:
			r.renewals.WithLabelValues("fresh").Inc()
		}
		last, retry = "", r.cfg.Retry
		wait = jitter(r.cfg.Every)
	}
}

// warn says what a person can do, if it is for a person.
func (r *Renewer) warn(ctx context.Context, err error) {
	switch {
	case errors.Is(err, ErrRevoked), errors.Is(err, wire.ErrRefused):
		r.log.ErrorContext(ctx, "the region does not take this node's certificate: it was revoked, and needs a new token", "err", err)
	case errors.Is(err, ErrLapsed):
		r.log.ErrorContext(ctx, "the certificate has lapsed: the region must allow it, or the node needs a new token", "err", err)
	default:
		r.log.WarnContext(ctx, "certificate could not be looked after, it is tried again", "err", err)
	}
}

// look renews if it is time, by any of the servers.
func (r *Renewer) look(ctx context.Context) (renewed bool, err error) {
	servers := r.store.Servers()
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	return Renew(ctx, r.store, r.dialer, servers)
}

// Renew asks the servers, until one answers, how the certificate in store stands,
// and renews it if half of its life is over by the server's date. The dialer is
// one with the store's Credentials. The file is replaced whole: whoever reads it
// meanwhile, in another process too, has the old certificate or the new one, and
// both are good.
func Renew(ctx context.Context, store *Store, dialer *wire.Dialer, servers []wire.Target) (renewed bool, err error) {
	err = eachServer(ctx, dialer, servers, func(server http.RoundTripper) error {
		var now standing
		if err := exchange(ctx, server, http.MethodGet, PathRenew, nil, &now); err != nil {
			return err
		}
		if !now.Lapsed && now.Now.Before(RenewAt(store.Certificate())) {
			return nil
		}
		request, err := newRequest(store.key)
		if err != nil {
			return err
		}
		var grant Grant
		if err := exchange(ctx, server, http.MethodPost, PathRenew, renewal{Request: request}, &grant); err != nil {
			return err
		}
		renewed = true
		return store.renewed(grant)
	})
	if err != nil {
		return false, fmt.Errorf("renew the certificate of %s: %w", store.id, err)
	}
	return renewed, nil
}

// jitter is d, a tenth more or less.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }
