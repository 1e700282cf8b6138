package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"preau/node/auth/session"
	"preau/node/portal/look"
)

// Names of the cookies. The first two can be set by nobody but this very host,
// over TLS (RFC 6265bis §4.1.3.2): a page that was tampered with on plain HTTP
// can't sign anybody in as somebody else.
const (
	cookieName     = "__Host-preau"
	attemptName    = "__Host-preau-try"
	plainName      = "preau"
	plainAttempt   = "preau-try"
	cookieLifetime = 7 * 24 * time.Hour
)

// safety is how a request came.
type safety int

const (
	unsafe   safety = iota // over plain HTTP, from somewhere
	plain                  // over plain HTTP, which is fine: from the box itself, or for a trial
	overTLS                // over TLS
	notSaved = ""
)

func (a *Auth) safety(r *http.Request) safety {
	switch {
	case r.TLS != nil:
		return overTLS
	case a.cfg.PlainSignIn, fromHere(r.RemoteAddr):
		return plain
	}
	return unsafe
}

// fromHere reports a program on the box itself.
func fromHere(remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// names are the names of the cookies of a session and of an attempt.
func names(s safety) (session, attempt string) {
	if s == overTLS {
		return cookieName, attemptName
	}
	return plainName, plainAttempt
}

func setCookie(w http.ResponseWriter, s safety, name, value string, lasts time.Duration) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(lasts / time.Second),
		Secure: s == overTLS, HttpOnly: true,
		// Lax, so that the way back from the provider still has it.
		SameSite: http.SameSiteLaxMode,
	}
	if value == notSaved {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
	w.Header().Set("Cache-Control", "no-store")
}

// idOf is the session id that a request brings, if it may bring one.
func (a *Auth) idOf(r *http.Request) string {
	s := a.safety(r)
	if s == unsafe {
		return ""
	}
	name, _ := names(s)
	// Of two cookies of one name neither can be trusted: plain HTTP can add one.
	if all := r.CookiesNamed(name); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

// find gives the session of a request.
func (a *Auth) find(r *http.Request) (session.Session, string, bool) {
	id := a.idOf(r)
	if id == "" {
		return session.Session{}, "", false
	}
	if !looks(r) && !shows(r, id) {
		return session.Session{}, "", false
	}
	now := time.Now()
	s, ok := a.sessions.Find(id, now, a.cut(now))
	if ok && s.Badge != "" && !a.badges.Live(s.Badge, now) {
		if err := a.sessions.End(id); err != nil {
			a.log.WarnContext(r.Context(), "the session of a badge that has ended can't be removed", "err", err)
		}
		ok = false
	}
	return s, id, ok
}

// looks reports a request by which a browser opens a page, as far as it tells (W3C
// Fetch Metadata). Sites can be reached on the box's own host, below /o/, and so
// their scripts may send requests like the box's own: to those nobody is signed
// in, unless they show the token, which stands on pages that they can't read.
func looks(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return dest == "" || dest == "document"
}

// shows reports whether a request that a script makes has the session's token, in
// its header, or in its address where it can have no field of its own.
func shows(r *http.Request, id string) bool {
	got := r.Header.Get(TokenHeader)
	if got == "" {
		got = r.URL.Query().Get(TokenField)
	}
	return hmac.Equal([]byte(got), []byte(tokenOf(id)))
}

// Cookies are the names of all cookies that the package sets. Nobody else on the
// host is to get them, or to set them.
func Cookies() []string { return []string{cookieName, attemptName, plainName, plainAttempt} }

// Who says who sent a request, if somebody is signed in.
func (a *Auth) Who(r *http.Request) (Person, bool) {
	s, _, ok := a.find(r)
	if !ok {
		return Person{}, false
	}
	return a.personOf(s), true
}

func (a *Auth) personOf(s session.Session) Person {
	p := Person{Subject: a.subjectOf(s), Name: s.Name, Strong: s.Strong, Until: a.cfg.rules().Ends(s, a.cut(time.Now()))}
	for _, r := range s.Roles {
		p.Roles = append(p.Roles, Role(r))
	}
	for _, r := range s.Held {
		p.Held = append(p.Held, Role(r))
	}
	return p
}

// Shown is who is signed in as pages show it, for look.House.
func (a *Auth) Shown(r *http.Request) *look.Person {
	s, id, ok := a.find(r)
	if !ok {
		return nil
	}
	w := a.words(r)
	role, name := "", s.Name
	if s.Kind == "claim" {
		name = w.Admin // nobody's own, and so in the language of who reads it
	}
	if n := len(s.Roles); n > 0 {
		role = w.Roles.of(Role(s.Roles[n-1]))
	}
	if strings.EqualFold(role, name) {
		role = ""
	}
	return &look.Person{Name: name, Role: role, SignOut: look.NavItem{To: signOutPath, Label: w.SignIn.SignOut}, Token: tokenOf(id)}
}

// Has reports whether somebody has a role.
func (p Person) Has(r Role) bool { return slices.Contains(p.Roles, r) }

// begin signs somebody in, in place of who was in that browser.
func (a *Auth) begin(w http.ResponseWriter, r *http.Request, s session.Session, lasts time.Duration) {
	if old := a.idOf(r); old != "" {
		if err := a.sessions.End(old); err != nil {
			a.log.WarnContext(r.Context(), "the session before can't be removed", "err", err)
		}
	}
	id, err := a.sessions.Begin(time.Now(), s)
	if err != nil {
		// They are signed in all the same, until the box starts again.
		a.log.WarnContext(r.Context(), "a session can't be kept: make room on the disk", "err", err)
	}
	way := a.safety(r)
	name, _ := names(way)
	setCookie(w, way, name, id, lasts)
}

func texts(roles []Role) []string {
	list := make([]string, 0, len(roles))
	for _, r := range roles {
		list = append(list, string(r))
	}
	return list
}

// TokenField is the field of a form that has its Token, and TokenHeader the field
// of a request that a script makes.
const (
	TokenField  = "token"
	TokenHeader = "X-Preau-Token"
)

// Token is what a form must bring to be this person's own: nothing but the box
// can make it of the session's id, and the id can't be made of it.
func (a *Auth) Token(r *http.Request) string {
	_, id, ok := a.find(r)
	if !ok {
		return ""
	}
	return tokenOf(id)
}

func tokenOf(id string) string { return tokenFor(id, "a form of this box") }

func tokenFor(id, what string) string {
	h := hmac.New(sha256.New, []byte(id))
	h.Write([]byte(what))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// maxForm is how long a form may be that has its token in it.
const maxForm = 256 << 10

// brings reports whether a request brings the session's token: in the header of
// a script, in a form's field, or, with a file to upload, in the address, so that
// the file need not be read first.
func brings(w http.ResponseWriter, r *http.Request, id string) bool {
	got := r.Header.Get(TokenHeader)
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch {
	case got != "":
	case strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded"):
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		got = r.PostFormValue(TokenField)
	default:
		got = r.URL.Query().Get(TokenField)
	}
	return hmac.Equal([]byte(got), []byte(tokenOf(id)))
}

// safeMethod reports a method that changes nothing (RFC 9110 §9.2.1).
func safeMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Need lets only those through who have a role. Others are sent to the sign-in
// if they look at a page, and refused if they do more. What changes something
// must also come from a page of this box, with the session's Token.
func (a *Auth) Need(role Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, id, ok := a.find(r)
		w.Header().Add("Vary", "Cookie")
		if !ok {
			a.askToSignIn(w, r)
			return
		}
		p := a.personOf(s)
		switch {
		case !safeMethod(r.Method) && (a.cross.Check(r) != nil || !brings(w, r, id)):
			a.refuseForm(w, r)
		case slices.Contains(p.Held, role):
			a.fail(w, r, http.StatusForbidden, told.factor, a.stepUp(r))
		case !p.Has(role):
			a.fail(w, r, http.StatusForbidden, told.role, signInLink)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// origin is where a browser believes to be.
func origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + strings.ToLower(r.Host)
}

// atHome reports whether a browser is at the box's own secure address.
func atHome(r *http.Request, home string) bool {
	port := func(s string) string { return strings.TrimSuffix(s, ":443") }
	return port(origin(r)) == port(strings.ToLower(home))
}

// properHost reports a Host that an address can be made of.
func properHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return name != "" && len(host) < 256 && !strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-:[]_", c)
	})
}
