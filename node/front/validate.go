package front

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"preau/cache/profile"
	"preau/cache/upstream"
	"preau/node/config"
)

var (
	siteName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	// rendition is a height in lines, such as 480p.
	rendition = regexp.MustCompile(`^[1-9][0-9]{1,3}p$`)
	hostName  = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
)

// ValidateSites finds every mistake in sites, each under its key in the file.
// The addresses are where the node itself listens.
func ValidateSites(p *config.Problems, sites []Site, profiles, addresses []string) {
	names, hosts := map[string]string{}, map[string]string{}
	for i, s := range sites {
		key := config.Item("site", i)
		switch other, taken := names[s.Name]; {
		case s.Name == "":
			p.Addf(key+".name", `is missing: write a short name, like "library"`)
		case !siteName.MatchString(s.Name):
			p.Addf(key+".name", "%q will not do: use small letters, digits and hyphens, at most 40", s.Name)
		case taken:
			p.Addf(key+".name", "%q is taken by %s: each site needs a name of its own", s.Name, other)
		default:
			names[s.Name] = key
		}
		validateUpstream(p, key+".upstream", s.Upstream, addresses)
		for j, host := range s.Hosts {
			hostKey := config.Item(key+".hosts", j)
			if problem := hostProblem(host); problem != "" {
				p.Addf(hostKey, "%q %s", host, problem)
			} else if other, taken := hosts[host]; taken {
				p.Addf(hostKey, "%q is taken by %s: a name leads to one site", host, other)
			} else {
				hosts[host] = key
			}
		}
		if !slices.Contains(profiles, s.Profile) {
			p.Addf(key+".profile", "%q is unknown: the profiles are %s", s.Profile, strings.Join(profiles, ", "))
		}
		validateRules(p, key, s)
		if s.StaleWhenDown < 0 {
			p.Addf(key+".stale_when_down", "cannot be negative: write 0s for never")
		}
		if s.MaxFetches < 0 {
			p.Addf(key+".max_fetches", "cannot be negative: write 0 for no bound")
		}
		if s.FetchesPerMinute < 0 {
			p.Addf(key+".fetches_per_minute", "cannot be negative: write 0 for no bound")
		}
		if s.Forwarded != upstream.ForwardedNone && s.Forwarded != upstream.ForwardedBox {
			p.Addf(key+".forwarded", "%q is unknown: write none or box", s.Forwarded)
		}
		if s.Rendition != "" && (!rendition.MatchString(s.Rendition) || s.Profile != "peertube") {
			p.Addf(key+".rendition", "%q will not do: write a height like \"480p\" for a site with the profile peertube, or \"\" for all renditions", s.Rendition)
		}
		if !strings.HasPrefix(s.ProbePath, "/") || strings.ContainsAny(s.ProbePath, "# \r\n\t") {
			p.Addf(key+".probe_path", "%q is not a path: write it like /", s.ProbePath)
		}
		// Written so that NaN, which TOML can say, is refused too.
		if !(s.Heuristic.Fraction >= 0 && s.Heuristic.Fraction <= 1) {
			p.Addf(key+".heuristic.fraction", "%v is out of range: write 0 (off) to 1, usually 0.1", s.Heuristic.Fraction)
		}
		if s.Heuristic.Fraction > 0 && s.Heuristic.Max <= 0 {
			p.Addf(key+".heuristic.max", "must be more than 0s while heuristic.fraction is set")
		}
	}
}

// validateRules finds what an operator can't have meant to change in a profile.
func validateRules(p *config.Problems, key string, s Site) {
	check := func(at, example string, a profile.Adjust) {
		if _, err := profile.New(ProfileRFC9111, a); err != nil {
			p.Addf(at, "%v: write it like %q", errors.Unwrap(err), example)
		}
	}
	for i, path := range s.Pass {
		check(config.Item(key+".pass", i), "/app/*", profile.Adjust{Pass: []string{path}})
	}
	for i, path := range s.Share {
		check(config.Item(key+".share", i), "/media/*", profile.Adjust{Share: []string{path}})
	}
	for i, name := range s.IgnoreCookies {
		check(config.Item(key+".ignore_cookies", i), "_pk_*", profile.Adjust{IgnoreCookies: []string{name}})
	}
	if s.FreshMax < 0 {
		p.Addf(key+".fresh_max", "cannot be negative: write 0s for no bound")
	}
	if most := 500; max(len(s.Pass), len(s.Share), len(s.IgnoreCookies)) > most {
		p.Addf(key+".profile", "is adjusted by more than %d paths or cookies: use * to say it with fewer", most)
	}
}

func validateUpstream(p *config.Problems, key, upstream string, addresses []string) {
	if upstream == "" {
		p.Addf(key, `is missing: write where the site is, like "https://library.example.org"`)
		return
	}
	u, err := url.Parse(upstream)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Opaque != "":
		p.Addf(key, `%q is not a web address: write it like "https://library.example.org"`, upstream)
	case u.Hostname() == "":
		p.Addf(key, `%q has no host: write it like "https://library.example.org"`, upstream)
	case u.User != nil:
		// The password is not repeated: the message may end up in a log.
		p.Addf(key, "holds a user name or password, which the box would show to everyone: leave it out")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(upstream, "#"):
		p.Addf(key, "%q goes on after the path: leave out what follows ? or #", upstream)
	case ownAddress(u, addresses):
		p.Addf(key, "%q is where this box itself listens: it would ask itself for ever", upstream)
	}
}

// ownAddress catches the plain case of a loop; Via catches the others at run
// time.
func ownAddress(u *url.URL, addresses []string) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for _, l := range addresses {
		host, listenPort, err := net.SplitHostPort(l)
		if err != nil || listenPort != port {
			continue
		}
		if strings.EqualFold(host, u.Hostname()) {
			return true
		}
		everywhere := host == "" || host == "0.0.0.0" || host == "::"
		ip, err := netip.ParseAddr(u.Hostname())
		local := strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.IsLoopback()
		if everywhere && local {
			return true
		}
	}
	return false
}

func hostProblem(host string) string {
	if host == "*" {
		return ""
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	name, wild := strings.CutPrefix(host, "*.")
	switch {
	case host != strings.ToLower(host):
		return "has capitals: write host names in small letters"
	case strings.ContainsAny(host, "/:"):
		return "is more than a host name: leave out http://, the port and the path"
	case strings.Contains(name, "*"):
		return `has its star in the wrong place: write "*.example.org", or "*" for every name`
	case wild && !strings.Contains(name, "."):
		return `covers too much: write at least two labels after the star, like "*.example.org"`
	case !hostName.MatchString(name) || len(name) > 253:
		return `is not a host name: write it like "library.example.org" (in its xn-- form if it has accents)`
	}
	return ""
}
