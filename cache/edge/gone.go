package edge

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

// What is remembered of what is gone.
const (
	goneFor   = 10 * time.Minute // where the profile does not say
	mostSteps = 16               // of a path that are looked at
)

// gone remembers what a site no longer has, by keyed hashes: a class that opens
// an expired link must not be taken for somebody who guesses links, and what is
// gone must not be served from anywhere. Storage forgets it for good.
func (h *Handler) goneKeys(site string, exact []profile.Target, below []string) []object.Key {
	keys := make([]object.Key, 0, len(exact)+len(below))
	for _, t := range exact {
		keys = append(keys, h.keys.Key("exact", site, t.Path, t.Query))
	}
	for _, path := range below {
		keys = append(keys, h.keys.Key("below", site, strings.Join(steps(path), "/")))
	}
	return keys
}

// steps are the steps of a path in one spelling.
func steps(path string) []string {
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	var out []string
	for s := range strings.SplitSeq(path, "/") {
		if s != "" && s != "." {
			out = append(out, s)
		}
	}
	return out
}

// goneBy takes note that what plan is for is gone, and has it purged. had says
// that something of it was stored, which is forgotten already.
func (h *Handler) goneBy(site *Site, store *storage.Storage, plan profile.Plan, path, query string, ruling profile.Ruling, had bool) {
	exact := plan.Targets
	if len(exact) == 0 {
		exact = []profile.Target{{Path: path, Query: query}}
	}
	for _, k := range h.goneKeys(site.Name, exact, ruling.Groups) {
		h.gone.SetFor(k, struct{}{}, ruling.For)
	}
	// Without groups it is this resource alone, of a link that may well live.
	if plan.Capability != "" && len(ruling.Groups) > 0 {
		h.alive.Forget(h.capabilityKey(site, plan.Capability))
	}
	h.purge(site, store, exact, ruling.Groups, had)
}

// purge has what is stored of exact, and below the paths of below, forgotten
// for good. had says that something of it was forgotten already.
func (h *Handler) purge(site *Site, store *storage.Storage, exact []profile.Target, below []string, had bool) {
	if store == nil || len(exact)+len(below) == 0 {
		return
	}
	marker := store.Marker()
	spec := goneSpec{PurgeSpec: storage.PurgeSpec{Site: site.Name, KeyID: marker.KeyID()}, held: had}
	for _, t := range exact {
		u := t.Path
		if t.Query != "" {
			u += "?" + t.Query
		}
		spec.Marks = append(spec.Marks, marker.Exact(site.Name, u))
	}
	for _, g := range below {
		spec.Marks = append(spec.Marks, marker.Prefix(site.Name, g))
	}
	h.purges.add(h, store, spec)
}

// isGone reports whether what x asks for is known to be gone.
func (x *exchange) isGone() bool {
	p := x.plan
	if p == nil || x.h.gone.Empty() {
		return false
	}
	paths := []string{p.path}
	exact := []profile.Target{{Path: p.path, Query: p.query}}
	if len(p.Targets) > 0 {
		exact[0] = p.Targets[0]
		paths = append(paths, p.Targets[0].Path)
	}
	if p.Folder != nil {
		paths = append(paths, p.Folder.List.Path)
	}
	if p.Anonymous && p.credentials {
		exact = nil // it may be there for this client; a dead link is so for everybody
	}
	return x.h.knowsGone(x.site.Name, exact, paths)
}

// knowsGone reports whether one of exact, or what one of paths lies below, is
// known to be gone.
func (h *Handler) knowsGone(site string, exact []profile.Target, paths []string) bool {
	for _, k := range h.goneKeys(site, exact, nil) {
		if _, ok := h.gone.Get(k); ok {
			return true
		}
	}
	for _, path := range paths {
		all := steps(path)
		for n := 1; n <= min(len(all), mostSteps); n++ {
			if _, ok := h.gone.Get(h.keys.Key("below", site, strings.Join(all[:n], "/"))); ok {
				return true
			}
		}
	}
	return false
}

// answerGone tells the client that what it asks for is no more. cs says how it
// is known.
func (x *exchange) answerGone(cs rfc9111.CacheStatus) {
	if x.neighbour {
		x.onlyIfCached() // it should hear so from somebody whom it can believe
		return
	}
	x.count(resultError)
	x.wrote = true
	cs.Detail = "gone"
	rfc9111.AppendCacheStatus(x.w.Header(), Name, cs)
	x.h.writePage(x.w, x.r, http.StatusNotFound, troubleGone, nil)
}

// purges carries out what goneBy asks for, off the way of who waits.
type purges struct {
	mu      sync.Mutex
	waiting []goneSpec
	store   *storage.Storage
	running bool
	ended   chan struct{} // closed when running becomes false
}

// goneSpec is one purge, and whether something that it means was stored.
type goneSpec struct {
	storage.PurgeSpec
	held bool
}

// purgeWithin bounds one round of purges.
const purgeWithin = 5 * time.Second

// mostPurges bounds what waits. What does not fit is not remembered; the site
// says so again when it is asked again.
const mostPurges = 1000

func (p *purges) add(h *Handler, store *storage.Storage, spec goneSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store != store {
		p.store, p.waiting = store, nil
	}
	if len(p.waiting) >= mostPurges {
		return
	}
	p.waiting = append(p.waiting, spec)
	if p.running || !h.starts() {
		return
	}
	p.running, p.ended = true, make(chan struct{})
	go func() {
		defer h.work.Done()
		p.run(h)
	}()
}

// leave returns once nothing waits any more: the storage may be closed then.
func (p *purges) leave() {
	p.mu.Lock()
	running, ended := p.running, p.ended
	p.mu.Unlock()
	if running {
		<-ended
	}
}

// run purges until nothing waits.
func (p *purges) run(h *Handler) {
	for {
		p.mu.Lock()
		specs, store := p.waiting, p.store
		p.waiting = nil
		if len(specs) == 0 {
			p.running = false
			close(p.ended)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		// Close waits for it: nobody else will know after it what is gone.
		ctx, cancel := context.WithTimeout(context.Background(), purgeWithin)
		err := purgeHeld(ctx, store, specs)
		cancel()
		if err != nil {
			h.log.Warn("what a site no longer has could not be purged", "err", err)
		}
	}
}

// purgeHeld purges what specs mean, if there is anything of it: links that never
// were anything must not fill the list of purges.
func purgeHeld(ctx context.Context, store *storage.Storage, specs []goneSpec) error {
	marks := map[string]map[object.Mark]bool{}
	for _, sp := range specs {
		if marks[sp.Site] == nil {
			marks[sp.Site] = map[object.Mark]bool{}
		}
		for _, m := range sp.Marks {
			marks[sp.Site][m] = true
		}
	}
	id := specs[0].KeyID
	held := map[object.Mark]bool{}
	maybe := map[string]bool{} // sites with something that may be meant
	_, err := store.Objects().Purge(ctx, func(o *object.Object) bool {
		wanted := marks[o.Site]
		if wanted == nil {
			return false
		}
		found := false
		if o.HasMark(id, func(m object.Mark) bool {
			if wanted[m] {
				held[m], found = true, true
			}
			return false
		}) && !found {
			maybe[o.Site] = true
		}
		return false // only looked at
	})
	if err != nil {
		return err
	}
	var meant []storage.PurgeSpec
	for _, sp := range specs {
		hit := sp.held || maybe[sp.Site]
		for _, m := range sp.Marks {
			hit = hit || held[m]
		}
		if hit {
			meant = append(meant, sp.PurgeSpec)
		}
	}
	if len(meant) == 0 {
		return nil
	}
	_, err = store.Purge(ctx, meant)
	return err
}
