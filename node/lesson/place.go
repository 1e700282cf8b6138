package lesson

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"preau/cache/profile"
	"preau/node/explain"
	"preau/node/front"
)

// ownHost is the name under which the box asks itself: none that a site can have.
const ownHost = "lesson.preau.invalid"

// Place is where something is that a lesson needs: of which site, and how this box
// is asked for it.
type Place struct {
	Site    string
	Profile string
	Host    string // to ask the box under
	Path    string // to ask the box for: escaped, /o/SITE/… where the site has no name here
	Query   string

	path  string // as the site knows it
	rules *profile.Profile
	plan  profile.Plan
}

// URL is how pages of the box link to the place. A site that goes by a name of its
// own here is met under that.
func (p Place) URL() string {
	u := p.Path
	if p.Query != "" {
		u += "?" + p.Query
	}
	if p.Host != ownHost {
		return "//" + p.Host + u
	}
	return u
}

// Sites knows the sites of a box and finds places in them.
type Sites struct {
	all   []front.Site
	rules map[string]*profile.Profile
}

// NewSites reads the sites' profiles.
func NewSites(all []front.Site) (*Sites, error) {
	s := &Sites{all, map[string]*profile.Profile{}}
	for _, site := range all {
		rules, err := site.Rules()
		if err != nil {
			return nil, fmt.Errorf("lessons: site %s: %w", site.Name, err)
		}
		s.rules[site.Name] = rules
	}
	return s, nil
}

// Find returns the place that a link leads to. Errors: explain.ErrURL,
// explain.ErrNoSite.
func (s *Sites) Find(link string) (Place, error) {
	link = strings.TrimSpace(link)
	if !strings.Contains(link, "://") && !strings.HasPrefix(link, "/") {
		link = "https://" + link // as people write it
	}
	a, err := explain.Ask(s.all, explain.Question{URL: link})
	if err != nil {
		return Place{}, err
	}
	u, err := url.Parse(link)
	if err != nil {
		return Place{}, fmt.Errorf("%w (%w)", explain.ErrURL, err)
	}
	if strings.Contains(u.EscapedPath(), "/../") || strings.HasSuffix(u.EscapedPath(), "/..") {
		return Place{}, fmt.Errorf("%w: it climbs", explain.ErrURL)
	}
	for _, site := range s.all {
		if site.Name != a.Site {
			continue
		}
		up, err := site.UpstreamURL()
		if err != nil {
			return Place{}, fmt.Errorf("site %s: %w", site.Name, err)
		}
		path, host := u.EscapedPath(), ""
		base := strings.TrimSuffix(up.EscapedPath(), "/")
		switch rest, own := strings.CutPrefix(path, "/o/"+site.Name); {
		case own && (rest == "" || rest[0] == '/'):
			path = rest
		case strings.EqualFold(u.Host, up.Host):
			path = strings.TrimPrefix(path, base)
		case u.Host != "":
			host = u.Host
		}
		return s.place(site, host, path, u.RawQuery), nil
	}
	return Place{}, explain.ErrNoSite
}

// place is a path of a site. host is the site's name here by which it was asked
// for, if it was.
func (s *Sites) place(site front.Site, host, path, query string) Place {
	if path == "" {
		path = "/"
	}
	p := Place{Site: site.Name, Profile: site.Profile, Host: ownHost, Path: "/o/" + site.Name + path, Query: query, path: path, rules: s.rules[site.Name]}
	if site.PreserveHost {
		// What is stored is stored for the name that was used.
		if host == "" {
			for _, name := range site.Hosts {
				if !strings.HasPrefix(name, "*") {
					host = name
					break
				}
			}
		}
		if host != "" {
			p.Host, p.Path = host, path
		}
	}
	p.plan = p.rules.Request(profile.Request{Method: http.MethodGet, Path: path, Query: query, Header: http.Header{}})
	return p
}

// at is another path of the same site.
func (s *Sites) at(p Place, path, query string) Place {
	for _, site := range s.all {
		if site.Name == p.Site {
			host := ""
			if p.Host != ownHost {
				host = p.Host
			}
			return s.place(site, host, path, query)
		}
	}
	return p
}

// from is where a reference on p leads (RFC 3986 section 5), if that is the same
// site.
func (s *Sites) from(p Place, ref string) (Place, bool) {
	r, err := url.Parse(strings.TrimSpace(ref))
	if err != nil || r.Opaque != "" || r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		return Place{}, false
	}
	if r.Host != "" {
		if r.Scheme == "" {
			r.Scheme = "https"
		}
		q, err := s.Find(r.String())
		return q, err == nil && q.Site == p.Site
	}
	// What a page names from its root is, where it was asked for as /o/SITE/…, the
	// box's root: the box writes it so in the fields of answers.
	if rest, ok := strings.CutPrefix(r.EscapedPath(), "/o/"+p.Site+"/"); ok {
		return s.at(p, "/"+rest, r.RawQuery), true
	}
	base := url.URL{Path: "/"}
	if u, err := url.Parse(p.path); err == nil {
		base = *u
	}
	base.RawQuery = p.Query
	out := base.ResolveReference(r)
	return s.at(p, out.EscapedPath(), out.RawQuery), true
}

// refused is why nothing can be done with a link that is not found.
func refused(err error) Reason {
	if errors.Is(err, explain.ErrNoSite) {
		return ReasonNotSite
	}
	return ReasonNoLink
}
