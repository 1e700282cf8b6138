package edge

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

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

// exchange is one request on its way to its response.
type exchange struct {
	h     *Handler
	w     http.ResponseWriter
	r     *http.Request
	store *storage.Storage
	site  *Site
	key   object.Key

	path   string // escaped, as the site knows it
	prefix string // what the client's path has before it
	wrote  bool   // the response has begun
	part   *part  // where a fragment fetched for this request lies
	start  time.Time
}

// exchange finds the site that a request is for.
func (h *Handler) exchange(w http.ResponseWriter, r *http.Request) (*exchange, bool) {
	x := &exchange{h: h, w: w, r: r, path: r.URL.EscapedPath(), start: time.Now()}
	if rest, ok := strings.CutPrefix(x.path, pathPrefix); ok {
		name, rest, slash := strings.Cut(rest, "/")
		if s := h.byHost.byName[name]; s != nil {
			x.site, x.prefix, x.path = s, pathPrefix+name, "/"+rest
			if !slash {
				// Without the slash every relative link of the page would miss.
				u := *r.URL
				u.Path, u.RawPath = x.prefix+"/", ""
				http.Redirect(w, r, u.RequestURI(), http.StatusPermanentRedirect)
				x.wrote = true
			}
			return x, true
		}
	}
	x.site = h.byHost.find(r.Host)
	return x, x.site != nil
}

// keyParts is what the object's key is made of. The method is not among them:
// only responses to GET are stored.
func (x *exchange) keyParts() []string {
	parts := []string{x.site.Name, x.path, x.r.URL.RawQuery}
	if x.r.URL.ForceQuery {
		parts[2] = "?"
	}
	if x.site.PreserveHost {
		parts = append(parts, strings.ToLower(x.r.Host))
	}
	return parts
}

// url is what to ask the site for.
func (x *exchange) url() *url.URL { return x.site.Upstream.URL(x.path, x.r.URL.RawQuery) }

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
	rfc9111.Via(h, x.r.ProtoMajor, x.r.ProtoMinor, Name)
	if _, ok := h["User-Agent"]; !ok {
		h.Set("User-Agent", "") // else net/http puts its own
	}
	return h
}

// hasCredentials reports whether the request says who is asking.
func (x *exchange) hasCredentials() bool {
	return x.r.Header.Get("Authorization") != "" || x.r.Header.Get("Cookie") != ""
}

// sitePath turns a path of the upstream's into one of the site's, without the
// upstream's base path; false if it lies outside.
func (x *exchange) sitePath(path string) (string, bool) {
	base := strings.TrimSuffix(x.site.Upstream.URL("/", "").EscapedPath(), "/")
	rest, ok := strings.CutPrefix(path, base)
	if !ok {
		return "", false
	}
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest, true
}

// localise makes a redirect to the site's own address one to this box, so that
// clients stay with it.
func (x *exchange) localise(h http.Header) {
	loc := h.Get("Location")
	if loc == "" {
		return
	}
	u, err := url.Parse(loc)
	if err != nil {
		return
	}
	base := x.site.Upstream.URL("/", "")
	switch {
	case u.Host == "" && strings.HasPrefix(u.Path, "/"):
	case u.Scheme == base.Scheme && u.Host == base.Host && !x.site.PreserveHost:
	default:
		return
	}
	path, ok := x.sitePath(u.EscapedPath())
	if !ok {
		return
	}
	if x.prefix == "" && u.Host == "" {
		return // it is right as it is
	}
	out := x.prefix + path
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		out += "#" + u.EscapedFragment()
	}
	h.Set("Location", out)
}
