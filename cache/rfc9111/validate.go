package rfc9111

import (
	"net/http"
	"slices"
	"time"
)

// ConditionalHeader returns the fields to add to a request so that it validates
// a stored response (RFC 9111 section 4.3.1). It is empty if the response has
// no validator. The request must not keep conditions of the client's own.
func ConditionalHeader(stored http.Header) http.Header {
	h := make(http.Header, 2)
	if _, ok := storedTag(stored); ok {
		h["If-None-Match"] = []string{trimOWS(stored["Etag"][0])}
	}
	if v, ok := single(stored, "Last-Modified"); ok {
		if _, ok := ParseTime(v, time.Time{}); ok {
			// As the origin wrote it: some compare the text.
			h["If-Modified-Since"] = []string{trimOWS(v)}
		}
	}
	return h
}

// StrongValidator returns the If-Range value with which the missing parts of
// a stored response may be asked for and joined to it byte by byte (RFC 9110
// section 13.1.5, RFC 9111 section 3.4): its strong entity tag, or, if it has no
// tag at all, a Last-Modified that is strong.
func StrongValidator(stored Response) (ifRange string, ok bool) {
	if t, ok := storedTag(stored.Header); ok {
		return t.opaque, t.legal && !t.weak
	}
	if _, ok := stored.strongDate(); ok {
		return trimOWS(stored.Header["Last-Modified"][0]), true
	}
	return "", false
}

// strongAfter is how much older than its Date a Last-Modified must be to count
// as strong. RFC 9110 section 8.8.2.2 asks for a second where one clock made
// both, as an origin's does; the second more is for the rounding of each.
const strongAfter = 2 * time.Second

// strongDate returns Last-Modified if it is a strong validator: the origin's
// Date is later by enough that no second change can hide in it (RFC 9110 section
// 8.8.2.2).
func (r Response) strongDate() (time.Time, bool) {
	modified, ok := r.lastModified()
	if !ok || len(r.Header["Last-Modified"]) != 1 {
		return time.Time{}, false
	}
	v, ok := single(r.Header, "Date")
	if !ok {
		return time.Time{}, false
	}
	date, ok := ParseTime(v, r.ResponseTime)
	return modified, ok && date.Sub(modified) >= strongAfter
}

// Same304 reports whether a 304 with the given header is about the stored
// response whose validators were sent (RFC 9111 section 4.3.4). If it is not,
// nothing may be updated and the request must be repeated without conditions.
//
// The comparison is the weak one even for a strong tag, and a 304 without any
// validator is accepted: the request held the validators of one stored response,
// so the answer can be about no other. Origins that weaken the tag of what they
// compress answer 304 with the strong one.
func Same304(stored, fresh http.Header) bool {
	freshTag, has := storedTag(fresh)
	ownTag, owns := storedTag(stored)
	if has && owns {
		return freshTag.weakly(ownTag)
	}
	freshDate, hasDate := modifiedText(fresh)
	ownDate, ownsDate := modifiedText(stored)
	if hasDate && ownsDate {
		return freshDate.Equal(ownDate)
	}
	return !has && !hasDate
}

func modifiedText(h http.Header) (time.Time, bool) {
	v, ok := single(h, "Last-Modified")
	if !ok {
		return time.Time{}, false
	}
	return ParseTime(v, time.Time{})
}

// Update304 returns the header of a stored response as a 304 freshens it (RFC
// 9111 sections 3.2 and 4.3.4). The caller has asked Same304, and takes over
// fresh's times. Neither argument is changed.
//
// Every field of the 304 replaces the stored one, except those that are never
// stored and those the stored bytes depend on: Content-Length, Content-Range and
// Content-Encoding stay as they were when the body came. A strong entity tag
// does not replace a weak one, nor the other way round: it was given to other
// bytes. Age and Date are always the 304's, since they are about a message and
// not about a representation.
func Update304(stored http.Header, fresh Response, rules Rules) http.Header {
	merged := stored.Clone()
	if merged == nil {
		merged = make(http.Header)
	}
	delete(merged, "Age")
	for name, values := range StoredHeader(fresh, rules) {
		switch name {
		case "Content-Length", "Content-Range", "Content-Encoding":
			continue
		case "Etag":
			if _, owns := storedTag(stored); owns {
				continue // Same304: equal, or only the weakness differs
			}
		}
		merged[name] = values
	}
	dropQualified(merged, ParseResponseDirectives(merged, rules))
	return merged
}

// HeadEffect is what a response to HEAD means for a stored response to GET.
type HeadEffect uint8

const (
	// HeadIgnored means nothing. Only a 200 says anything about what is stored.
	HeadIgnored HeadEffect = iota
	// HeadUpdates means that the stored header is to be replaced by the one returned.
	HeadUpdates
	// HeadInvalidates means that the stored response is outdated and must not be used
	// without validation.
	HeadInvalidates
)

// UpdateHEAD says what a response to HEAD does to a stored response to GET for
// the same URI and Vary (RFC 9111 section 4.3.5), and returns the freshened
// header if there is one; the caller then takes over head's times.
func UpdateHEAD(stored, head Response, rules Rules) (http.Header, HeadEffect) {
	if head.Status != http.StatusOK || stored.Status != http.StatusOK {
		return nil, HeadIgnored
	}
	// What the HEAD has of validators and length must be what is stored.
	if t, ok := storedTag(head.Header); ok {
		if own, owns := storedTag(stored.Header); !owns || !own.weakly(t) {
			return nil, HeadInvalidates
		}
	}
	if m, ok := modifiedText(head.Header); ok {
		if own, owns := modifiedText(stored.Header); !owns || !own.Equal(m) {
			return nil, HeadInvalidates
		}
	}
	length, own := head.Header["Content-Length"], stored.Header["Content-Length"]
	if len(length) > 0 && len(own) > 0 && !slices.Equal(length, own) {
		return nil, HeadInvalidates
	}
	return Update304(stored.Header, head, rules), HeadUpdates
}
