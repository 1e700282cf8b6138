package auth

import (
	"context"
	"crypto/hmac"
	"errors"
	"net/http"
	"time"

	"preau/node/auth/badge"
	"preau/node/auth/session"
	"preau/node/portal/look"
)

// Who has a badge and an account is one person once they have shown both in one
// browser: the account to who came by the badge, or the code to who came by the
// account. It is never taken for granted. A computer of a class may have one
// teacher's session and another's badge, and what is joined stays joined.

// subjectOf is who somebody is, by whichever way they came.
func (a *Auth) subjectOf(s session.Session) string {
	if s.Kind == "badge" {
		if person := a.badges.Person(s.Badge); person != "" {
			return person
		}
	}
	return s.Subject
}

// Joined are the subjects that are another's now, for whoever keeps what somebody
// wrote: what was done when they were joined may have been cut short.
func (a *Auth) Joined() map[string]string {
	out := map[string]string{}
	for _, j := range a.badges.Joined() {
		out[subjectOfBadge(j.Badge)] = j.Person
	}
	return out
}

func subjectOfBadge(id string) string { return "badge:" + id }

const toJoin = "join a badge"

// JoinPath joins the badge by which somebody is signed in to their account; empty
// if there is nothing to join.
func (a *Auth) JoinPath(r *http.Request) string {
	s, id, ok := a.find(r)
	if !ok || a.provider == nil || s.Kind != "badge" || a.badges.Person(s.Badge) != "" {
		return ""
	}
	return with(look.Path(r, joinPath), TokenField, tokenFor(id, toJoin))
}

// join sends who came by a badge to the provider, and no link of another site. It
// is no form, for the policy of our pages lets none lead elsewhere.
func (a *Auth) join(w http.ResponseWriter, r *http.Request) {
	s, id, ok := a.find(r)
	switch {
	case !ok || s.Kind != "badge" || !hmac.Equal([]byte(r.URL.Query().Get(TokenField)), []byte(tokenFor(id, toJoin))):
		a.refuseForm(w, r)
	case a.provider == nil:
		a.fail(w, r, http.StatusNotFound, told.noProvider, signInLink)
	case a.secure(r, "") != "":
		// The provider comes back to the box's own name only, where this browser has no
		// session.
		a.fail(w, r, http.StatusForbidden, told.elsewhere, homeLink)
	case !properHost(r.Host):
		a.fail(w, r, http.StatusForbidden, told.unsafe, signInLink)
	case !a.begins.Allow(r.RemoteAddr, time.Now()):
		a.limited(w, r, "provider", 10*time.Second)
	default:
		a.depart(w, r, attempt{join: s.Badge})
	}
}

// joinAccount joins the badge by which a browser is signed in to the account with
// which it came back. The browser's session stays.
func (a *Auth) joinAccount(w http.ResponseWriter, r *http.Request, t attempt, person, name string) {
	s, _, ok := a.find(r)
	if !ok || s.Badge != t.join {
		a.fail(w, r, http.StatusBadRequest, told.stale, signInLink)
		return
	}
	if !a.joined(w, r, t.join, person) {
		return
	}
	if name == "" {
		name = a.words(r).Nameless
	}
	a.present(w, r, pages.joined, http.StatusOK, a.words(r).Joined, struct{ Badge, Account, On string }{s.Name, name, look.Path(r, "/teach/")})
}

// joined joins a badge to an account and has what was written by it follow. If it
// can't, it has answered.
func (a *Auth) joined(w http.ResponseWriter, r *http.Request, id, person string) bool {
	b, err := a.badges.Join(id, person, time.Now())
	switch {
	case errors.Is(err, badge.ErrOwned):
		a.fail(w, r, http.StatusConflict, told.owned, homeLink)
	case errors.Is(err, badge.ErrUnknown):
		a.fail(w, r, http.StatusBadRequest, told.stale, signInLink)
	case err != nil:
		a.log.ErrorContext(r.Context(), "a badge can't be joined to its account: make room on the disk", "err", err)
		a.fail(w, r, http.StatusInternalServerError, told.disk, homeLink)
	default:
		a.noteJoined(r.Context(), b, person)
		return true
	}
	return false
}

func (a *Auth) noteJoined(ctx context.Context, b badge.Badge, person string) {
	a.Log(ctx, Person{Subject: person, Name: b.Name, Roles: []Role{Teacher}}, "join badge", b.Name+" ("+b.ID+")")
	if a.parts.Joined != nil {
		a.parts.Joined(subjectOfBadge(b.ID), person)
	}
}
