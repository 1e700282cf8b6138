package names

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// lookEvery is how often, at least, it is looked whether it is time: the clock
	// of a box may be set right at any moment.
	lookEvery = time.Hour
	// firstPause is before another try at an authority that said no, which counts
	// such tries (Let's Encrypt: five an hour), and slowest the longest.
	firstPause = 12 * time.Minute
	slowest    = 6 * time.Hour
	// linePause and lineSlowest are the same where nobody answered.
	linePause   = time.Minute
	lineSlowest = 15 * time.Minute
	// orderWithin bounds one try.
	orderWithin = 10 * time.Minute
)

// ErrNone is a handshake before there is a certificate.
var ErrNone = errors.New("there is no certificate for the public name yet")

// State is how it stands with the certificate.
type State struct {
	Until   time.Time // zero: there is none
	Problem string    // of the last try, if it failed
}

// Keeper has a certificate and keeps it valid. All methods may be called
// concurrently.
type Keeper struct {
	files  files
	names  []string
	order  func(ctx context.Context) (*tls.Certificate, error)
	solver *solver
	log    *slog.Logger
	orders *prometheus.CounterVec

	mu   sync.Mutex
	cert *tls.Certificate
	why  string
}

// New reads the certificate that dir has, if any. The first of names is the box's
// public one. A damaged file is no error: another is got.
func New(cfg ACME, dir string, names []string, region Region, log *slog.Logger, reg prometheus.Registerer) (*Keeper, error) {
	if len(names) == 0 {
		return nil, errors.New("a certificate needs a name")
	}
	k := &Keeper{files: files{dir}, names: names, solver: newSolver(region), log: log.With("part", "names")}
	a, err := newAuthority(cfg, k.files, k.solver, names, k.log)
	if err != nil {
		return nil, err
	}
	k.order = a.order
	k.orders = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "preau_names_orders_total", Help: "Certificates that were asked for, for the public name, by what came of it.",
	}, []string{"result"})
	until := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "preau_names_certificate_until_seconds", Help: "When the public name's certificate runs out, in seconds since 1970; 0: there is none.",
	}, func() float64 {
		if s := k.State(); !s.Until.IsZero() {
			return float64(s.Until.Unix())
		}
		return 0
	})
	for _, c := range []prometheus.Collector{k.orders, until} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of names: %w", err)
		}
	}
	for _, result := range []string{"ok", "failed"} {
		k.orders.WithLabelValues(result)
	}
	if k.cert, err = k.files.load(); err != nil {
		k.log.Error("the public name's certificate can't be read, and another is got", "err", err)
	}
	return k, nil
}

// Certificate is tls.Config's GetCertificate.
func (k *Keeper) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cert == nil {
		return nil, ErrNone
	}
	return k.cert, nil
}

// State says how it stands.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := State{Problem: k.why}
	if k.cert != nil {
		s.Until = k.cert.Leaf.NotAfter
	}
	return s
}

// Run keeps the certificate valid until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	failures, silences := 0, 0
	for {
		wait := min(time.Until(k.due()), lookEvery)
		if wait <= 0 {
			switch err := k.renew(ctx); {
			case ctx.Err() != nil:
				return nil
			case err == nil:
				failures, silences, wait = 0, 0, 0
			case refused(err):
				wait = pause(firstPause, slowest, failures)
				failures++
			default:
				wait = pause(linePause, lineSlowest, silences)
				silences++
			}
		}
		timer := time.NewTimer(max(wait, time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// refused reports that it was the authority that said no, and not the line.
func refused(err error) bool {
	_, said := errors.AsType[acme.Problem](err)
	return said
}

// pause is how long to wait after so many failures before this one, give or take
// a fifth: boxes that lost their line together don't come back together.
func pause(first, longest time.Duration, failures int) time.Duration {
	wait := min(first<<min(failures, 10), longest)
	return wait - wait/5 + rand.N(2*wait/5)
}

// due is when the certificate is to be renewed: in the middle of its life, or at
// once if there is none, or if it is for other names.
func (k *Keeper) due() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cert == nil || !slices.Equal(slices.Sorted(slices.Values(k.cert.Leaf.DNSNames)), slices.Sorted(slices.Values(k.names))) {
		return time.Time{}
	}
	return middle(k.cert.Leaf)
}

func middle(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

func (k *Keeper) renew(ctx context.Context) error {
	during, cancel := context.WithTimeoutCause(ctx, orderWithin, fmt.Errorf("not done within %v", orderWithin))
	defer cancel()
	cert, err := k.order(during)
	if err == nil {
		// It is of use even where the disk has no room for it.
		if kept := k.files.save(cert); kept != nil {
			k.log.ErrorContext(ctx, "the public name's certificate is in use and can't be kept", "err", kept)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.why = err.Error()
		k.orders.WithLabelValues("failed").Inc()
		k.log.WarnContext(ctx, "no certificate for the public name was got, and it is tried again", "name", k.names[0], "err", err)
		return err
	}
	k.cert, k.why = cert, ""
	k.orders.WithLabelValues("ok").Inc()
	k.log.InfoContext(ctx, "a certificate for the public name was got", "name", k.names[0], "until", cert.Leaf.NotAfter)
	return nil
}
