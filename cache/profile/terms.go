package profile

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"preau/cache/rfc9111"
)

// terms are on what an answer that is for everybody may be kept.
type terms struct {
	// fresh is for how long it is used without asking. With own that holds only
	// where the answer does not say it, and what it says counts up to most.
	fresh time.Duration
	own   bool
	most  time.Duration
	// lease is for how long after that it may stand in for a site that cannot be
	// reached or fails.
	lease time.Duration
	// waives says which words of the answer do not count, because the rule's
	// Why says so.
	waives waiver
	// strip says that the cookies of an answer are no sign of privacy: the site
	// gives them to everybody. Otherwise an answer with any is the asker's.
	strip bool
	// session is the one cookie that is no such sign, if it is not strip.
	session string
	// file says that the resource is no web page: a page in its place without a
	// name or tag is the platform talking.
	file bool
	// strict says that an answer that wants to be asked for each time is the
	// asker's.
	strict bool
	// nameless says that Content-Disposition is not kept: it has a name that is a
	// secret. The plan has it for whoever asks.
	nameless bool
	// dated says that a weak entity tag is left out in favour of the date.
	dated bool
	// refused is for how long everybody asks for themselves after 401, 403 or a
	// redirect; missing for how long everybody is told after 404 and 410, and 0
	// that nobody is.
	refused, missing time.Duration
	// listed says that people may be shown it in a list.
	listed bool
	// dates says that a page is shown with its date when it is old.
	dates bool
	// bound is the operator's on freshness; 0 for none.
	bound time.Duration
}

// waiver is a set of words of Cache-Control.
type waiver uint8

const (
	waivePrivate waiver = 1 << iota
	waiveRevalidate
	// waivePHP is about the three fields together that PHP's session module
	// writes into every answer once a session is open.
	waivePHP
)

// settle applies the terms to an answer.
func (t terms) settle(on Rule, plan Plan, r Response) Ruling {
	h := r.Header
	more := r.Target+1 < len(plan.Targets)
	switch {
	case r.Status >= 500 || r.Status == http.StatusTooManyRequests:
		dropCookies(h)
		h[Field] = []string{"no-store"}
		return Ruling{Effect: Keep, Header: h, Rule: Rule{on.Name + "-failure",
			"The site fails: what is stored may stand in for it (RFC 9111 section 4.2.4, RFC 5861 section 4), and the failure itself is not kept."}}
	case r.Status == http.StatusNotFound || r.Status == http.StatusGone:
		switch {
		case more:
			return Ruling{Effect: Next, Rule: Rule{on.Name + "-elsewhere", "This address of it is not there: older versions of the platform have another."}}
		case t.missing > 0:
			return Ruling{Effect: Gone, For: t.missing, Rule: Rule{on.Name + "-gone",
				"The site says that it is not there; a class that tries again need not ask."}}
		}
		return Ruling{Effect: Own, Rule: Rule{on.Name + "-missing", "It is not there now, which may be different in a moment."}}
	case r.Status >= 300 && r.Status < 400 && r.Status != http.StatusNotModified, r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden:
		return Ruling{Effect: Own, For: t.refused, Rule: Rule{on.Name + "-refused",
			"The site does not give it to just anybody, or sends each asker elsewhere: what it answers is for the asker."}}
	case r.Status != http.StatusOK && r.Status != http.StatusPartialContent && r.Status != http.StatusNotModified:
		return Ruling{Effect: Own, Rule: Rule{on.Name + "-other", "An answer of this status is about the one request."}}
	}
	if sign := t.private(h); sign != "" {
		return Ruling{Effect: Own, For: minute, Rule: Rule{on.Name + "-private", "The answer says that it is not for everybody: " + sign + "."}}
	}
	if t.file && r.Status == http.StatusOK && page(h) {
		if more {
			return Ruling{Effect: Next, Rule: Rule{on.Name + "-elsewhere", "A page came where a file was asked for."}}
		}
		return Ruling{Effect: Own, For: minute, Rule: Rule{on.Name + "-page", "A page came where a file was asked for: that is the platform talking to the asker."}}
	}
	return t.keep(on, r)
}

// keep writes the terms into the fields of an answer.
func (t terms) keep(on Rule, r Response) Ruling {
	h := r.Header
	g := ownGrant(h, t.fresh, t.capped(t.most), t.lease)
	if !t.own {
		g.fresh, g.swr, g.immutable = t.capped(t.fresh), 0, false
	}
	if t.waives&waivePHP != 0 && phpSession(h) {
		g.revalidate, g.noCache = false, false
	}
	if t.waives&waiveRevalidate != 0 {
		g.revalidate = false
	}
	if g.revalidate {
		g.stale, g.lease, g.swr = 0, 0, 0
	}
	dropCookies(h)
	h[Field] = []string{g.text()}
	return Ruling{Effect: Keep, Rule: on, Header: h}
}

// standard leaves an answer as it is, unless the operator bounds freshness.
func (t terms) standard(on Rule, r Response) Ruling {
	if t.bound > 0 {
		d := says(r.Header)
		g := ownGrant(r.Header, 0, t.bound, 0)
		if g.bounded && !d.Malformed && !d.MustUnderstand {
			g.private, g.noStore = d.Private, d.NoStore
			r.Header[Field] = []string{g.text()}
		}
	}
	return Ruling{Effect: Keep, Rule: on, Header: r.Header}
}

func (t terms) capped(d time.Duration) time.Duration {
	if t.bound > 0 {
		return min(d, t.bound)
	}
	return d
}

// private looks for what an answer says against being shared.
func (t terms) private(h http.Header) string {
	names, star := rfc9111.VaryFields(h)
	if star {
		return "Vary: *"
	}
	for _, name := range names {
		if credentialField(name) {
			return "Vary: " + name
		}
	}
	d := says(h)
	if t.waives&waivePHP != 0 && phpSession(h) {
		d.NoStore, d.NoCache = false, false
	}
	switch {
	case d.Private && t.waives&waivePrivate == 0:
		return "Cache-Control: private"
	case d.NoCache && t.strict:
		return "Cache-Control: no-cache"
	case d.NoStore:
		return "Cache-Control: no-store"
	case d.Malformed:
		return "a Cache-Control that cannot be read"
	case !t.strip && t.setsCookies(h):
		return "Set-Cookie"
	}
	return ""
}

// setsCookies reports whether an answer has cookies that say something.
func (t terms) setsCookies(h http.Header) bool {
	return len(h["Set-Cookie2"]) > 0 || slices.ContainsFunc(h["Set-Cookie"], func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return t.session == "" || strings.TrimSpace(name) != t.session
	})
}

// says reads what a site says of caching.
func says(h http.Header) rfc9111.ResponseDirectives {
	return rfc9111.ParseResponseDirectives(h, rfc9111.DefaultRules())
}

// phpSession recognises the fields that PHP's session module adds to whatever
// is sent while a session is open ("nocache" of session.cache_limiter): they
// speak of the session, whatever the resource. The date is PHP's own.
func phpSession(h http.Header) bool {
	return h.Get("Expires") == "Thu, 19 Nov 1981 08:52:00 GMT" && h.Get("Cache-Control") == "no-store, no-cache, must-revalidate"
}

// page reports whether an answer is a web page and not a file that happens to
// hold one: platforms give a file's answer a tag, a date or a name.
func page(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/html") && h.Get("Etag") == "" && h.Get("Last-Modified") == "" && h.Get("Content-Disposition") == ""
}

// clean brings fields into the form in which they are judged and kept, so that
// an answer which was kept elsewhere is judged as it was there.
func (t terms) clean(h http.Header) {
	dropNamed(h)
	mendDates(h)
	if t.nameless {
		h.Del("Content-Disposition")
	}
	if t.dated && strings.HasPrefix(h.Get("Etag"), "W/") && h.Get("Last-Modified") != "" {
		h.Del("Etag")
	}
}

func dropCookies(h http.Header) {
	h.Del("Set-Cookie")
	h.Del("Set-Cookie2")
}

// dropNamed removes the fields that no-cache or private name: Field will stand
// in the place of what named them (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
func dropNamed(h http.Header) {
	d := says(h)
	for _, name := range slices.Concat(d.NoCacheFields, d.PrivateFields) {
		switch name {
		case "Cache-Control", "Expires", "Date", "Age", "Vary", "Etag", "Last-Modified",
			"Content-Type", "Content-Length", "Content-Encoding", "Content-Range":
		default:
			h.Del(name)
		}
	}
}

// mendDates makes HTTP-dates (RFC 9110 section 5.6.7) of dates that end in a
// zone of +0000, and drops a Last-Modified that stays unreadable.
func mendDates(h http.Header) {
	for _, name := range []string{"Date", "Expires", "Last-Modified"} {
		v := strings.TrimSpace(h.Get(name))
		if head, ok := strings.CutSuffix(v, "+0000"); ok {
			h.Set(name, strings.TrimSpace(head)+" GMT")
		}
	}
	if v := h.Get("Last-Modified"); v != "" {
		if _, ok := rfc9111.ParseTime(v, time.Time{}); !ok {
			h.Del("Last-Modified")
		}
	}
}
