package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"preau/node/auth/badge"
	"preau/node/auth/session"
	"preau/node/portal/look"
)

// Badge is a teacher's badge as an admin sees it.
type Badge = badge.Badge

// Errors of badges, for the pages that make them.
var (
	ErrBadgeName  = badge.ErrName
	ErrBadgeUntil = badge.ErrUntil
	ErrBadgesFull = badge.ErrFull
	ErrNoBadge    = badge.ErrUnknown
)

// Badges lists them, the newest first, with those that ended of late.
func (a *Auth) Badges() []Badge { return a.badges.List() }

// MakeBadge makes a badge for a teacher. The code is given here only; BadgePath
// is what a QR code of it says. Errors: ErrBadgeName, ErrBadgeUntil,
// ErrBadgesFull, or the disk's.
func (a *Auth) MakeBadge(ctx context.Context, by Person, name string, until time.Time) (b Badge, code string, err error) {
	if b, code, err = a.badges.Make(name, by.Name, time.Now(), until); err == nil {
		a.Log(ctx, by, "make badge", b.Name+" ("+b.ID+")")
	}
	return b, code, err
}

// RenewBadge gives a badge a new code, and signs out the browser that had it.
// Errors: ErrNoBadge, or the disk's.
func (a *Auth) RenewBadge(ctx context.Context, by Person, id string) (b Badge, code string, err error) {
	if b, code, err = a.badges.Again(id, time.Now()); err != nil {
		return b, "", err
	}
	a.Log(ctx, by, "renew badge", b.Name+" ("+b.ID+")")
	return b, code, a.endBadge(id)
}

// RevokeBadge ends a badge, and signs its browser out. Errors: ErrNoBadge, or the
// disk's.
func (a *Auth) RevokeBadge(ctx context.Context, by Person, id string) error {
	b, err := a.badges.Revoke(id, time.Now())
	if err != nil {
		return err
	}
	a.Log(ctx, by, "revoke badge", b.Name+" ("+b.ID+")")
	return a.endBadge(id)
}

func (a *Auth) endBadge(id string) error {
	_, err := a.sessions.EndAll(func(s session.Session) bool { return s.Badge == id })
	return err
}

// BadgePath is the page at which a code is exchanged, with the code. It goes into
// the query, which no log has.
func BadgePath(code string) string { return with(badgePath, "code", code) }

// askBadge shows a button: a look at a link, by a reader of QR codes or a
// messenger, uses nothing up.
func (a *Auth) askBadge(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	if len(code) > 100 {
		code = ""
	}
	if a.onlySafe(w, r, BadgePath(code)) {
		a.showBadge(w, r, http.StatusOK, code, local(r.URL.Query().Get("return")), "")
	}
}

func (a *Auth) showBadge(w http.ResponseWriter, r *http.Request, status int, code, back, wrong string) {
	p := codePage{Action: look.Path(r, badgePath), Code: code, Return: back, Wrong: wrong}
	if s, id, ok := a.find(r); ok && s.Kind == "provider" {
		p.Account, p.Token = s.Name, tokenOf(id)
	}
	a.present(w, r, pages.badge, status, a.words(r).Badge, p)
}

func (a *Auth) takeBadge(w http.ResponseWriter, r *http.Request) {
	if !a.onlySafe(w, r, badgePath) {
		return
	}
	now := time.Now()
	if !a.codes.Allow(r.RemoteAddr, now) {
		a.limited(w, r, "badge", 30*time.Second)
		return
	}
	back := local(r.PostFormValue("return"))
	account := ""
	if r.PostFormValue("mine") != "" {
		s, id, ok := a.find(r)
		if !ok || s.Kind != "provider" || !brings(w, r, id) {
			a.refuseForm(w, r)
			return
		}
		account = s.Subject
	}
	b, err := a.badges.Exchange(r.PostFormValue("code"), now)
	switch {
	case errors.Is(err, badge.ErrUnknown):
		a.met.signIns.WithLabelValues("badge", "wrong").Inc()
		a.showBadge(w, r, http.StatusForbidden, "", back, a.words(r).Badge.Wrong)
	case err != nil:
		a.log.ErrorContext(r.Context(), "a badge can't be exchanged: make room on the disk", "err", err)
		a.fail(w, r, http.StatusInternalServerError, told.disk, homeLink)
	default:
		a.met.signIns.WithLabelValues("badge", "in").Inc()
		s := session.Session{Kind: "badge", Subject: subjectOfBadge(b.ID), Name: b.Name, Roles: texts(upTo(Teacher)), Badge: b.ID, Until: b.Until}
		a.begin(w, r, s, max(time.Hour, b.Until.Sub(now)))
		a.Log(r.Context(), a.personOf(s), "use badge", b.Name+" ("+b.ID+")")
		if account != "" && !a.joined(w, r, b.ID, account) {
			return // signed in all the same: the code is used up
		}
		a.onward(w, r, a.personOf(s), back)
	}
}
