package profile

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"preau/cache/rfc9111"
)

// grant is what Field says of an answer.
type grant struct {
	fresh, lease, stale, swr    time.Duration
	revalidate, noCache, public bool
	immutable, noTransform      bool
	private, noStore            bool
	bounded                     bool // the answer's own freshness was cut
}

// ownGrant grants what an answer says itself, at most for most, and fresh where
// it says nothing.
func ownGrant(h http.Header, fresh, most, lease time.Duration) grant {
	d := says(h)
	mended := http.Header{"Expires": h["Expires"], "Date": h["Date"], "Cache-Control": h["Cache-Control"], "Cdn-Cache-Control": h["Cdn-Cache-Control"]}
	mended = mended.Clone()
	for name, v := range mended {
		if len(v) == 0 {
			delete(mended, name)
		}
	}
	mendDates(mended)
	life, source := rfc9111.Response{Status: http.StatusOK, Header: mended}.FreshnessLifetime(rfc9111.DefaultRules())
	_, dated := rfc9111.ParseTime(mended.Get("Date"), time.Time{})
	if source == rfc9111.SourceNone && !d.NoCache || source == rfc9111.SourceExpires && !dated {
		// Without the date of the answer its Expires is no span of time.
		life = fresh
	}
	g := grant{fresh: min(life, most), lease: lease, stale: lease, bounded: life > most}
	g.revalidate = d.MustRevalidate || d.ProxyRevalidate || d.SMaxage.Set
	g.noCache, g.public, g.noTransform = d.NoCache, d.Public, d.NoTransform
	g.immutable = d.Immutable && !g.bounded
	g.swr, _ = d.StaleWhileRevalidate.OK()
	if v, ok := d.StaleIfError.OK(); ok && lease == 0 {
		g.stale = v
	}
	return g
}

// text writes the grant as a Dictionary (RFC 9651 section 3.2).
func (g grant) text() string {
	var b strings.Builder
	number := func(name string, d time.Duration) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + strconv.FormatInt(int64(d/time.Second), 10))
	}
	number("max-age", g.fresh)
	if g.stale > 0 {
		number("stale-if-error", g.stale)
	}
	if g.swr > 0 {
		number("stale-while-revalidate", g.swr)
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"no-store", g.noStore}, {"private", g.private}, {"no-cache", g.noCache}, {"must-revalidate", g.revalidate},
		{"public", g.public}, {"immutable", g.immutable}, {"no-transform", g.noTransform},
	} {
		if flag.set {
			b.WriteString(", " + flag.name)
		}
	}
	if g.lease > 0 {
		number("lease", g.lease)
	}
	return b.String()
}
