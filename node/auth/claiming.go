package auth

import (
	"errors"
	"net/http"
	"time"

	"preau/node/auth/claim"
	"preau/node/auth/session"
	"preau/node/portal/look"
)

// codePage is a page that asks for a code.
type codePage struct {
	Action, Code, Return, Wrong string
	Account, Token              string // who is signed in by their account, and the token that goes with it
}

func (a *Auth) askClaim(w http.ResponseWriter, r *http.Request) {
	if _, open := a.claim.Code(); !open {
		a.fail(w, r, http.StatusGone, told.claimed, signInLink)
		return
	}
	if a.onlySafe(w, r, claimPath) {
		a.showClaim(w, r, http.StatusOK, "")
	}
}

func (a *Auth) showClaim(w http.ResponseWriter, r *http.Request, status int, wrong string) {
	a.present(w, r, pages.claim, status, a.words(r).Claim, codePage{Action: look.Path(r, claimPath), Wrong: wrong})
}

// onlySafe lets those on who may have a cookie.
func (a *Auth) onlySafe(w http.ResponseWriter, r *http.Request, path string) bool {
	if a.safety(r) != unsafe {
		return true
	}
	n := told.unsafe
	if to := a.secure(r, look.Path(r, path)); to != "" {
		a.present(w, r, pages.unsafe, http.StatusForbidden, a.words(r).Unsafe, struct{ To string }{to})
		return false
	}
	a.fail(w, r, http.StatusForbidden, n, homeLink)
	return false
}

// takeClaim makes whoever has the code the school's admin. The box as a whole has
// so many tries: a thousand tablets are not a thousand times as many.
func (a *Auth) takeClaim(w http.ResponseWriter, r *http.Request) {
	if !a.onlySafe(w, r, claimPath) {
		return
	}
	now := time.Now()
	done, wait := a.claims.Try(now)
	if done == nil {
		a.limited(w, r, "claim", wait)
		return
	}
	err := a.claim.Use(r.PostFormValue("code"), now)
	done(!errors.Is(err, claim.ErrWrong))
	switch {
	case errors.Is(err, claim.ErrClaimed):
		a.fail(w, r, http.StatusGone, told.claimed, signInLink)
	case errors.Is(err, claim.ErrWrong):
		a.met.signIns.WithLabelValues("claim", "wrong").Inc()
		a.showClaim(w, r, http.StatusForbidden, a.words(r).Claim.Wrong)
	case err != nil:
		a.log.ErrorContext(r.Context(), "the box can't be claimed: make room on the disk", "err", err)
		a.fail(w, r, http.StatusInternalServerError, told.disk, homeLink)
	default:
		a.met.signIns.WithLabelValues("claim", "in").Inc()
		s := session.Session{Kind: "claim", Subject: "claim", Name: a.words(r).Admin, Roles: texts(upTo(School)), Strong: true}
		a.begin(w, r, s, cookieLifetime)
		a.Log(r.Context(), a.personOf(s), "claim the box", "")
		a.onward(w, r, a.personOf(s), "")
	}
}
