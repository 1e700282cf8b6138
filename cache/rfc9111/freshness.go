package rfc9111

import (
	"net/http"
	"time"
)

// Source says where a freshness lifetime comes from.
type Source uint8

const (
	// SourceNone means that the response says nothing and no guess is allowed. It is
	// stale from the start.
	SourceNone Source = iota
	// SourceSMaxage is the s-maxage directive.
	SourceSMaxage
	// SourceMaxAge is the max-age directive.
	SourceMaxAge
	// SourceExpires is the Expires field.
	SourceExpires
	// SourceHeuristic is a part of the time since Last-Modified.
	SourceHeuristic
)

// String returns the source as it is written in logs and explanations.
func (s Source) String() string {
	switch s {
	case SourceSMaxage:
		return "s-maxage"
	case SourceMaxAge:
		return "max-age"
	case SourceExpires:
		return "expires"
	case SourceHeuristic:
		return "heuristic"
	}
	return "none"
}

// CurrentAge returns how old r is at now (RFC 9111 section 4.2.3).
func (r Response) CurrentAge(now time.Time) time.Duration {
	return addSaturating(r.initialAge(), max(0, now.Sub(r.ResponseTime)))
}

// initialAge is the corrected_initial_age of RFC 9111 section 4.2.3.
func (r Response) initialAge() time.Duration {
	apparent := max(0, r.ResponseTime.Sub(r.date()))
	var delay time.Duration
	if !r.RequestTime.IsZero() {
		delay = max(0, r.ResponseTime.Sub(r.RequestTime))
	}
	return max(apparent, addSaturating(ageValue(r.Header), delay))
}

// date is when the origin says it made the response. Without a Date that can
// be read it is when the response came (RFC 9110 section 6.6.1).
func (r Response) date() time.Time {
	if v := r.Header["Date"]; len(v) > 0 {
		if t, ok := ParseTime(v[0], r.ResponseTime); ok {
			return t
		}
	}
	return r.ResponseTime
}

// ageValue reads Age. Of several values the first counts, and one that is no
// delta-seconds is ignored (RFC 9111 section 5.1).
func ageValue(h http.Header) time.Duration {
	v := h["Age"]
	if len(v) == 0 {
		return 0
	}
	first := v[0]
	for i := range len(first) {
		if first[i] == ',' {
			first = first[:i]
			break
		}
	}
	d, _ := parseDelta(trimOWS(first))
	return d
}

// FreshnessLifetime returns for how long r is fresh counted from its creation
// (RFC 9111 section 4.2.1).
func (r Response) FreshnessLifetime(rules Rules) (time.Duration, Source) {
	return r.lifetime(ParseResponseDirectives(r.Header, rules), rules)
}

func (r Response) lifetime(d ResponseDirectives, rules Rules) (time.Duration, Source) {
	// A time that cannot be read makes the response stale (section 4.2.1);
	// the zero D of an invalid Delta does that.
	switch {
	case d.Malformed:
		return 0, SourceNone
	case d.SMaxage.Set:
		return d.SMaxage.D, SourceSMaxage
	case d.MaxAge.Set:
		return d.MaxAge.D, SourceMaxAge
	}
	if v := r.Header["Expires"]; len(v) > 0 && d.Targeted == "" {
		return r.untilExpires(v), SourceExpires
	}
	if life := r.heuristic(d, rules); life > 0 {
		return life, SourceHeuristic
	}
	return 0, SourceNone
}

func (r Response) untilExpires(lines []string) time.Duration {
	for _, v := range lines[1:] {
		if v != lines[0] { // two answers are none (RFC 9111 section 4.2.1)
			return 0
		}
	}
	t, ok := ParseTime(lines[0], r.ResponseTime)
	if !ok { // "0" above all (RFC 9111 section 5.3)
		return 0
	}
	return min(longest, max(0, t.Sub(r.date())))
}

// heuristic guesses a lifetime (RFC 9111 section 4.2.2). It is allowed for
// statuses defined as cacheable by default, and for others that say public.
func (r Response) heuristic(d ResponseDirectives, rules Rules) time.Duration {
	if rules.HeuristicFraction <= 0 || rules.HeuristicMax <= 0 || !heuristicStatus(r.Status) && !d.Public {
		return 0
	}
	modified, ok := r.lastModified()
	if !ok {
		return 0
	}
	since := min(longest, max(0, r.date().Sub(modified)))
	life := float64(since) * min(rules.HeuristicFraction, 1)
	return min(time.Duration(life), rules.HeuristicMax)
}

func (r Response) lastModified() (time.Time, bool) {
	v := r.Header["Last-Modified"]
	if len(v) == 0 {
		return time.Time{}, false
	}
	return ParseTime(v[0], r.ResponseTime)
}
