package edge

import (
	"net/http"
	"slices"
	"strings"

	"preau/cache/profile"
	"preau/cache/rfc9111"
)

// Profile is what is asked about a site's platform: a *profile.Profile.
type Profile interface {
	// Request says what is done with a request.
	Request(profile.Request) profile.Plan
	// Response says what an answer means that a plan brought.
	Response(profile.Request, profile.Plan, profile.Response) profile.Ruling
	// Reads is how many bytes of a body Response wants to see.
	Reads(status int, header http.Header) int
	// Probed says what the answer to a plan's probe means.
	Probed(plan profile.Plan, status int, header http.Header, body []byte) profile.Ruling
	// Rules are what rfc9111 may settle for a response that was stored with
	// that header.
	Rules(base rfc9111.Rules, stored http.Header) rfc9111.Rules
}

// RulesFor are the rules for a response with that header, as it is stored.
func (s *Site) RulesFor(header http.Header) rfc9111.Rules {
	if s.Profile == nil {
		return s.Rules
	}
	return s.Profile.Rules(s.Rules, header)
}

// planned is a request as the client sent it, and what its site's profile says
// of it. It is not changed once it is made.
type planned struct {
	profile.Plan
	asked       profile.Request
	r           *http.Request
	path, query string
	force       bool // the URL ends in a bare question mark
	credentials bool // the client's request says who asks
}

// plan asks the site's profile, if it has one, about the request.
func (x *exchange) planRequest() {
	if x.site.Profile == nil {
		return
	}
	p := &planned{r: x.r, path: x.path, query: x.query, force: x.force, credentials: x.hasCredentials()}
	p.asked = profile.Request{Method: x.r.Method, Path: x.path, Query: x.query, Header: x.r.Header}
	p.Plan = x.site.Profile.Request(p.asked)
	if !x.sound(p.Plan) {
		p.Do = profile.Pass
	}
	x.plan = p
}

// sound reports whether a plan can be carried out: what it asks for is of the
// site.
func (x *exchange) sound(p profile.Plan) bool {
	var all []profile.Target
	switch p.Do {
	case profile.Share:
		all = p.Targets
	case profile.Archive:
		if p.Folder == nil {
			return false
		}
		all = append([]profile.Target{p.Folder.List}, p.Targets...)
	default:
		return true
	}
	for _, t := range all {
		if !strings.HasPrefix(t.Path, "/") || x.leaves(t.Path) {
			return false
		}
	}
	return len(all) > 0
}

// share makes the exchange one for what the plan's first target has, asked for
// by nobody in particular. pass turns it back.
func (x *exchange) share() {
	t := x.plan.Targets[0]
	r := x.plan.r.WithContext(x.plan.r.Context())
	r.Header = anonymous(x.plan.r.Header)
	if x.plan.Capability != "" {
		// What is behind a link is one thing. Nextcloud makes a zip file of a folder
		// for who says that it takes one, without a Vary.
		r.Header["Accept"] = []string{"*/*"}
	}
	if !x.neighbour && !x.proves {
		withinLease(r.Header)
	}
	x.r, x.path, x.query, x.force, x.shared = r, t.Path, t.Query, false, true
	x.identity()
	x.key = x.store.Key(x.keyParts()...)
}

// own makes the exchange the client's own again: what it asked for, as who it
// is.
func (x *exchange) own() {
	if !x.shared {
		return
	}
	p := x.plan
	x.r, x.path, x.query, x.force, x.shared = p.r, p.path, p.query, p.force, false
	x.key = [32]byte{} // nothing is stored under it
}

// ownDiffers reports whether the client asked for something else, or as
// somebody: then the answer to the shared request is not the one it would get.
func (x *exchange) ownDiffers() bool {
	p := x.plan
	return p.credentials || p.path != p.Targets[0].Path || p.query != p.Targets[0].Query
}

// passRule is the rule by which the request is passed, if there is one.
func (x *exchange) passRule() string {
	if x.plan == nil || x.plan.Do != profile.Pass {
		return ""
	}
	return x.plan.Name
}

// notForMe reports whether an answer that anybody got says nothing about what
// this client gets.
func (x *exchange) notForMe(status int) bool {
	return x.shared && x.plan.Anonymous && x.plan.credentials && status >= http.StatusMultipleChoices
}

// sameForAll are the fields of a request that may go out with one that is made
// for everybody. Whatever is not known to say nothing about who asks stays here:
// a list of what does would never be complete.
var sameForAll = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Pragma", "Origin",
	"Range", "If-Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since",
	"Via", "Cdn-Loop", "Max-Forwards", "Want-Repr-Digest",
}

// agent is what a request for everybody says it comes from. Platforms have been
// seen to answer by User-Agent without saying so in Vary (the names of
// downloads), so it is always the same.
const agent = "Mozilla/5.0 (compatible; Preau)"

// anonymous is the header of a request for everybody.
func anonymous(h http.Header) http.Header {
	out := make(http.Header, len(sameForAll))
	for _, name := range sameForAll {
		if v := h[name]; len(v) > 0 {
			out[name] = v
		}
	}
	out["User-Agent"] = []string{agent}
	return out
}

// withinLease takes out of a device's request what would have a stored response
// used for longer than its profile allows: how old a copy of somebody's share may
// be is not for its readers to say (RFC 9111 §5.2.1 leaves it to caches).
func withinLease(h http.Header) {
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for d := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(d), "=")
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "max-stale" && name != "stale-if-error" {
				kept = append(kept, strings.TrimSpace(d))
			}
		}
	}
	delete(h, "Cache-Control")
	if len(kept) > 0 {
		h["Cache-Control"] = []string{strings.Join(kept, ", ")}
	}
}

// listed reports whether what x asks for may be listed by its path.
func (x *exchange) listed() bool {
	if x.plan == nil {
		return true
	}
	return x.plan.Capability == "" && (x.plan.Listed || !x.shared)
}

// addCookies adds what the site would have set for this very request.
func (x *exchange) addCookies(h http.Header) {
	if x.shared && !x.neighbour && len(x.plan.Cookies) > 0 {
		h["Set-Cookie"] = append(slices.Clip(h["Set-Cookie"]), x.plan.Cookies...)
	}
}

// name adds the name under which the answer is saved, where it is kept without.
func (x *exchange) name(h http.Header, status int) {
	if x.shared && !x.neighbour && status == http.StatusOK && x.plan.Disposition != "" {
		h["Content-Disposition"] = []string{x.plan.Disposition}
	}
}

// told answers where the profile says of what a flight found that it is nothing for
// x to share: the site no longer has it, or it is everybody's own. If it returns
// false, x has not been answered.
func (x *exchange) told(f *flight, leader bool, fwd string) bool {
	switch {
	case f.gone && !(f.live && x.plan.Anonymous && x.plan.credentials):
		x.answerGone(rfc9111.CacheStatus{Fwd: fwd})
		return true
	case f.gone:
	case f.own:
		if leader && !x.ownDiffers() && !x.neighbour {
			if resp := f.take(true); resp != nil { //nolint:bodyclose // relayed, and closed there
				x.relay(resp, fwd, f.source)
				return true
			}
		}
	case f.object != nil && x.notForMe(f.object.Status):
	default:
		return false
	}
	x.pass(fwd, x.plan.Name)
	return true
}
