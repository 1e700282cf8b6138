package edge

import (
	"net/http"
	"time"

	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
)

const (
	// aliveFor is how long it is known that a capability opens something.
	aliveFor = time.Hour
	// gateWait is how long others wait for the answer to the first who bears a
	// capability that is not known.
	gateWait = 15 * time.Second
	// mostRemembered bounds what is remembered of capabilities, and of what is
	// gone.
	mostRemembered = 10_000
)

// gate is open once its channel is closed.
type gate struct {
	key  object.Key
	open chan struct{}
}

func (h *Handler) capabilityKey(site *Site, capability string) object.Key {
	return h.keys.Key("capability", site.Name, capability)
}

// enter lets x ask the site. Of those who bear a capability that is not known
// to be alive the first goes alone: platforms count wrong ones against the
// school's address, and a class of 35 that opens an expired link is not to have
// its school shut out. Not ok means that x was answered, or its client left;
// waited, that another went first.
func (x *exchange) enter() (ok, waited bool) {
	// A neighbour is not kept waiting for what may wait for a neighbour.
	if x.plan == nil || x.plan.Capability == "" || x.entered || x.neighbour {
		return true, false
	}
	x.entered = true
	key := x.h.capabilityKey(x.site, x.plan.Capability)
	var patience *time.Timer
	for {
		if x.isGone() {
			x.answerGone(rfc9111.CacheStatus{Hit: true})
			return false, true
		}
		if _, alive := x.h.alive.Get(key); alive {
			return true, patience != nil
		}
		x.h.mu.Lock()
		g := x.h.gates[key]
		if g == nil {
			x.gate = &gate{key, make(chan struct{})}
			x.h.gates[key] = x.gate
			x.h.mu.Unlock()
			if x.isGone() { // as who went before has found just now
				x.answerGone(rfc9111.CacheStatus{Hit: true})
				return false, true
			}
			return true, patience != nil
		}
		x.h.mu.Unlock()
		if patience == nil {
			patience = time.NewTimer(gateWait)
			defer patience.Stop()
		}
		select {
		case <-g.open:
		case <-patience.C:
			return true, true
		case <-x.r.Context().Done():
			x.wrote = true // nobody to write to
			return false, true
		}
	}
}

// passGate opens the gate that x came through first, if it did. alive says that
// the site's answer shows that the capability opens something.
func (x *exchange) passGate(alive bool) {
	if x.gate == nil {
		return
	}
	if alive {
		x.h.alive.Set(x.gate.key, struct{}{})
	}
	x.h.mu.Lock()
	delete(x.h.gates, x.gate.key)
	x.h.mu.Unlock()
	close(x.gate.open)
	x.gate = nil
}

// showsAlive reports whether an answer that is not Gone shows that what was
// asked for is there. A server in trouble shows nothing.
func showsAlive(status int) bool {
	return status < http.StatusInternalServerError && status != http.StatusTooManyRequests
}

// passedGone asks the profile about the answer to a request that was passed
// because of its plan, and reports whether it means that the link is gone. What it
// opens may also have become somebody's own.
func (x *exchange) passedGone(resp *http.Response) bool {
	p := x.plan
	if p == nil || p.Capability == "" {
		return false
	}
	if p.Do != profile.Pass || x.r.Method != http.MethodGet || resp.StatusCode < http.StatusBadRequest && resp.StatusCode != http.StatusSeeOther {
		x.passGate(resp.StatusCode < http.StatusBadRequest)
		return false
	}
	ruling := x.site.rule(p.asked, p.Plan, resp, 0)
	if ruling.Effect != profile.Gone {
		if len(ruling.Groups) > 0 { // it is not for everybody any more
			x.h.purge(x.site, x.store, nil, ruling.Groups, false)
		}
		x.passGate(resp.StatusCode < http.StatusBadRequest || showsAlive(resp.StatusCode))
		return false
	}
	x.h.goneBy(x.site, x.store, p.Plan, p.path, p.query, ruling, false)
	x.passGate(len(ruling.Groups) == 0)
	return len(ruling.Groups) > 0 || !p.Anonymous || !p.credentials
}

// showsAlive is showsAlive for what a flight brought.
func (f *flight) showsAlive() bool {
	if f.gone {
		return f.live
	}
	return f.err == nil && showsAlive(f.status)
}

// mayFetch lets x have fetched what is for everybody, be it to validate o. Done
// means that x was answered instead, or its client left; again, that it is to be
// looked up anew what is stored.
func (x *exchange) mayFetch(o *object.Object, d *rfc9111.Decision, fwd string) (done, again bool) {
	switch ok, waited := x.enter(); {
	case !ok:
		return true, false
	case waited:
		return false, true // the first may have brought it
	case !x.shared:
		return false, false
	}
	switch x.probe() {
	case verdictShared:
		return false, false
	case verdictNone:
		return true, false
	case verdictGone:
		x.answerGone(rfc9111.CacheStatus{Fwd: fwd})
	case verdictUnknown:
		x.passGate(false)
		if o != nil && d.MayServe(rfc9111.ServerError, time.Now()) {
			return x.failed(o, *d, nil), false
		}
		x.pass(fwd, x.plan.Name)
	default:
		x.passGate(true)
		x.pass(fwd, x.plan.Name)
	}
	return true, false
}
