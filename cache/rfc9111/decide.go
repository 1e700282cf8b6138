package rfc9111

import (
	"net/http"
	"time"
)

// Use says what may be done with a stored response that the request selects.
type Use uint8

const (
	// Validate is to ask the origin first, with ConditionalHeader.
	Validate Use = iota
	// Fresh is to serve it.
	Fresh
	// StaleAllowed means that it is stale and the client has said that it will do
	// (max-stale).
	StaleAllowed
	// StaleWhileRevalidate is to serve it and validate it behind the client's back
	// (RFC 5861 section 3).
	StaleWhileRevalidate
)

// String returns the use as it is written in logs.
func (u Use) String() string {
	switch u {
	case Fresh:
		return "fresh"
	case StaleAllowed:
		return "stale-allowed"
	case StaleWhileRevalidate:
		return "stale-while-revalidate"
	}
	return "validate"
}

// Why a stored response is used or validated. Those for Validate say which of
// them applies; Fwd maps them to the words of RFC 9211.
const (
	ReasonFresh                Reason = "fresh"
	ReasonMaxStale             Reason = "max-stale"
	ReasonStaleWhileRevalidate Reason = "stale-while-revalidate"
	ReasonStale                Reason = "stale"
	ReasonNoCache              Reason = "no-cache"
	ReasonRequestNoCache       Reason = "request-no-cache"
	ReasonRequestMaxAge        Reason = "request-max-age"
	ReasonRequestMinFresh      Reason = "request-min-fresh"
)

// Decision is what may be done with a stored response now, and what may be
// done with it if asking the origin fails.
type Decision struct {
	Use    Use
	Reason Reason
	// Age and TTL are those of the moment: TTL is what is left of the
	// freshness lifetime, negative once it is over.
	Age, TTL time.Duration
	Source   Source
	// MustValidate: the response may not be used without the origin's word,
	// whatever happens: it says no-cache, or it is stale and says
	// must-revalidate, proxy-revalidate or s-maxage, or the client insists
	// with no-cache. If the origin cannot be asked the answer is a 504.
	MustValidate bool
	// DownUntil and ErrorUntil are until when it may be served if the origin
	// cannot be reached, or answers 500, 502, 503 or 504. Zero is never.
	DownUntil, ErrorUntil time.Time
	// OnlyIfCached: the client wants nothing from beyond the cache; if Use is
	// Validate the answer is a 504 (RFC 9111 section 5.2.1.7).
	OnlyIfCached bool
}

// Decide says what may be done with stored for a request whose method, URI and
// Vary have selected it (RFC 9111 section 4).
func Decide(reqHeader http.Header, stored Response, now time.Time, rules Rules) Decision {
	want := ParseRequestDirectives(reqHeader)
	says := ParseResponseDirectives(stored.Header, rules)
	life, source := stored.lifetime(says, rules)
	d := Decision{Age: stored.CurrentAge(now), Source: source, OnlyIfCached: want.OnlyIfCached}
	d.TTL = life - d.Age
	fresh := d.TTL > 0 // section 4.2: fresh while lifetime > age

	// Section 4.2.4: these forbid a stale response outright; s-maxage implies
	// proxy-revalidate (section 5.2.2.10).
	forbidsStale := says.MustRevalidate || says.ProxyRevalidate || says.SMaxage.Set
	d.MustValidate = says.NoCache || want.NoCache || forbidsStale && !fresh
	if !d.MustValidate {
		d.grace(want, says, stored, now, rules, forbidsStale)
	}

	switch {
	case says.NoCache: // section 5.2.2.4
		d.Reason = ReasonNoCache
	case want.NoCache: // section 5.2.1.4
		d.Reason = ReasonRequestNoCache
	case fresh:
		d.Use, d.Reason = useFresh(want, says, d)
	case forbidsStale:
		d.Reason = ReasonStale
	default:
		d.Use, d.Reason = useStale(want, says, d)
	}
	return d
}

// useFresh asks whether what is fresh is fresh enough for the client.
func useFresh(want RequestDirectives, says ResponseDirectives, d Decision) (Use, Reason) {
	// Section 5.2.1.3.
	if least, ok := want.MinFresh.OK(); ok && d.TTL < least {
		return Validate, ReasonRequestMinFresh
	}
	// Section 5.2.1.1; max-age=0 is a reload even in the first instant. What
	// is immutable has no newer state while it is fresh (RFC 8246 section 2):
	// a reload need not ask, only no-cache does.
	if most, ok := want.MaxAge.OK(); ok && !says.Immutable && (d.Age > most || most == 0) && !want.toleratesBy(d.Age-most) {
		return Validate, ReasonRequestMaxAge
	}
	return Fresh, ReasonFresh
}

// useStale asks whether client or origin allow what is stale.
func useStale(want RequestDirectives, says ResponseDirectives, d Decision) (Use, Reason) {
	if _, ok := want.MinFresh.OK(); ok {
		return Validate, ReasonStale
	}
	// Section 5.2.1.2. If the client's max-age ran out earlier, it is that by
	// which the response is too old for it.
	over := -d.TTL
	most, limited := want.MaxAge.OK()
	if limited {
		over = max(over, d.Age-most)
	}
	if want.toleratesBy(over) {
		return StaleAllowed, ReasonMaxStale
	}
	// Section 5.2.1.1: with max-age and no max-stale the client wants nothing
	// stale.
	if limited {
		return Validate, ReasonStale
	}
	if window, ok := says.StaleWhileRevalidate.OK(); ok && -d.TTL <= window {
		return StaleWhileRevalidate, ReasonStaleWhileRevalidate
	}
	return Validate, ReasonStale
}

// toleratesBy reports whether the client takes a response too old by over.
func (want RequestDirectives) toleratesBy(over time.Duration) bool {
	most, ok := want.MaxStale.OK()
	return want.MaxStaleAny || ok && over <= most
}

// grace works out until when the response may stand in for an origin that
// fails.
func (d *Decision) grace(want RequestDirectives, says ResponseDirectives, stored Response, now time.Time, rules Rules, forbidsStale bool) {
	expiry := now.Add(min(longest, max(-longest, d.TTL)))
	if forbidsStale {
		// Fresh still, so it is only the client that wants it validated: it
		// serves as long as it is fresh and no longer.
		d.DownUntil, d.ErrorUntil = expiry, expiry
		return
	}
	// RFC 5861 section 4: from response or request, and for an origin that
	// cannot be reached as for one that errs.
	byWord, _ := says.StaleIfError.OK()
	if v, ok := want.StaleIfError.OK(); ok {
		byWord = max(byWord, v)
	}
	d.DownUntil, d.ErrorUntil = expiry.Add(byWord), expiry.Add(byWord)
	// The operator's contract is for content: an old error does not stand in
	// for a new one.
	if stored.Status < 500 {
		d.DownUntil = expiry.Add(max(byWord, rules.StaleWhenDown))
		d.ErrorUntil = expiry.Add(max(byWord, rules.StaleOnError))
	}
}

// Failure is how asking the origin went wrong.
type Failure uint8

const (
	// Disconnected means that no answer could be had.
	Disconnected Failure = iota
	// ServerError means that the answer was 500, 502, 503 or 504 (RFC 5861 section 4).
	ServerError
)

// FailureStatus reports whether a status is an error for which a stored
// response may stand in.
func FailureStatus(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}

// MayServe reports whether the response may be served at now although
// validating it failed as f says.
func (d Decision) MayServe(f Failure, now time.Time) bool {
	if d.MustValidate {
		return false
	}
	until := d.DownUntil
	if f == ServerError {
		until = d.ErrorUntil
	}
	return now.Before(until)
}

// Fwd returns why the request goes forward, in the words of RFC 9211 section
// 2.2: "request" if only the client's wishes stand against a fresh response,
// else "stale"; empty if it need not.
func (d Decision) Fwd() string {
	switch d.Reason {
	case ReasonRequestNoCache, ReasonRequestMaxAge, ReasonRequestMinFresh:
		if d.TTL > 0 {
			return FwdRequest
		}
	case ReasonFresh, ReasonMaxStale, ReasonStaleWhileRevalidate:
		return ""
	}
	return FwdStale
}
