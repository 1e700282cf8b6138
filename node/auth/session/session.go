// Package session keeps who is signed in: on the box's disk, through restarts
// and power cuts, and for no longer than the rules say.
//
// A session is known by a random number that only the browser has; here lies its
// hash, so a stolen disk signs nobody in. A record that is damaged is removed:
// that person is signed out, and nothing else happens. The package knows no
// cookies, no roles and no way of signing in.
//
// # Time
//
// A box has no battery: its clock may say 1970 at a start and leap to today an
// hour later. A session's age is therefore what it has lived, and a leap that
// is plain to see (backwards, or out of years before this program was written)
// is no part of it. So a leap ends no session, and none outlives its bounds by
// more than the time that the box was off.
package session

import (
	"time"
)

// Session is somebody who is signed in with one browser.
type Session struct {
	Kind    string // how: "provider", "claim" or "badge"
	Subject string
	Name    string
	Roles   []string
	Held    []string // roles that a second factor would give
	Strong  bool
	Badge   string // its id, of a session by badge
	Begun   time.Time
	Seen    time.Time
	Until   time.Time // not beyond this in any case, if it is set
}

// Rules say how long sessions last.
type Rules struct {
	Idle      time.Duration // since the last request
	Length    time.Duration // since the beginning
	Prolonged time.Duration // since the beginning and since the last request, while the line is cut
	BadgeIdle time.Duration // since the last request, of a session by badge
}

// Ends says when a session ends if nothing more is heard of it.
func (r Rules) Ends(s Session, cut bool) time.Time {
	if s.Kind == "badge" {
		return earlier(s.Seen.Add(r.BadgeIdle), s.Until)
	}
	if cut {
		return earlier(s.Begun.Add(max(r.Length, r.Prolonged)), s.Until)
	}
	return earlier(earlier(s.Seen.Add(r.Idle), s.Begun.Add(r.Length)), s.Until)
}

func earlier(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// right is when this was written: a clock that says less is wrong.
var right = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// slack is how much a clock that is kept by the network goes back at times.
const slack = 5 * time.Minute

// Redate moves a session to where the clock is now if the clock has leapt since,
// with the age that it had.
func Redate(s Session, now time.Time) Session {
	if backwards, out := s.Seen.Sub(now) > slack, s.Seen.Before(right) && !now.Before(right); backwards || out {
		age := max(0, s.Seen.Sub(s.Begun))
		s.Seen, s.Begun = now, now.Add(-age)
	}
	return s
}
