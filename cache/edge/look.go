package edge

import (
	"net/http"
	"net/url"
	"time"

	"preau/cache/profile"
	"preau/cache/rfc9111"
)

// What there is for a request.
const (
	StoredNothing = "nothing" // nothing is stored
	StoredFresh   = "fresh"   // it is used without asking the site
	StoredStale   = "stale"   // the site is asked first
	StoredGone    = "gone"    // it is remembered that the site has it no more
	StoredOwn     = "own"     // it is remembered that each asker gets an answer of their own
	StoredNever   = "never"   // requests like this pass
)

// Stored is what there is for a request at this moment.
type Stored struct {
	State string
	// Of what is stored; zero otherwise.
	Status     int
	Bytes      int64 // −1 if not known
	Whole      bool  // all of it is here
	Of         time.Time
	FreshUntil time.Time
	// OfflineUntil is until when it may stand in for a site that can't be reached;
	// zero is never.
	OfflineUntil time.Time
}

// Look says what there is for a request for a path of the site with that name.
// It asks nobody, counts nothing and leaves what is stored as it is. host is the
// one that the request names, which matters to sites that keep it.
func (h *Handler) Look(site, host string, asked profile.Request) Stored {
	s, store := h.byHost.byName[site], h.store.Load()
	if s == nil || store == nil {
		return Stored{State: StoredNothing}
	}
	header := asked.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	r := &http.Request{Method: asked.Method, URL: &url.URL{Path: "/"}, Host: host, Header: header, Body: http.NoBody}
	x := &exchange{h: h, r: r, site: s, store: store, path: asked.Path, query: asked.Query, start: time.Now(), device: true}
	if x.climbs() {
		return Stored{State: StoredNever}
	}
	x.planRequest()
	if x.isGone() {
		return Stored{State: StoredGone}
	}
	if asked.Method != http.MethodGet && asked.Method != http.MethodHead || x.plan != nil && x.plan.Do == profile.Pass {
		return Stored{State: StoredNever}
	}
	evenCodings(r.Header)
	if x.plan == nil || x.plan.Do == profile.ByRFC9111 {
		x.key = store.Key(x.keyParts()...)
		return x.look()
	}
	x.share()
	if x.probed() == verdictOwn {
		return Stored{State: StoredOwn}
	}
	if x.plan.Do == profile.Archive {
		if l, fresh := x.listing(); l != nil && l.kind == listFolder {
			return x.lookFolder(l, fresh)
		}
	}
	return x.look()
}

// look describes what is stored under x's key.
func (x *exchange) look() Stored {
	set, err := x.store.Objects().Lookup(x.key)
	if err != nil {
		x.h.log.Warn("what is stored can't be looked up", "site", x.site.Name, "err", err)
	}
	o := x.selectVariant(set)
	if o == nil {
		if m, ok := x.h.unshared.Get(x.key); ok && m.alone {
			return Stored{State: StoredOwn}
		}
		return Stored{State: StoredNothing}
	}
	now := time.Now()
	d := x.decide(o, now)
	out := Stored{
		State: StoredStale, Status: o.Status, Bytes: o.Length, Whole: o.Complete,
		Of: now.Add(-d.Age), FreshUntil: now.Add(d.TTL), OfflineUntil: d.DownUntil,
	}
	if d.Use == rfc9111.Fresh {
		out.State = StoredFresh
	}
	return out
}

// lookFolder describes an archive by its folder's listing and files.
func (x *exchange) lookFolder(l *listing, fresh bool) Stored {
	parts := &files{x: x, l: l}
	out := Stored{Whole: parts.plan() && parts.held(), State: StoredStale, Status: http.StatusOK, Bytes: l.layout.Len(), Of: l.at, FreshUntil: l.at.Add(listedFor), OfflineUntil: l.lease}
	if fresh {
		out.State = StoredFresh
	}
	return out
}
