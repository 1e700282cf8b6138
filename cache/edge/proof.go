package edge

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/parent"
	"preau/cache/rfc9111"
	"preau/cache/vouch"
)

// purgeSlack is by how much the clock of who signs a proof may be ahead of this
// one's without a purge being missed for it.
const purgeSlack = time.Hour

// serveProof answers with the proof of o, and with the digests of its blocks in
// place of its body; or that there is none.
func (x *exchange) serveProof(o *object.Object) bool {
	x.clear()
	proof, list, err := x.proofOf(o)
	if err != nil {
		x.h.log.DebugContext(x.r.Context(), "nothing can be proven", "site", x.site.Name, "err", err)
		x.onlyIfCached()
		return true
	}
	h := x.w.Header()
	vouch.SetProof(h, proof)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", contentLength(int64(len(list))))
	rfc9111.AppendCacheStatus(h, Name, rfc9111.CacheStatus{Hit: true, Detail: sourceLocal})
	x.begin(http.StatusOK, resultHit)
	n, err := x.w.Write(list)
	x.sent(sourceLocal, int64(n))
	x.finish(err)
	return true
}

// proofOf returns the proof of o and the list that belongs to it: for peers one
// that is made now, for neighbours the one that was kept.
func (x *exchange) proofOf(o *object.Object) (proof, list []byte, err error) {
	if !provable(o) {
		return nil, nil, vouch.ErrOther
	}
	if list, err = x.listOf(o); err != nil {
		return nil, nil, err
	}
	if x.neighbour {
		if proof, err = x.store.Objects().Proof(o); err == nil && proof == nil {
			err = parent.ErrUnproven
		}
		return proof, list, err
	}
	// Nothing that somebody in particular asked for is anybody's.
	if x.h.proofs.signer == nil || x.hasCredentials() {
		return nil, nil, parent.ErrUnproven
	}
	now := time.Now()
	header := o.Header.Clone()
	vouch.Strip(header)
	rfc9111.Via(header, 1, 1, Name)
	rfc9111.SetAge(header, response(o).CurrentAge(now))
	marker := x.store.Marker()
	url := strings.TrimPrefix(x.r.URL.EscapedPath(), x.prefix)
	if x.r.URL.RawQuery != "" || x.r.URL.ForceQuery {
		url += "?" + x.r.URL.RawQuery
	}
	proof, err = vouch.Prove(vouch.Statement{
		Site: x.site.Name, Name: marker.Name(x.site.Name, url), KeyID: uint32(marker.KeyID()),
		VaryNames: o.VaryNames, VaryKey: o.VaryKey, Status: o.Status, Header: header, Length: max(0, o.Length),
		List: sha256.Sum256(list), At: now.Unix(),
	}, x.h.proofs.signer)
	return proof, list, err
}

// listOf is the list of digests of the blocks of a complete object.
func (x *exchange) listOf(o *object.Object) ([]byte, error) {
	m, err := x.store.Objects().Manifest(o)
	if err != nil {
		return nil, err
	}
	if !m.Complete() || block.NumBlocks(m.Length) > vouch.MaxProvenBlocks {
		return nil, vouch.ErrTooLong
	}
	return vouch.List(m.Length, m.Blocks)
}

// provable reports whether a proof may be made or used of o: it is whole, and
// nothing is doubted about it or told by it of who asked for it.
func provable(o *object.Object) bool {
	return o.Complete && !o.Fragment && o.Doubt == object.NoDoubt && o.Status >= 200 && o.Status < 500 && !tellsWho(o.VaryNames)
}

func tellsWho(vary []string) bool {
	return slices.ContainsFunc(vary, func(name string) bool {
		return name == "Cookie" || name == "Authorization" || name == "Proxy-Authorization"
	})
}

// says reports an error unless s is about the response to req.
func (h *Handler) says(s vouch.Statement, site *Site, req *http.Request, marker object.Marker) error {
	key, ok := parent.Key(req, site.Upstream.URL("/", ""))
	switch {
	case !ok:
		return fmt.Errorf("%w: it is not for other caches", vouch.ErrOther)
	case s.Site != site.Name:
		return fmt.Errorf("%w: it is of another site", vouch.ErrOther)
	case s.KeyID != uint32(marker.KeyID()):
		return fmt.Errorf("%w: it names the URL by another key", vouch.ErrOther)
	case s.Name != marker.Name(site.Name, key):
		return fmt.Errorf("%w: it is of another URL", vouch.ErrOther)
	}
	header := req.Header
	if header.Get("Accept-Encoding") == "" {
		header = header.Clone()
		header.Set("Accept-Encoding", "identity") // as other caches are asked
	}
	if tellsWho(s.VaryNames) || s.VaryKey != rfc9111.VaryKey(s.VaryNames, header) {
		return fmt.Errorf("%w: it is of another variant", vouch.ErrOther)
	}
	return nil
}

// accepts returns what says whether a proof is good for req; nil if none is.
func (t *task) accepts(req *http.Request) func([]byte) (vouch.Statement, error) {
	checker := t.h.proofs.checker
	if checker == nil {
		return nil
	}
	return func(proof []byte) (vouch.Statement, error) {
		s, err := vouch.Proven(proof, checker)
		if err == nil {
			err = t.h.says(s, t.site, req, t.store.Marker())
		}
		if err != nil {
			return s, err
		}
		now := time.Now()
		s.Header = s.Header.Clone()
		rfc9111.SetAge(s.Header, ageOf(s, now))
		if err := t.usable(s, req, now); err != nil {
			return s, err
		}
		if s.Status < 200 || s.Status >= 500 {
			return s, fmt.Errorf("%w: status %d", vouch.ErrOther, s.Status)
		}
		return s, nil
	}
}

// ageOf is how old the response is now: as old as it was when the proof was
// signed, and what has passed since.
func ageOf(s vouch.Statement, now time.Time) time.Duration {
	var age time.Duration
	if n, err := strconv.ParseInt(s.Header.Get("Age"), 10, 64); err == nil && n > 0 {
		age = time.Duration(min(n, int64(longestAge/time.Second))) * time.Second
	}
	return min(age+max(0, now.Sub(s.Time())), longestAge)
}

const longestAge = 100 * 365 * 24 * time.Hour

// usable reports an error unless what s says, with its age of now, could be used
// if it had been stored then: nothing was purged since, and it may be served
// without the site's word.
func (t *task) usable(s vouch.Statement, req *http.Request, now time.Time) error {
	o := &object.Object{
		Site: t.site.Name, Status: s.Status, Header: s.Header, RequestTime: now.Add(-purgeSlack), ResponseTime: now,
		VaryNames: s.VaryNames, VaryKey: s.VaryKey, Length: s.Length,
	}
	o.SetMarks(t.store.Marker(), t.path, t.query)
	if t.store.Purged(o) {
		return fmt.Errorf("%w: it is older than a purge", vouch.ErrOther)
	}
	o.RequestTime = now
	d := rfc9111.Decide(t.client, response(o), now, t.site.RulesFor(s.Header))
	if d.Use == rfc9111.Validate && !d.MayServe(rfc9111.Disconnected, now) {
		return fmt.Errorf("%w: it is %s, and may not be used without the site's word", vouch.ErrOther, d.Reason)
	}
	validates := req.Header.Get("If-None-Match") != "" || req.Header.Get("If-Modified-Since") != ""
	if validates && t.prior != nil && response(t.prior).CurrentAge(now) <= d.Age {
		return fmt.Errorf("%w: what is here is newer", vouch.ErrOther)
	}
	return nil
}

// nearby reports whether a neighbour may have, with a proof, what can't be
// fetched.
func (x *exchange) nearby() bool { return x.h.nearby(x.site, x.neighbour) }

func (h *Handler) nearby(site *Site, forNeighbour bool) bool {
	if h.proofs.checker == nil || forNeighbour {
		return false
	}
	n, ok := site.Upstream.(interface{ Near() bool })
	return ok && n.Near()
}

// ready returns what is closed while it makes sense to fetch from a site, or from
// a neighbour that can prove what it has of it.
func (h *Handler) ready(site *Site, forNeighbour bool) <-chan struct{} {
	if h.nearby(site, forNeighbour) {
		now := make(chan struct{})
		close(now)
		return now
	}
	return site.Upstream.Up()
}
