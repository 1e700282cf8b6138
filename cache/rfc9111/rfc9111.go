// Package rfc9111 decides what a shared HTTP cache may do: whether a response
// may be stored, whether a stored one may be used, what must be asked of the
// origin first, and what has to be forgotten.
//
// Everything here is a function of header fields and a time that the caller
// passes in. The package opens nothing, starts nothing and reads no clock, so a
// decision can be repeated and explained afterwards. It keeps no response and
// builds no key for one except the part that Vary adds; methods, bodies,
// storage and the network are the business of its callers.
//
// The rules are those of RFC 9110 (HTTP semantics), RFC 9111 (caching), RFC
// 5861 (stale-while-revalidate, stale-if-error), RFC 8246 (immutable), RFC 9211
// (Cache-Status) and RFC 9213 (targeted cache control); the clause is cited
// where it is implemented. Where a clause leaves a choice, the choice that
// serves less from the cache is taken, unless the comment at the branch says
// why not. What a site may settle for itself is in Rules and nowhere else.
//
// Header fields are looked up by their canonical names (net/http's form);
// http.Header values filled by Set, Add or net/http itself are fine as they are.
package rfc9111

import (
	"net/http"
	"net/url"
	"time"
)

// Rules is what a site may settle where the RFCs leave room. The zero value is
// the RFCs by the letter, with nothing of our own added: no targeted field, no
// heuristic, and nothing stale that neither origin nor client has allowed.
type Rules struct {
	// Targeted names the targeted fields that are honoured, most specific
	// first (the target list of RFC 9213 section 2.2).
	Targeted []string
	// HeuristicFraction is the part of the time since Last-Modified for which
	// a response without an expiry is taken to be fresh, and HeuristicMax its
	// upper bound (RFC 9111 section 4.2.2). If either is 0 nothing is fresh
	// by guesswork.
	HeuristicFraction float64
	HeuristicMax      time.Duration
	// StaleWhenDown is the operator's word (the out-of-band contract of RFC
	// 9111 section 4.2.4) on how long after its expiry a response may be
	// served while its origin cannot be reached. It does not override what
	// the response forbids. 0 or less grants nothing: then only
	// stale-if-error and max-stale allow it. There is no value for "for ever".
	StaleWhenDown time.Duration
	// StaleOnError is the same for an origin that answers 500, 502, 503 or
	// 504.
	StaleOnError time.Duration
}

// DefaultRules is what a box uses unless its profile says otherwise.
func DefaultRules() Rules {
	return Rules{
		Targeted:          []string{"Cdn-Cache-Control"},
		HeuristicFraction: 0.1,
		HeuristicMax:      24 * time.Hour,
		StaleWhenDown:     30 * 24 * time.Hour,
		StaleOnError:      24 * time.Hour,
	}
}

// Request is the part of a request that decides whether its response may be
// stored. URL is the target URI; it is only read for POST.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
}

// Response is what the cache knows of a response it has received or stored.
type Response struct {
	Status int
	Header http.Header
	// RequestTime and ResponseTime are our clock's readings when the request
	// left and when the response's header came (RFC 9111 section 4.2.3).
	// After a successful validation they are those of the validation. A zero
	// RequestTime counts as no delay.
	RequestTime, ResponseTime time.Time
}
