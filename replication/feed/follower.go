package feed

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/replication/identity"
	"preau/replication/kv"
)

// FollowerConfig says how a box follows. Start from DefaultFollowerConfig.
type FollowerConfig struct {
	Box     identity.Identity `toml:"-"`
	Version string            `toml:"-"` // of the program
	// Open is how long a server has to answer.
	Open time.Duration `toml:"open"`
	// Silence is how long nothing may come before a connection is given up. It
	// is more than two heartbeats.
	Silence time.Duration `toml:"silence"`
	// Ack is how long acknowledgements are held back for more.
	Ack time.Duration `toml:"ack"`
	// Spread is over how long boxes that lost all servers come back.
	Spread time.Duration `toml:"spread"`
	// Home is after how long the box leaves a server that is not its first
	// choice, so that servers that were away get their share again. 0: never.
	Home time.Duration `toml:"home"`
}

// DefaultFollowerConfig fits DefaultConfig.
func DefaultFollowerConfig() FollowerConfig {
	return FollowerConfig{
		Open: 20 * time.Second, Silence: 2 * time.Minute, Ack: time.Second, Spread: time.Minute, Home: 30 * time.Minute,
	}
}

// Validate says everything that is wrong with c.
func (c FollowerConfig) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if err := c.Box.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("box: %w", err))
	}
	bad(c.Box.Role != identity.Box, "box: %s is no box", c.Box)
	bad(len(c.Version) > maxText, "version: %d bytes, at most %d", len(c.Version), maxText)
	bad(c.Open <= 0, "open: %s is not above 0", c.Open)
	bad(c.Silence < time.Second, "silence: %s is less than 1s", c.Silence)
	bad(c.Ack <= 0, "ack: %s is not above 0", c.Ack)
	bad(c.Spread < time.Second, "spread: %s is less than 1s", c.Spread)
	bad(c.Home < 0, "home: %s is below 0", c.Home)
	return errors.Join(errs...)
}

// Region is what a Follower needs to know of its region. Its methods may be
// called concurrently and answer at once.
type Region interface {
	// Servers are those that may be followed now.
	Servers() []Target
	// Client sends requests to t and makes sure that it is t that answers.
	Client(t Target) http.RoundTripper
	// Trust is what certificates of the region's servers are checked against, and
	// the time that is taken for now.
	Trust() (roots *x509.CertPool, now time.Time)
	// Held is what acknowledgements say of what the box keeps.
	Held() Held
}

// Follower keeps a Copy up to date.
type Follower struct {
	cfg    FollowerConfig
	copy   *Copy
	region Region
	log    *slog.Logger
	met    *boxMetrics

	mu     sync.Mutex
	server identity.Name
	since  time.Time
	hurry  hurry
}

// NewFollower checks cfg and registers metrics; it starts nothing.
func NewFollower(cfg FollowerConfig, to *Copy, region Region, log *slog.Logger, reg prometheus.Registerer) (*Follower, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("feed follower config: %w", err)
	}
	met, err := newBoxMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Follower{cfg: cfg, copy: to, region: region, log: log.With("part", "feed"), met: met, hurry: newHurry()}, nil
}

// Connected is the server that is followed, and since when; no name and the
// time it ended (zero: never was any) if there is none.
func (f *Follower) Connected() (server identity.Name, since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.server, f.since
}

func (f *Follower) connected(server identity.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server == "" && server == "" {
		return
	}
	f.server, f.since = server, time.Now()
	f.hurry.over()
	if server == "" {
		f.met.connected.Set(0)
	} else {
		f.met.connected.Set(1)
	}
}

// Run follows, one server at a time, until ctx ends, and returns nil. Nothing
// that a server does or leaves undone ends it.
func (f *Follower) Run(ctx context.Context) error {
	c := choice{box: f.cfg.Box.Name, spread: f.cfg.Spread}
	for ctx.Err() == nil {
		targets := f.region.Servers()
		t, ok := c.next(targets)
		if !ok {
			f.rest(ctx, &c, f.cfg.Spread/4+rand.N(f.cfg.Spread/4+1))
			continue
		}
		lived, err := f.session(ctx, t, c.home(t, targets))
		if ctx.Err() != nil {
			return nil
		}
		how, label := f.judge(err)
		f.met.streams.WithLabelValues(label).Inc()
		wait := c.ended(t, targets, how, lived, rand.Float64())
		switch how {
		case refused:
			f.log.WarnContext(ctx, "feed refused", "server", t.Name, "err", err, "wait", wait)
		case full:
			f.log.ErrorContext(ctx, "catalogue cannot be kept", "server", t.Name, "err", err, "wait", wait)
		default:
			f.log.InfoContext(ctx, "feed ended", "server", t.Name, "err", err, "dur", lived, "wait", wait)
		}
		f.rest(ctx, &c, wait)
	}
	return nil
}

var (
	errSilence = errors.New("nothing came for too long")
	errHome    = errors.New("time to go back to the first choice")
)

// judge sorts what ended a session.
func (f *Follower) judge(err error) (how outcome, label string) {
	var bye Goodbye
	switch {
	case errors.As(err, &bye):
		switch bye.Reason {
		case ReasonAgain:
			return again, "goodbye"
		case ReasonMoved:
			return twice, "goodbye"
		case ReasonRevoked:
			return banished, "goodbye"
		}
		return parted, "goodbye"
	case errors.Is(err, errHurried):
		return hurried, string(hurried)
	case errors.Is(err, errHome):
		return tired, string(tired)
	case errors.Is(err, kv.ErrFull), errors.Is(err, kv.ErrDamaged):
		return full, string(full)
	case errors.Is(err, ErrRefused), errors.Is(err, ErrOrder), errors.Is(err, ErrBehind):
		return refused, string(refused)
	}
	return cut, string(cut)
}

// session follows t until something ends it. lived is since when it answered.
func (f *Follower) session(ctx context.Context, t Target, home bool) (lived time.Duration, err error) {
	if err := f.copy.settle(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(f.cfg.Open, func() { cancel(errSilence) })
	defer silence.Stop()
	if !home && f.cfg.Home > 0 {
		leave := time.AfterFunc(f.cfg.Home/2+rand.N(f.cfg.Home), func() { cancel(errHome) })
		defer leave.Stop()
	}
	defer f.trying(cancel)()
	rt := f.region.Client(t)
	cursor, until := f.copy.Cursor()
	s, err := Open(ctx, rt, t.URL, Request{Cursor: cursor, Until: until, Version: f.cfg.Version})
	if err != nil {
		return 0, because(ctx, err)
	}
	defer s.Close()
	began := time.Now()
	w, err := f.greet(s.Hello(), t)
	if err != nil {
		return 0, err
	}
	f.connected(t.Name)
	defer f.connected("")

	a := acker{f: f, rt: rt, base: t.URL, news: make(chan struct{}, 1)}
	var acks sync.WaitGroup
	acks.Go(func() { a.run(ctx) })
	defer acks.Wait()
	defer cancel(nil)

	for {
		silence.Reset(f.cfg.Silence)
		b, err := s.Next()
		if err == nil {
			err = f.take(b, w)
		}
		if err != nil {
			return time.Since(began), because(ctx, err)
		}
		if b.Count > 0 && !b.More {
			a.tell()
		}
	}
}

// because prefers the reason for which we ended ctx ourselves.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// watch is what one session has to check its server by.
type watch struct {
	verifier *verifier // of the snapshot, nil for changes
	hello    Hello
	begun    bool
}

// greet checks a hello. What the copy holds is not touched by a snapshot before
// its first part has turned out to be true.
func (f *Follower) greet(h Hello, t Target) (*watch, error) {
	if h.Region != f.cfg.Box.Region || h.Server != t.Name {
		return nil, fmt.Errorf("%w: %s of region %s answers for %s", ErrRefused, h.Server, h.Region, t.Name)
	}
	w := &watch{hello: h}
	if h.Mode == ModeSnapshot {
		roots, now := f.region.Trust()
		var err error
		if w.verifier, err = newVerifier(&h, f.cfg.Box.School, roots, now); err != nil {
			return nil, err
		}
	}
	if h.Again {
		return w, nil
	}
	w.begun = true
	return w, f.copy.Begin(h)
}

// take checks a batch and makes it part of the copy.
func (f *Follower) take(b *Batch, w *watch) error {
	_, until := f.copy.Cursor()
	empty := b.Count == 0 && b.After == b.Upto
	switch {
	case empty && !w.begun:
		return nil // while the box waits for its turn
	case !empty && (until > 0 || !w.begun):
		if w.verifier == nil {
			return fmt.Errorf("%w: a part of a snapshot that nobody signs", ErrRefused)
		}
		if err := w.verifier.check(&b.header, b.payload); err != nil {
			return err
		}
	case b.header.View != "" && b.header.View != f.cfg.Box.School:
		return fmt.Errorf("%w: a batch for the school %s", ErrRefused, b.header.View)
	}
	if !w.begun {
		if b.After != 0 {
			return fmt.Errorf("%w: a new snapshot begins after %d", ErrOrder, b.After)
		}
		if err := f.copy.Begin(w.hello); err != nil {
			return err
		}
		w.begun = true
		f.met.snapshots.Inc()
	}
	if err := f.copy.Apply(b); err != nil {
		return err
	}
	f.met.records.Add(float64(b.Count))
	cursor, _ := f.copy.Cursor()
	f.met.index.Set(float64(cursor.Index))
	return nil
}
