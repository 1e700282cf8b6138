package locate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxURL bounds what is looked at of a URL.
const maxURL = 8 << 10

// ErrRefused is a URL that nobody is sent to.
var ErrRefused = errors.New("the URL is none of a listed site")

// Site is a web site that devices may be sent to, or to a box for.
type Site struct {
	Name     string   `toml:"name" doc:"The name that the boxes have for it in their own files."`
	Upstream string   `toml:"upstream" doc:"Where the site really is: http:// or https://, a host, perhaps a port and a path."`
	Hosts    []string `toml:"hosts" doc:"More host names of the site, on the usual ports: exact, or \"*.example.org\" for every name below example.org."`
}

// Sites are the sites that may be asked for.
type Sites struct {
	exact map[string][]place // by host
	below []place            // by the host's end
}

// place is one way to name a site.
type place struct {
	site   string
	suffix string // of hosts, with its dot
	// scheme and port are the site's own; empty for one of its further names, where
	// the usual ones go.
	scheme, port string
	host         string
	base         string // what comes before the site's paths
}

// Target is where a device wants to go, in parts that are safe to put together.
type Target struct {
	Site string
	scheme, host,
	path, // within the site, escaped
	base, // before it
	tail string // ?query#fragment
}

// Origin is the URL itself.
func (t Target) Origin() string { return t.scheme + "://" + t.host + t.base + t.path + t.tail }

// On is the same on a box.
func (t Target) On(b Announcement) string {
	host, prefix := b.Host, "/o/"+t.Site
	if own, ok := b.Hosts[t.Site]; ok {
		host, prefix = own, ""
	}
	if b.Port != 443 {
		host = fmt.Sprintf("%s:%d", host, b.Port)
	}
	return "https://" + host + prefix + t.path + t.tail
}

// NewSites reads a list of sites. Two may not be told apart by nothing.
func NewSites(list []Site) (*Sites, error) {
	s := &Sites{exact: map[string][]place{}}
	var errs []error
	for _, site := range list {
		errs = append(errs, s.add(site))
	}
	// Of several sites on one host the one with the longest base is meant.
	for _, places := range s.exact {
		slices.SortStableFunc(places, func(a, b place) int { return len(b.base) - len(a.base) })
	}
	slices.SortStableFunc(s.below, func(a, b place) int { return len(b.suffix) - len(a.suffix) })
	return s, errors.Join(errs...)
}

func (s *Sites) add(site Site) error {
	if !isSite(site.Name) {
		return fmt.Errorf("%q will not do for a site's name: use small letters, digits and hyphens, at most 40", site.Name)
	}
	u, err := url.Parse(site.Upstream)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf(`site %s: its upstream is not a web address like "https://library.example.org"`, site.Name)
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if _, err := netip.ParseAddr(host); err != nil && !isHost(host) {
		return fmt.Errorf("site %s: %q is no host name", site.Name, host)
	}
	base, err := canonicalPath(u.EscapedPath())
	if err != nil {
		return fmt.Errorf("site %s: its upstream: %w", site.Name, err)
	}
	s.put(host, place{site: site.Name, scheme: u.Scheme, port: portOf(u), base: strings.TrimSuffix(base, "/")})
	for _, name := range site.Hosts {
		suffix, wild := strings.CutPrefix(name, "*")
		switch {
		case name == "*":
			// A box answers for every name. That says of none that it is the site's.
		case wild && strings.HasPrefix(suffix, ".") && strings.Count(suffix, ".") > 1 && isHost(suffix[1:]):
			s.below = append(s.below, place{site: site.Name, suffix: suffix})
		case isHost(name) && !wild:
			if name != host {
				s.put(name, place{site: site.Name})
			}
		default:
			if _, err := netip.ParseAddr(name); err == nil {
				s.put(name, place{site: site.Name})
				continue
			}
			return fmt.Errorf(`site %s: %q is no host name, nor "*.example.org"`, site.Name, name)
		}
	}
	return nil
}

func (s *Sites) put(host string, p place) {
	p.host = host
	s.exact[host] = append(s.exact[host], p)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return usualPort(u.Scheme)
}

func usualPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// Parse reads the URL that somebody wants to go to. The error matches ErrRefused.
func (s *Sites) Parse(raw string) (Target, error) {
	refuse := func(why string) (Target, error) { return Target{}, fmt.Errorf("%w: %s", ErrRefused, why) }
	switch {
	case raw == "":
		return refuse("there is none")
	case len(raw) > maxURL:
		return refuse("it is too long")
	case !utf8.ValidString(raw):
		return refuse("it is not in UTF-8")
	case strings.IndexFunc(raw, forbidden) >= 0:
		// Browsers read a backslash as a slash, and leave out line ends.
		return refuse("it holds a character that no URL has")
	}
	u, err := url.Parse(escapeForeign(raw))
	switch {
	case err != nil:
		return refuse("it can't be read")
	case u.Scheme != "http" && u.Scheme != "https", u.Opaque != "":
		return refuse("it is no web address")
	case u.User != nil:
		return refuse("it holds a user name")
	case u.Host == "":
		return refuse("it has no host")
	}
	path, err := canonicalPath(u.EscapedPath())
	if err != nil {
		return refuse("its path can't be read")
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	p, ok := s.find(host, u.Scheme, portOf(u), path)
	if !ok {
		return refuse("no site of that address is listed")
	}
	t := Target{Site: p.site, scheme: u.Scheme, host: host, base: p.base, path: strings.TrimPrefix(path, p.base), tail: tailOf(u)}
	if p.scheme != "" {
		t.scheme = p.scheme
	}
	if strings.Contains(host, ":") {
		t.host = "[" + host + "]"
	}
	if p.port != "" && p.port != usualPort(t.scheme) {
		t.host = net.JoinHostPort(host, p.port)
	}
	if t.path == "" {
		t.path = "/"
	}
	return t, nil
}

// find is the site at that place.
func (s *Sites) find(host, scheme, port, path string) (place, bool) {
	usual := port == usualPort(scheme)
	for _, p := range s.exact[host] {
		own := p.port != "" && (port == p.port && scheme == p.scheme || usual && p.port == usualPort(p.scheme))
		if !own && (p.port != "" || !usual) {
			continue
		}
		if rest, ok := strings.CutPrefix(path, p.base); ok && (rest == "" || rest[0] == '/') {
			return p, true
		}
	}
	for _, p := range s.below {
		if usual && strings.HasSuffix(host, p.suffix) && isHost(host) {
			return p, true
		}
	}
	return place{}, false
}

// forbidden are characters that no URL has, and that programs disagree about.
func forbidden(r rune) bool {
	return r <= ' ' || r == 0x7f || r == '\\' || r == utf8.RuneError || r >= 0x80 && r <= 0x9f || r == 0x2028 || r == 0x2029
}

// escapeForeign escapes what is not ASCII, as browsers do, and what would end a
// quoted text.
func escapeForeign(s string) string {
	const hexDigits = "0123456789ABCDEF"
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf || strings.ContainsRune("\"<>`", r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || strings.IndexByte("\"<>`", c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// canonicalPath takes the dot segments out of a path (RFC 3986 §5.2.4): a browser
// does so with what it is sent, and would leave the site by them. To a browser
// %2e is a dot (WHATWG URL, single-dot and double-dot URL path segments).
func canonicalPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	if path[0] != '/' {
		return "", errors.New("it does not begin with a slash")
	}
	segments := strings.Split(path[1:], "/")
	out := make([]string, 0, len(segments))
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, segment)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), nil
}

// tailOf is what comes after the path.
func tailOf(u *url.URL) string {
	tail := ""
	if u.RawQuery != "" || u.ForceQuery {
		tail = "?" + u.RawQuery
	}
	if f := u.EscapedFragment(); f != "" {
		tail += "#" + f
	}
	return tail
}
