package follow

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"preau/cache/object"
	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/identity"
)

// known is what a box knows of its region, as far as it decides what to hold.
type known struct {
	near          map[string]*resource // those that the box has to know about, by id
	about, unread interest             // what that is, and what of it is not in near yet
	turned        bool                 // what about follows from has changed
	pins          map[string]catalogue.Pin
	subscriptions map[string]catalogue.Subscription
	hints         []catalogue.Hint
	lessons       map[string]bool             // ids of resources (Prepare)
	policies      map[string]catalogue.Policy // by record id
	recorded      time.Time                   // the latest time of a record
	markKey       object.MarkKeyID
}

// want is one resource that the box should hold.
type want struct {
	id     string
	r      *resource
	pinned bool // it must not be given up for room
	why    reason
}

// item is as much of the resource as decides what is held of it.
func (w want) item() shelf.Item { return shelf.Item{ID: w.id, SHA256: w.r.sum, Length: w.r.length} }

// reason says why a resource is wanted, most urgent first.
type reason uint8

const (
	byLesson reason = iota
	byPin
	bySubscription
	byHint
)

// clock is the time that a box goes by: its own, unless that can't be. The
// region's records tell a time that has come; a clock of many years after the
// box's certificate ends tells nothing.
func clock(now, recorded, certificate time.Time) time.Time {
	if now.Before(recorded) || now.After(certificate.AddDate(2, 0, 0)) {
		return recorded
	}
	return now
}

// wants lists what a school's box should hold at a time, most urgent first,
// and when that changes by itself (zero: it does not).
func (k *known) wants(school identity.School, now time.Time) (out []want, next time.Time) {
	why := map[string]want{}
	add := func(id string, w want) {
		r := k.near[id]
		if r == nil || expired(r.expires, now) {
			return
		}
		w.id, w.r = id, r
		if old, ok := why[id]; ok {
			w.why, w.pinned = min(w.why, old.why), w.pinned || old.pinned
		}
		why[id] = w
	}
	for id := range k.lessons {
		add(id, want{pinned: true, why: byLesson})
	}
	of := map[string][]string{}
	for id, r := range k.near {
		of[r.collection] = append(of[r.collection], id)
		next = sooner(next, r.expires, now)
	}
	for _, p := range k.pins {
		if !forSchool(p, school) {
			continue
		}
		next = sooner(sooner(next, p.From, now), p.Until, now)
		if now.Before(p.From) || !p.Until.IsZero() && !now.Before(p.Until) {
			continue
		}
		if p.Resource != "" {
			add(p.Resource, want{pinned: true, why: byPin})
		}
		for _, id := range of[p.Collection] {
			add(id, want{pinned: true, why: byPin})
		}
	}
	for _, s := range k.subscriptions {
		if s.School != "" && s.School != school {
			continue
		}
		for _, id := range of[s.Collection] {
			add(id, want{why: bySubscription})
		}
	}
	room := k.policy(school).PrefetchPopular
	for _, h := range k.hints {
		id, ok := strings.CutPrefix(h.Key, "r/")
		if !ok {
			continue
		}
		if _, there := why[id]; there {
			continue
		}
		if r := k.near[id]; r != nil && r.length <= room && !expired(r.expires, now) {
			room -= r.length
			add(id, want{why: byHint})
		}
	}
	for _, w := range why {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b want) int {
		return cmp.Or(cmp.Compare(a.why, b.why),
			b.r.modified.Compare(a.r.modified), cmp.Compare(a.id, b.id))
	})
	return out, next
}

func expired(expires, now time.Time) bool { return !expires.IsZero() && !now.Before(expires) }

func forSchool(p catalogue.Pin, school identity.School) bool {
	return len(p.Schools) == 0 || slices.Contains(p.Schools, school)
}

// sooner is the earlier of two times that are still to come.
func sooner(a, b, now time.Time) time.Time {
	if b.IsZero() || !b.After(now) || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// policy is a school's own, with everybody's where it says nothing.
func (k *known) policy(school identity.School) catalogue.Policy {
	p, all := k.policies[string(school)], k.policies[""]
	p.PrefetchRate = cmp.Or(p.PrefetchRate, all.PrefetchRate)
	p.LeaseSeconds = cmp.Or(p.LeaseSeconds, all.LeaseSeconds)
	p.KAnonymity = cmp.Or(p.KAnonymity, all.KAnonymity)
	p.PrefetchPopular = cmp.Or(p.PrefetchPopular, all.PrefetchPopular)
	if len(p.PrefetchHours) == 0 {
		p.PrefetchHours = all.PrefetchHours
	}
	return p
}

// within reports whether a time of day is one of the hours, and if not, when
// the next one begins. Without any, every time is.
func within(hours []catalogue.Hours, now time.Time) (ok bool, next time.Time) {
	if len(hours) == 0 {
		return true, time.Time{}
	}
	minute := now.Hour()*60 + now.Minute()
	wait := 24 * 60
	for _, h := range hours {
		in := minute >= h.From && minute < h.To
		if h.To <= h.From { // over midnight
			in = minute >= h.From || minute < h.To
		}
		if in {
			return true, time.Time{}
		}
		wait = min(wait, (h.From-minute+24*60)%(24*60))
	}
	return false, now.Truncate(time.Minute).Add(time.Duration(wait) * time.Minute)
}

// until is how much longer one of the hours lasts that now is in; 0: for ever,
// or none does.
func until(hours []catalogue.Hours, now time.Time) time.Duration {
	if ok, _ := within(hours, now); !ok || len(hours) == 0 {
		return 0
	}
	at := now.Truncate(time.Minute)
	for range 24 * 60 {
		at = at.Add(time.Minute)
		if ok, _ := within(hours, at); !ok {
			return at.Sub(now)
		}
	}
	return 0
}
