// Package auth knows who is signed in to a box: teachers, the school's admin,
// and the region's IT. Pupils never sign in, and get no cookie.
//
// There are three ways in. The ministry's provider (OpenID Connect) says who
// somebody is and which roles they have; what a school's admin or IT may do
// takes a second factor, and without one they are signed in as a teacher and told
// why. A badge, made by an admin for a teacher, works with no line and no
// provider. The claim code, shown once on a new box's console, makes whoever
// enters it the school's admin. No password comes with a box. Who has a badge and
// an account may join them, and is one person from then on.
//
// Sessions survive restarts and power cuts, and go on for up to a week while the
// line is cut, since nobody could sign in again. What admins do is written to a
// log that is kept for twelve months. No address of a device is written down, to
// any of these.
//
// The package decides nothing about what a role may do: whoever has a page for a
// role puts Need before it. It draws no QR codes and keeps no passwords.
//
// # Metrics
//
//   - preau_auth_sign_ins_total{how,result}: sign-ins, and what became of them.
//   - preau_auth_forms_refused_total: forms that came from elsewhere.
//   - preau_auth_sessions: how many browsers are signed in.
package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/auth/actions"
	"preau/node/auth/badge"
	"preau/node/auth/claim"
	"preau/node/auth/guess"
	"preau/node/auth/provider"
	"preau/node/auth/session"
	"preau/node/keep"
)

// Line is the school's line, as far as sessions are concerned. It may be asked
// by many at once and answers at once.
type Line interface {
	// Lineless reports whether the line is cut.
	Lineless() bool
}

// Parts are what a box gives to its sign-in.
type Parts struct {
	// Dir is a folder of its own, on the disk that outlives the box's cache.
	Dir string
	// Line may be nil: it is never cut.
	Line Line
	// Home is the box's own secure address, as in "https://school-1.example.org",
	// or empty where it has none, yet. It may be nil.
	Home func() string
	// Transport leads to the provider; nil: straight, or by the proxy that the
	// environment names.
	Transport http.RoundTripper
	// Joined, unless nil, is told that what one subject wrote is another's from now
	// on. It is told again at need: see Auth.Joined.
	Joined func(from, to string)
	// Console is where a new box's claim code is shown once; nil: in the log.
	Console io.Writer
}

// Person is somebody who is signed in.
type Person struct {
	// Subject is a name for programs: "oidc:…", "badge:…" or "claim". Who has joined
	// a badge to an account is "oidc:…" by either.
	Subject string
	Name    string
	Roles   []Role // with all that they include
	Held    []Role // those that a second factor would give
	Strong  bool   // with a second factor, or with what is as good
	Until   time.Time
}

// Auth is who is signed in to one box. Its methods may be called at the same
// time.
type Auth struct {
	cfg      Config
	parts    Parts
	log      *slog.Logger
	met      metrics
	provider *provider.Client // nil: there is none
	own      *http.Transport  // nil: the transport is somebody else's

	sessions *session.Store
	claim    *claim.Claim
	badges   *badge.Register
	actions  *actions.Log

	attempts *attempts
	claims   guess.Guard
	begins   *guess.Rates // of sign-ins
	codes    *guess.Rates // of badges
	cross    *http.CrossOriginProtection
	mux      http.Handler
	lastCut  atomic.Int64 // when the line was last seen cut, in nanoseconds
}

// New checks cfg, reads what lies in parts.Dir and asks nothing of the network.
func New(cfg Config, parts Parts, log *slog.Logger, reg prometheus.Registerer) (*Auth, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("sign-in config: %w", err)
	}
	if parts.Dir == "" {
		return nil, errors.New("sign-in: it needs a folder of its own")
	}
	home := parts.Home
	parts.Home = func() string {
		if home == nil {
			return ""
		}
		return strings.TrimSuffix(home(), "/")
	}
	a := &Auth{
		cfg: cfg, parts: parts, log: log.With("part", "auth"),
		attempts: newAttempts(), cross: http.NewCrossOriginProtection(),
		begins: guess.NewRates(guess.Rate{Burst: 20, Every: 6 * time.Second}, guess.Rate{Burst: 300, Every: 100 * time.Millisecond}),
		codes:  guess.NewRates(guess.Rate{Burst: 10, Every: 30 * time.Second}, guess.Rate{Burst: 100, Every: time.Second}),
	}
	if err := errors.Join(a.open(), a.meet()); err != nil {
		return nil, err
	}
	met, err := newMetrics(reg, a.sessions.Len)
	if err != nil {
		return nil, err
	}
	a.met = met
	a.mux = a.routes()
	if cfg.PlainSignIn {
		a.log.Warn("anybody on the network can read the cookies of who signs in over plain HTTP: plain_sign_in is for trials only")
	}
	return a, nil
}

// open reads what lies on the disk.
func (a *Auth) open() (err error) {
	if err := keep.Dir(a.parts.Dir); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(a.parts.Dir, name) }
	if a.sessions, err = session.Open(in("sessions"), a.cfg.rules(), a.log); err != nil {
		return err
	}
	if a.claim, err = claim.Open(in("claim"), a.log); err != nil {
		return err
	}
	if a.badges, err = badge.Open(in("badges"), a.log); err != nil {
		return err
	}
	a.actions, err = actions.Open(in("actions"))
	return err
}

// meet makes the provider's client.
func (a *Auth) meet() error {
	if !a.cfg.Enabled() {
		return nil
	}
	secret := ""
	if a.cfg.ClientSecretFile != "" {
		raw, err := os.ReadFile(a.cfg.ClientSecretFile)
		if err != nil {
			return fmt.Errorf("read client_secret_file: %w", err)
		}
		if secret = strings.TrimSpace(string(raw)); secret == "" {
			return fmt.Errorf("client_secret_file %s is empty: put the client's secret there, or leave the key out for a public client", a.cfg.ClientSecretFile)
		}
	}
	transport := a.parts.Transport
	if transport == nil {
		a.own = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 8 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}
		transport = a.own
	}
	a.provider = provider.New(provider.Config{
		Issuer: a.cfg.Issuer, ClientID: a.cfg.ClientID, Secret: secret, Scopes: a.cfg.Scopes, ACR: a.cfg.ACR, Needs: a.cfg.needs(),
	}, transport, a.log)
	return nil
}

// Run shows a new box's claim code, and then ends what has run out, until ctx
// ends. After it what is known lies on the disk.
func (a *Auth) Run(ctx context.Context) error {
	if err := a.show(); err != nil {
		a.log.WarnContext(ctx, "that the claim code was shown can't be kept: the next start shows it again", "err", err)
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for minutes := 0; ; minutes++ {
		select {
		case <-ctx.Done():
			if a.provider != nil {
				a.provider.Close()
			}
			if a.own != nil {
				a.own.CloseIdleConnections()
			}
			if err := a.sessions.Save(); err != nil {
				return fmt.Errorf("keep the sessions: %w", err)
			}
			return nil
		case <-tick.C:
			a.tend(ctx, minutes)
		}
	}
}

// tend does what is due each minute, and some of it less often.
func (a *Auth) tend(ctx context.Context, minutes int) {
	now := time.Now()
	if ended := a.sessions.Sweep(now, a.cut(now)); ended || minutes%5 == 0 {
		if err := a.sessions.Save(); err != nil {
			a.log.WarnContext(ctx, "sessions can't be kept: a restart may sign people out", "err", err)
		}
	}
	if minutes%(24*60) == 24*60-1 { // a day after the start: a clock that is wrong at a start is right by then
		if err := errors.Join(a.actions.Tidy(now), a.badges.Tick(now)); err != nil {
			a.log.WarnContext(ctx, "what is too old can't be removed", "err", err)
		}
	}
}

// show prints the claim code once.
func (a *Auth) show() error {
	code, first, err := a.claim.Print()
	if !first {
		return err
	}
	if a.parts.Console == nil {
		a.log.Info("nobody has claimed this box: open its page /claim and enter the code", "code", code)
		return err
	}
	_, printed := fmt.Fprintf(a.parts.Console, "\n  Cette boîte n’a pas encore de responsable : ouvrez sa page /claim et entrez ce code.\n  Nobody has claimed this box: open its page /claim and enter this code.\n\n      %s\n\n", code)
	return errors.Join(err, printed)
}

// lineBack is for how long after a cut the line counts as cut: a class is not
// signed out in the middle of a sentence, nor by a line that comes and goes.
const lineBack = 15 * time.Minute

// cut reports whether the line is cut, or was until just now.
func (a *Auth) cut(now time.Time) bool {
	if a.parts.Line == nil {
		return false
	}
	if a.parts.Line.Lineless() {
		a.lastCut.Store(now.UnixNano())
		return true
	}
	last := a.lastCut.Load()
	since := now.Sub(time.Unix(0, last))
	return last != 0 && since >= 0 && since < lineBack
}

// Claim is the code with which the box can be claimed, if it can.
func (a *Auth) Claim() (code string, open bool) { return a.claim.Code() }

// Reclaim makes a new claim code, also for a box that is claimed: for an operator
// at the box itself whose admin has lost every way in.
func (a *Auth) Reclaim(ctx context.Context) (code string, err error) {
	if err := a.claim.Again(); err != nil {
		return "", err
	}
	a.claims.Forget()
	a.Log(ctx, Person{Subject: "operator"}, "make a new claim code", "")
	code, _ = a.claim.Code()
	return code, nil
}

// Log writes down what an admin, or somebody else who is signed in, did. It must
// have nothing of pupils in it. That it can't be written is told in the box's
// own log: the deed is done by then.
func (a *Auth) Log(ctx context.Context, p Person, action, what string) {
	role := ""
	if len(p.Roles) > 0 {
		role = string(p.Roles[len(p.Roles)-1])
	}
	err := a.actions.Add(actions.Action{Time: time.Now(), Subject: p.Subject, Name: p.Name, Role: role, Action: action, What: what})
	if err != nil {
		a.log.ErrorContext(ctx, "the log of actions can't be written: make room on the disk", "action", action, "err", err)
	}
}

// Actions gives the last n actions, the newest first.
func (a *Auth) Actions(n int) ([]Action, error) { return a.actions.Last(n) }

// Action is something that somebody did.
type Action = actions.Action
