package box

import (
	"io"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"preau/node/config"
	"preau/node/obs"
)

// minBudget holds a few documents of a class; below it a cache only churns.
const minBudget = 64 * config.MiB

var (
	siteName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
)

// Validate finds every mistake at once. Each is a *config.Problem under its key
// in the file; for the one-line form the keys are those of the file that says
// the same. It looks at no file and opens no port.
func (c Config) Validate(profiles []string) error {
	var p config.Problems
	if c.Data == "" {
		p.Addf("data", `is missing: write the folder to keep things in, like data = "/var/lib/preau"`)
	}
	switch {
	case c.Budget == 0:
		p.Addf("budget", "is 0, and a box that may store nothing is no use: write at least %v", minBudget)
	case c.Budget < minBudget:
		p.Addf("budget", "%v is too small to be of use: write at least %v", c.Budget, minBudget)
	}
	if _, err := obs.NewLogger(io.Discard, c.Log); err != nil {
		p.Addf("log", "%v", err)
	}
	c.validateListeners(&p)
	c.validateSites(&p, profiles)
	return p.Err()
}

func (c Config) validateListeners(p *config.Problems) {
	taken := map[string]string{}
	claim := func(key, address string) {
		if other, ok := taken[address]; ok && !strings.HasSuffix(address, ":0") {
			p.Addf(key, "%q is taken by %s: give each its own port", address, other)
		}
		taken[address] = key
	}
	if checkAddress(p, "admin.listen", c.Admin.Listen) {
		if host, port, err := net.SplitHostPort(c.Admin.Listen); err == nil && host == "" {
			p.Addf("admin.listen", "%q would be open to the whole network: write 127.0.0.1:%s, or 0.0.0.0:%s if that is what you want", c.Admin.Listen, port, port)
		}
		claim("admin.listen", c.Admin.Listen)
	}
	if len(c.Listen) == 0 {
		p.Addf("listen", `is missing: add a [[listen]] with, for instance, address = ":80"`)
	}
	for i, l := range c.Listen {
		key := config.Item("listen", i)
		if checkAddress(p, key+".address", l.Address) {
			claim(key+".address", l.Address)
		}
		for j, cert := range l.Certificate {
			certKey := config.Item(key+".certificate", j)
			if cert.Cert == "" {
				p.Addf(certKey+".cert", "is missing: write the PEM file with the certificate")
			}
			if cert.Key == "" {
				p.Addf(certKey+".key", "is missing: write the PEM file with the private key")
			}
		}
	}
}

func checkAddress(p *config.Problems, key, address string) bool {
	if address == "" {
		p.Addf(key, `is missing: write an address and a port, like "127.0.0.1:8080", or ":8080" for every address`)
		return false
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		p.Addf(key, `%q is not an address with a port: write it like "127.0.0.1:8080", or ":8080" for every address`, address)
		return false
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		p.Addf(key, "%q has no port that exists: a port is a number up to 65535", address)
		return false
	}
	return true
}

func (c Config) validateSites(p *config.Problems, profiles []string) {
	if len(c.Site) == 0 {
		p.Addf("site", "is missing: add a [[site]] with name, upstream and hosts")
	}
	names, hosts := map[string]string{}, map[string]string{}
	for i, s := range c.Site {
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
		c.validateUpstream(p, key+".upstream", s.Upstream)
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
		if s.StaleWhenDown < 0 {
			p.Addf(key+".stale_when_down", "cannot be negative: write 0s for never")
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

func (c Config) validateUpstream(p *config.Problems, key, upstream string) {
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
	case c.ownAddress(u):
		p.Addf(key, "%q is where this box itself listens: it would ask itself for ever", upstream)
	}
}

// ownAddress catches the plain case of a loop; Via catches the others at run
// time.
func (c Config) ownAddress(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for _, l := range c.Listen {
		host, listenPort, err := net.SplitHostPort(l.Address)
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
