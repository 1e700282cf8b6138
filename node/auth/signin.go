package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"preau/node/auth/provider"
	"preau/node/auth/session"
	"preau/node/portal/look"
)

// Paths of the pages, below which nothing is anybody else's.
const (
	signInPath  = "/sign-in"
	goPath      = "/sign-in/go"
	returnPath  = "/sign-in/return"
	heldPath    = "/sign-in/held"
	badgePath   = "/sign-in/badge"
	joinPath    = "/sign-in/join"
	signOutPath = "/sign-out"
	outPath     = "/sign-out/done"
	claimPath   = "/claim"
)

// Handler serves the pages of signing in and out, /sign-in, /sign-out, /claim
// and what is below them, as look.Spoken leaves paths.
func (a *Auth) Handler() http.Handler { return a.mux }

func (a *Auth) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"GET " + signInPath:   a.signIn,
		"GET " + goPath:       a.leave,
		"GET " + returnPath:   a.comeBack,
		"GET " + heldPath:     a.tellHeld,
		"GET " + badgePath:    a.askBadge,
		"POST " + badgePath:   a.takeBadge,
		"GET " + joinPath:     a.join,
		"GET " + signOutPath:  a.askSignOut,
		"POST " + signOutPath: a.signOut,
		"GET " + outPath:      a.signedOut,
		"GET " + claimPath:    a.askClaim,
		"POST " + claimPath:   a.takeClaim,
	} {
		mux.HandleFunc(pattern, h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Cookie")
		if a.cross.Check(r) != nil {
			a.refuseForm(w, r)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		mux.ServeHTTP(w, r)
	})
}

// seeOther sends a browser on. The path is local, with its language.
func seeOther(w http.ResponseWriter, to string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// with is a path with queries, in pairs; empty ones are left out.
func with(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// here is where a request is, as a path to come back to.
func here(r *http.Request) string { return local(look.Path(r, r.URL.RequestURI())) }

// askToSignIn answers who is not signed in, and would have to be.
func (a *Auth) askToSignIn(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		// A script, or a player, would take the sign-in for what it asked for.
		if mode := r.Header.Get("Sec-Fetch-Mode"); mode == "" || mode == "navigate" {
			seeOther(w, with(look.Path(r, signInPath), "return", here(r)))
			return
		}
	}
	a.fail(w, r, http.StatusUnauthorized, told.out, signInLink)
}

// signInPage is what the page to sign in shows.
type signInPage struct {
	Provider   bool
	Go         string // leads to the provider
	Cut        bool
	Claim      bool
	Return     string
	SecureHome string // where to sign in instead
	Unsafe     bool
	Who        string // is signed in already
	Join       string // joins the badge by which they are to their account
}

func (a *Auth) signIn(w http.ResponseWriter, r *http.Request) {
	back := local(r.URL.Query().Get("return"))
	p := signInPage{
		Provider: a.provider != nil, Return: back, Go: with(look.Path(r, goPath), "return", back),
		Cut: a.cut(time.Now()), Unsafe: a.safety(r) == unsafe,
	}
	_, p.Claim = a.claim.Code()
	if p.Unsafe {
		p.SecureHome = a.secure(r, with(look.Path(r, signInPath), "return", back))
	}
	if who := a.Shown(r); who != nil {
		p.Who = who.Name
		p.Join = a.JoinPath(r)
	}
	a.present(w, r, pages.signIn, http.StatusOK, a.words(r).SignIn, p)
}

// secure is a path at the box's secure address, or nothing if it has none, yet.
func (a *Auth) secure(r *http.Request, path string) string {
	home := a.parts.Home()
	if home == "" || atHome(r, home) {
		return ""
	}
	return home + path
}

// leave sends a browser to the provider.
func (a *Auth) leave(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, strong := local(q.Get("return")), q.Get("strong") == "1"
	again := with(look.Path(r, goPath), "return", back, "strong", q.Get("strong"))
	switch {
	case a.provider == nil:
		a.fail(w, r, http.StatusNotFound, told.noProvider, signInLink)
	case a.secure(r, again) != "":
		// The provider comes back to the box's own name only.
		seeOther(w, a.secure(r, again))
	case a.safety(r) == unsafe || !properHost(r.Host):
		a.fail(w, r, http.StatusForbidden, told.unsafe, signInLink)
	case !a.begins.Allow(r.RemoteAddr, time.Now()):
		a.limited(w, r, "provider", 10*time.Second)
	default:
		a.depart(w, r, attempt{back: back, strong: strong})
	}
}

// depart sends a browser to the provider, with what t says of why.
func (a *Auth) depart(w http.ResponseWriter, r *http.Request, t attempt) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), 10*time.Second, errors.New("the provider takes too long"))
	defer cancel()
	if a.cut(time.Now()) {
		// The line may be cut for the sites only, so the provider is asked first, and
		// not for long.
		brief, stop := context.WithTimeoutCause(ctx, 3*time.Second, errors.New("the line is cut"))
		err := a.provider.Answers(brief)
		stop()
		if err != nil {
			a.sayWhy(w, r, err)
			return
		}
	}
	to, begun, err := a.provider.Begin(ctx, origin(r)+returnPath, t.ask())
	if err != nil {
		a.sayWhy(w, r, err)
		return
	}
	way := a.safety(r)
	_, name := names(way)
	browser := ""
	if all := r.CookiesNamed(name); len(all) == 1 && len(all[0].Value) == 43 {
		browser = all[0].Value // two tabs may be at it
	} else {
		var p [32]byte
		if _, err := rand.Read(p[:]); err != nil {
			a.sayWhy(w, r, err)
			return
		}
		browser = base64.RawURLEncoding.EncodeToString(p[:])
	}
	setCookie(w, way, name, browser, attemptExpires)
	t.Attempt, t.browser, t.prefix = begun, sha256.Sum256([]byte(browser)), look.Path(r, "")
	a.attempts.add(t, time.Now())
	seeOther(w, to)
}

// comeBack takes a browser that comes from the provider.
func (a *Auth) comeBack(w http.ResponseWriter, r *http.Request) {
	if a.provider == nil {
		a.fail(w, r, http.StatusNotFound, told.noProvider, signInLink)
		return
	}
	if !a.begins.Allow(r.RemoteAddr, time.Now()) {
		a.limited(w, r, "provider", 10*time.Second)
		return
	}
	way := a.safety(r)
	_, name := names(way)
	browser := ""
	if all := r.CookiesNamed(name); way != unsafe && len(all) == 1 {
		browser = all[0].Value
	}
	// A value that is there twice is one that somebody has tampered with.
	q := r.URL.Query()
	for _, values := range q {
		if len(values) > 1 {
			q = url.Values{}
			break
		}
	}
	t, ok := a.attempts.take(q.Get("state"), browser, time.Now())
	if !ok {
		a.met.signIns.WithLabelValues("provider", "stale").Inc()
		a.fail(w, r, http.StatusBadRequest, told.stale, signInLink)
		return
	}
	setCookie(w, way, name, notSaved, 0)
	// In the language in which it began: the provider knows one way back only.
	in := r.Clone(r.Context())
	if look.Path(r, "") == "" && t.prefix != "" {
		in.URL.Path = t.prefix + r.URL.Path
		in.URL.RawPath = ""
	}
	look.Spoken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.arrive(w, r, t, q) })).ServeHTTP(w, in)
}

// arrive makes somebody of what the provider says.
func (a *Auth) arrive(w http.ResponseWriter, r *http.Request, t attempt, q url.Values) {
	id, err := a.provider.Finish(r.Context(), t.Attempt, q)
	if err != nil {
		a.sayWhy(w, r, err)
		return
	}
	given, held, strong := a.cfg.judge(id)
	if len(given) == 0 {
		a.met.signIns.WithLabelValues("provider", "no_role").Inc()
		a.fail(w, r, http.StatusForbidden, told.noRole, signInLink)
		return
	}
	if t.join != "" {
		a.joinAccount(w, r, t, "oidc:"+id.Subject, id.Name)
		return
	}
	s := session.Session{Kind: "provider", Subject: "oidc:" + id.Subject, Name: id.Name, Roles: texts(given), Held: texts(held), Strong: strong}
	if s.Name == "" {
		s.Name = a.words(r).Nameless
	}
	a.begin(w, r, s, cookieLifetime)
	p := a.personOf(s)
	if len(given) > 1 {
		a.Log(r.Context(), p, "sign in", "")
	}
	switch {
	case len(held) == 0:
		a.met.signIns.WithLabelValues("provider", "in").Inc()
		a.onward(w, r, p, t.back)
	case !t.strong && len(a.cfg.ACR) > 0:
		// Once, by itself: most people have their second factor at hand.
		a.depart(w, r, attempt{back: t.back, strong: true})
	default:
		a.met.signIns.WithLabelValues("provider", "less").Inc()
		// On a page of its own, which can be loaded again.
		seeOther(w, with(look.Path(r, heldPath), "return", t.back))
	}
}

// tellHeld tells somebody why they are a teacher only.
func (a *Auth) tellHeld(w http.ResponseWriter, r *http.Request) {
	p, ok := a.Who(r)
	back := local(r.URL.Query().Get("return"))
	if !ok || len(p.Held) == 0 {
		seeOther(w, with(look.Path(r, signInPath), "return", back))
		return
	}
	a.present(w, r, pages.held, http.StatusOK, a.words(r).Held, struct{ On, Again string }{a.home(r, p, back), with(look.Path(r, goPath), "return", back, "strong", "1")})
}

// home is where somebody goes after signing in.
func (a *Auth) home(r *http.Request, p Person, back string) string {
	switch {
	case back != "":
		return back
	case p.Has(School):
		return look.Path(r, "/school/")
	}
	return look.Path(r, "/teach/")
}

func (a *Auth) onward(w http.ResponseWriter, r *http.Request, p Person, back string) {
	seeOther(w, a.home(r, p, back))
}

// sayWhy answers for a sign-in at the provider that came to nothing.
func (a *Auth) sayWhy(w http.ResponseWriter, r *http.Request, err error) {
	status, result, n := http.StatusBadGateway, "untrue", told.untrue
	switch {
	case errors.Is(err, provider.ErrClock):
		status, result, n = http.StatusServiceUnavailable, "clock", told.clock
	case errors.Is(err, provider.ErrAway):
		status, result, n = http.StatusServiceUnavailable, "away", told.away
	case errors.Is(err, provider.ErrDenied):
		status, result, n = http.StatusForbidden, "denied", told.denied
	case errors.Is(err, provider.ErrLogin):
		status, result, n = http.StatusForbidden, "login", told.login
	}
	a.met.signIns.WithLabelValues("provider", result).Inc()
	a.log.WarnContext(r.Context(), "somebody could not sign in at the provider", "result", result, "err", err)
	a.fail(w, r, status, n, signInLink)
}
