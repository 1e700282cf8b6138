package edge

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"preau/cache/fill"
	"preau/cache/object"
	"preau/cache/rfc9111"
	"preau/cache/storage"
)

// pathPrefix opens the path under which a site without a host name of its own
// is met: /o/NAME/…
const pathPrefix = "/o/"

// hosts finds the site for a host name.
type hosts struct {
	exact  map[string]*Site
	below  map[string]*Site // "*.example.org" under "example.org"
	others *Site            // "*"
	byName map[string]*Site
}

func newHosts(sites []*Site) (hosts, error) {
	h := hosts{exact: map[string]*Site{}, below: map[string]*Site{}, byName: map[string]*Site{}}
	for _, s := range sites {
		if h.byName[s.Name] != nil {
			return h, fmt.Errorf("edge: two sites are named %q", s.Name)
		}
		h.byName[s.Name] = s
		for _, name := range s.Hosts {
			name = strings.ToLower(name)
			into, key := h.exact, name
			switch {
			case name == "*":
				if h.others != nil {
					return h, fmt.Errorf("edge: sites %q and %q both answer for every host", h.others.Name, s.Name)
				}
				h.others = s
				continue
			case strings.HasPrefix(name, "*."):
				into, key = h.below, name[2:]
			}
			if into[key] != nil {
				return h, fmt.Errorf("edge: sites %q and %q both answer for %q", into[key].Name, s.Name, name)
			}
			into[key] = s
		}
	}
	return h, nil
}

// find returns the site for a Host field.
func (h hosts) find(host string) *Site {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if s := h.exact[host]; s != nil {
		return s
	}
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return h.others
		}
		rest = rest[i+1:]
		if s := h.below[rest]; s != nil {
			return s
		}
	}
}

// Owns reports whether a host name was given to one site, whose alone it is. A
// site that answers for every name owns none.
func (h *Handler) Owns(host string) bool {
	s := h.byHost.find(host)
	return s != nil && s != h.byHost.others
}

// exchange is one request on its way to its response.
type exchange struct {
	h     *Handler
	w     http.ResponseWriter
	r     *http.Request
	store *storage.Storage
	site  *Site
	key   object.Key

	path   string     // escaped, as the site knows it
	query  string     // raw
	force  bool       // the URL ends in a bare question mark
	prefix string     // what the client's path has before it
	wrote  bool       // the response has begun
	varied bool       // a flight brought another variant: it is not joined again
	wanted bool       // it was counted: see wants
	part   *part      // where a fragment fetched for this request lies
	body   *fill.Body // the body that a flight opened for this request, held by the flight
	start  time.Time

	vouches   bool // digests are wanted in place of the body
	proves    bool // a proof is wanted
	neighbour bool // another box of the school asks
	device    bool // nobody who keeps what others are sent

	cookies []string // Set-Cookie that the site sent this client and nobody else

	plan    *planned // what the site's profile says; nil without one
	shared  bool     // the exchange is for what anybody may have: r, path and query are not the client's own
	entered bool     // see enter
	gate    *gate    // that opens with this exchange
}

// exchange finds the site that a request is for.
func (h *Handler) exchange(w http.ResponseWriter, r *http.Request, as exchange) (*exchange, bool) {
	x := &as
	x.h, x.w, x.r, x.path, x.start = h, w, r, r.URL.EscapedPath(), time.Now()
	x.query, x.force = r.URL.RawQuery, r.URL.ForceQuery
	if x.path == "" { // of http://host, without a slash (RFC 9110 §4.2.3)
		x.path = "/"
	}
	site, prefix, path := h.byHost.route(r.Host, x.path)
	if prefix != "" && path == "" {
		// Without the slash every relative link of the page would miss.
		u := *r.URL
		u.Path, u.RawPath = prefix+"/", ""
		http.Redirect(w, r, u.RequestURI(), http.StatusPermanentRedirect)
		x.wrote = true
	}
	x.site, x.prefix, x.path = site, prefix, path
	return x, x.site != nil
}

// route finds the site that a path under a host is for, and the path as the site
// knows it; prefix is what the client's has before it. The site is nil if there is
// none, and the path empty of /o/NAME without a slash.
func (h hosts) route(host, path string) (site *Site, prefix, rest string) {
	own := h.find(host)
	// A host that was given to one site is that site's alone: another's pages
	// under it would get its cookies and read its pages.
	if named, ok := strings.CutPrefix(path, pathPrefix); ok && (own == nil || own == h.others || own.Name == firstSegment(named)) {
		name := firstSegment(named)
		if s := h.byName[name]; s != nil {
			return s, pathPrefix + name, named[len(name):]
		}
	}
	return own, "", path
}

func firstSegment(path string) string {
	name, _, _ := strings.Cut(path, "/")
	return name
}

// keyParts is what the object's key is made of. The method is not among them:
// only responses to GET are stored.
func (x *exchange) keyParts() []string {
	parts := []string{x.site.Name, x.path, x.query}
	if x.force {
		parts[2] = "?"
	}
	switch {
	case x.site.PreserveHost:
		parts = append(parts, strings.ToLower(x.r.Host))
	case x.shared:
		parts = append(parts, "")
	}
	if x.shared {
		// What was asked for by nobody is kept apart from what was not: a site's
		// profile may be another tomorrow.
		parts = append(parts, "for everybody")
	}
	return parts
}

// url is what to ask the site for.
func (x *exchange) url() *url.URL {
	u := x.site.Upstream.URL(x.path, x.query)
	u.ForceQuery = x.force
	return u
}

// host is the name to ask the site under.
func (x *exchange) host() string {
	if x.site.PreserveHost {
		return x.r.Host
	}
	return x.url().Host
}

// forwardHeader is the request's header as it goes to the site.
func (x *exchange) forwardHeader() http.Header {
	h := x.r.Header.Clone()
	rfc9111.StripHopByHop(h)
	dropForwarded(h)
	rfc9111.Via(h, x.r.ProtoMajor, x.r.ProtoMinor, Name)
	if _, ok := h["User-Agent"]; !ok {
		h.Set("User-Agent", "") // else net/http puts its own
	}
	return h
}

// dropForwarded removes what tells where a request comes from, which whoever
// stands before the box may have added.
func dropForwarded(h http.Header) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		h.Del(name)
	}
}

// hasCredentials reports whether the request says who is asking.
func (x *exchange) hasCredentials() bool {
	return x.r.Header.Get("Authorization") != "" || x.r.Header.Get("Cookie") != ""
}
