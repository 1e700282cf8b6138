package edge

import (
	"context"
	"io"
	"net/http"
	"time"

	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

const (
	// mostProbed bounds what is read of an answer to a probe, whatever the
	// profile asks for.
	mostProbed = 1 << 20
	// probeFor is how long a probe's ruling holds if it does not say.
	probeFor = time.Minute
)

// verdict is what a probe has shown of a capability.
type verdict uint8

const (
	verdictNone    verdict = iota
	verdictShared          // what it opens is for everybody who has it
	verdictOwn             // each has to ask for it
	verdictGone            // it opens nothing
	verdictUnknown         // the site could not be asked
)

// probing is one probe that is under way.
type probing struct{ done chan struct{} }

func (x *exchange) probeKey() object.Key {
	return x.h.keys.Key("probe", x.site.Name, x.plan.Capability)
}

// probed is what is known of x's capability without asking.
func (x *exchange) probed() verdict {
	if x.plan == nil || x.plan.Probe == nil {
		return verdictShared
	}
	v, _ := x.h.probed.Get(x.probeKey())
	return v
}

// probe finds out whether what x's capability opens may be shared, by one
// request for all who want to know. It returns verdictNone if the client left
// before.
func (x *exchange) probe() verdict {
	var patience *time.Timer
	for {
		if v := x.probed(); v != verdictNone {
			return v
		}
		key := x.probeKey()
		x.h.mu.Lock()
		p := x.h.probes[key]
		first := p == nil
		if first {
			if x.h.closed {
				x.h.mu.Unlock()
				return verdictUnknown
			}
			p = &probing{make(chan struct{})}
			x.h.probes[key] = p
			x.h.work.Add(1)
		}
		x.h.mu.Unlock()
		if first {
			// It goes on should this client leave: others may wait for it.
			t, probe := x.task(nil), *x.plan.Probe
			go func() {
				defer t.h.work.Done()
				t.probe(key, probe)
				t.h.mu.Lock()
				delete(t.h.probes, key)
				t.h.mu.Unlock()
				close(p.done)
			}()
		}
		if patience == nil {
			patience = time.NewTimer(gateWait)
			defer patience.Stop()
		}
		select {
		case <-p.done:
		case <-patience.C:
			return verdictUnknown
		case <-x.r.Context().Done():
			return verdictNone
		}
	}
}

// probe asks the site and remembers what its answer shows.
func (t *task) probe(key object.Key, probe profile.Probe) {
	ruling := t.probeRuling(probe)
	v := verdictShared
	switch {
	case ruling.Effect == profile.Gone:
		v = verdictGone
		t.isGone(ruling)
	case ruling.Effect == profile.Next:
		v = verdictUnknown
	case ruling.Effect != profile.Keep:
		v = verdictOwn
		t.h.purge(t.site, t.store, nil, ruling.Groups, false)
	}
	t.h.probed.SetFor(key, v, ruling.For)
}

// probeRuling is what the profile says to the site's answer. No answer is one
// of a server in trouble.
func (t *task) probeRuling(probe profile.Probe) profile.Ruling {
	ctx, cancel := context.WithCancel(t.h.ctx)
	defer cancel()
	header := http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"identity"}, "User-Agent": {agent},
	}
	rfc9111.Via(header, 1, 1, Name)
	status, got, body := http.StatusBadGateway, http.Header{}, []byte(nil)
	ctx = vouch.With(ctx, vouch.Fetch{Neighbour: t.near, Waiting: func(bool) {}})
	resp, err := t.fetch(ctx, t.site.Upstream.URL(probe.Target.Path, probe.Target.Query), header)
	if err == nil {
		defer func() { _ = resp.Body.Close() }() // read as far as is wanted
		status, got = resp.StatusCode, resp.Header
		body, err = io.ReadAll(io.LimitReader(resp.Body, int64(min(probe.Limit, mostProbed))))
		if err != nil {
			status, got, body = http.StatusBadGateway, http.Header{}, nil // half a page shows nothing
		}
	}
	got.Del(profile.Field)
	return t.site.Profile.Probed(t.asking.plan, status, got, body)
}
