package edge

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

// attempts is how often a request is answered anew because what it was to be
// answered from changed before its first byte was sent.
const attempts = 3

// answer answers a GET or HEAD from what is stored or what is fetched.
func (x *exchange) answer() {
	if x.wrote {
		return
	}
	for range attempts {
		if x.try() {
			return
		}
	}
	x.pass(rfc9111.FwdMiss, "changes-too-fast")
}

// try makes one attempt; false asks for another.
func (x *exchange) try() bool {
	x.part, x.body = nil, nil
	set, err := x.store.Objects().Lookup(x.key)
	if err != nil {
		x.h.log.Warn("what is stored can't be looked up", "site", x.site.Name, "err", err)
	}
	o := x.selectVariant(set)
	if o != nil && x.notForMe(o.Status) {
		x.pass(rfc9111.FwdRequest, x.plan.Name)
		return true
	}
	if o == nil {
		fwd := rfc9111.FwdURIMiss
		if len(set) > 0 {
			fwd = rfc9111.FwdVaryMiss
		}
		x.wants()
		return x.miss(fwd)
	}
	if !o.Complete {
		x.wants()
	}
	// Only who finds it stored shows that it is worth keeping: the request that
	// brought it does not.
	x.store.Touch(x.key)
	now := time.Now()
	d := x.decide(o, now)
	cs := rfc9111.CacheStatus{Hit: true, TTL: &d.TTL, Detail: sourceLocal}
	switch d.Use {
	case rfc9111.Fresh:
		return x.serve(o, cs, resultHit, true)
	case rfc9111.StaleAllowed:
		return x.serve(o, cs, resultStale, true)
	case rfc9111.StaleWhileRevalidate:
		if x.lineUp() && x.probed() == verdictShared {
			x.h.refresh(x, o)
		}
		return x.serve(o, cs, resultStale, true)
	}
	switch {
	case d.OnlyIfCached:
		x.onlyIfCached()
		return true
	case !x.lineUp():
		return x.failed(o, d, nil)
	case x.r.Method == http.MethodHead && !x.shared: // what is for everybody is asked for by GET
		x.pass(d.Fwd(), "")
		return true
	}
	return x.await(o, &d, d.Fwd())
}

// decide is rfc9111's decision, with what is doubted of the object.
func (x *exchange) decide(o *object.Object, now time.Time) rfc9111.Decision {
	d := rfc9111.Decide(x.r.Header, response(o), now, x.site.RulesFor(o.Header))
	switch {
	case o.Doubt == object.Invalidated:
		d.Use, d.MustValidate, d.Reason = rfc9111.Validate, true, rfc9111.ReasonStale
		d.DownUntil, d.ErrorUntil = time.Time{}, time.Time{}
	case o.Doubt == object.Restored && x.lineUp():
		if d.Use != rfc9111.Validate {
			d.DownUntil, d.ErrorUntil = now.Add(time.Hour), now.Add(time.Hour)
		}
		d.Use = rfc9111.Validate
	}
	return d
}

func (x *exchange) lineUp() bool { return x.site.Upstream.State().Up }

// selectVariant finds the newest stored variant that answers the request (RFC
// 9111 §4.1).
func (x *exchange) selectVariant(set object.Set) *object.Object {
	for _, o := range set {
		if x.matches(o) {
			return o
		}
	}
	return nil
}

// matches reports whether o is the variant that the request selects.
func (x *exchange) matches(o *object.Object) bool {
	return varyKey(x.store, o.VaryNames, x.r.Header) == o.VaryKey
}

// varyKey is rfc9111's, but that what says who asks is nowhere kept as it is: a
// session or a password would lie on the disk.
func varyKey(s *storage.Storage, names []string, header http.Header) string {
	key := rfc9111.VaryKey(names, header)
	if !tellsWho(names) {
		return key
	}
	hash := s.Key("vary", key)
	return "hashed " + hex.EncodeToString(hash[:])
}

// response is o as rfc9111 knows it.
func response(o *object.Object) rfc9111.Response {
	return rfc9111.Response{Status: o.Status, Header: o.Header, RequestTime: o.RequestTime, ResponseTime: o.ResponseTime}
}

// miss answers a request for which nothing is stored.
func (x *exchange) miss(fwd string) bool {
	req := rfc9111.ParseRequestDirectives(x.r.Header)
	switch {
	case req.OnlyIfCached:
		x.onlyIfCached()
		return true
	case !x.lineUp() && (x.r.Method == http.MethodHead || !x.nearby()):
		x.noAnswer(errLineDown)
		return true
	case x.r.Method == http.MethodHead && !x.shared || req.NoStore:
		x.pass(fwd, "")
		return true
	}
	if m, ok := x.h.unshared.Get(x.key); ok && m.alone {
		// Not stored the last time: as long as it takes, be it a long poll.
		x.pass(fwd, "")
		return true
	}
	return x.await(nil, nil, fwd)
}

// await joins or begins the flight that validates o or, with no o, fetches the
// response, and answers from its result.
func (x *exchange) await(o *object.Object, d *rfc9111.Decision, fwd string) bool {
	if done, again := x.mayFetch(o, d, fwd); done || again {
		return done
	}
	f, leader := x.h.join(x, o)
	if f == nil {
		return x.h.ctx.Err() != nil // shutting down, else to be looked up anew
	}
	defer f.leave()
	if !x.wait(f, leader) {
		return true
	}
	x.passGate(f.showsAlive())
	if x.told(f, leader, fwd) {
		return true
	}
	switch {
	case f.object != nil && (leader || x.mayShare(f)):
		cs := rfc9111.CacheStatus{Fwd: fwd, FwdStatus: f.status, Stored: f.stored && !f.lent, Collapsed: !leader, Detail: f.source}
		if leader {
			x.lead(f)
		}
		result := resultMiss
		switch {
		case !leader:
			result = resultCollapsed
		case !f.stored:
			result = resultRevalidated
		}
		return x.serve(f.object, cs, result, false)
	case f.object != nil && !f.lone && !x.varied && !x.matches(f.object):
		// Another variant. Now that it is known what the answer varies by, those
		// who want the same one wait for one fetch.
		x.varied = true
		return false
	case errors.Is(f.err, context.Canceled) && x.h.ctx.Err() == nil:
		return false // everybody else had left before we came
	case f.err != nil || f.failure:
		if d != nil && d.MayServe(f.how(), time.Now()) {
			return x.failed(o, *d, f.err)
		}
		if f.err != nil {
			return x.failed(o, zeroIfNil(d), f.err)
		}
		fallthrough
	default:
		if resp := f.take(leader); resp != nil { //nolint:bodyclose // relayed, and closed there
			x.relay(resp, fwd, f.source)
			return true
		}
		if f.epoch != x.store.PurgeEpoch(x.site.Name) {
			return false // what it brought was purged meanwhile: one fetch for all who waited
		}
		return x.alone(o, d, fwd)
	}
}

// lead takes what a flight brought for its leader. The body is not opened once
// more: that would look as if two people had asked for it.
func (x *exchange) lead(f *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x.part, x.cookies, x.body = f.part, f.cookies, f.body
	if x.fragmented() {
		x.part = nil // more was asked for than the client wants
	}
}

// wait waits for the flight's end; false if the client left before.
func (x *exchange) wait(f *flight, leader bool) bool {
	interim := f.interim
	if !leader {
		interim = nil // the leader's
	}
	for {
		select {
		case in := <-interim:
			x.sendInterim(in)
		case <-x.r.Context().Done():
			return false
		case <-f.done:
			for leader {
				select {
				case in := <-interim:
					x.sendInterim(in)
				default:
					return true
				}
			}
			return true
		}
	}
}

func zeroIfNil(d *rfc9111.Decision) rfc9111.Decision {
	if d == nil {
		return rfc9111.Decision{}
	}
	return *d
}

// mayShare reports whether a follower may have what the leader's request
// brought. A fresh response is anybody's. One that must be validated each time
// was so when it came, after the follower had asked; but where a request says
// who is asking, the origin might have answered another user differently.
func (x *exchange) mayShare(f *flight) bool {
	o := f.object
	if f.lone || !x.matches(o) {
		return false
	}
	if x.decide(o, time.Now()).Use == rfc9111.Fresh {
		return true
	}
	return !f.credentials && !x.hasCredentials()
}

// alone validates o or fetches for this request only, without waiting for or
// sharing with anybody: others' response was theirs alone.
func (x *exchange) alone(o *object.Object, d *rfc9111.Decision, fwd string) bool {
	f, leader := x.h.begin(x, o, flightKey{}, true)
	if f == nil {
		return true
	}
	defer f.leave()
	if !x.wait(f, leader) {
		return true
	}
	if x.told(f, leader, fwd) {
		return true
	}
	switch {
	case f.object != nil:
		x.lead(f)
		return x.serve(f.object, rfc9111.CacheStatus{Fwd: fwd, FwdStatus: f.status, Stored: f.stored, Detail: f.source}, resultMiss, false)
	case f.err != nil, f.failure && d != nil && d.MayServe(f.how(), time.Now()):
		return x.failed(o, zeroIfNil(d), f.err)
	}
	if resp := f.take(true); resp != nil { //nolint:bodyclose // relayed, and closed there
		x.relay(resp, fwd, f.source)
	}
	return true
}

// failed answers when the site could not be asked: from a stale copy where
// that is allowed (RFC 9111 §4.2.4), else with an error.
func (x *exchange) failed(o *object.Object, d rfc9111.Decision, err error) bool {
	if err != nil && errors.Is(err, context.Canceled) && x.r.Context().Err() != nil {
		return true
	}
	how := rfc9111.Disconnected
	if o != nil && (d.MayServe(how, time.Now()) || err == nil && d.MayServe(rfc9111.ServerError, time.Now()) && x.lineUp()) {
		detail := "offline"
		if x.lineUp() {
			detail = "origin-error"
		}
		return x.serve(o, rfc9111.CacheStatus{Hit: true, TTL: &d.TTL, Detail: detail}, resultStale, true)
	}
	if err == nil {
		err = errLineDown
	}
	x.noAnswer(err)
	return true
}
