package front

import (
	"net/url"

	"preau/node/config"
)

// Site is one web site in front of which the box stands.
type Site struct {
	Name          string          `toml:"name" doc:"Short name for logs, metrics and the path /o/NAME/: small letters, digits and hyphens, at most 40."`
	Upstream      string          `toml:"upstream" doc:"Where the site really is: http:// or https://, a host, perhaps a port and a path that is put before every path asked for."`
	Hosts         []string        `toml:"hosts" doc:"Host names that clients use for the site: exact, \"*.example.org\" for every name below example.org, or \"*\" for every name that no other site has. With an empty list the site is reached as /o/NAME/ only."`
	Profile       string          `toml:"profile" doc:"Written rules for what may be stored. rfc9111 is the standard for shared caches and nothing else."`
	StaleWhenDown config.Duration `toml:"stale_when_down" doc:"How long after it has expired a stored copy may still be served while the site cannot be reached. 0s: never. A site that says must-revalidate or no-cache is always obeyed."`
	ProbePath     string          `toml:"probe_path" doc:"Path that the box asks for, now and then and only while the site cannot be reached, to find out whether it is back."`
	PreserveHost  bool            `toml:"preserve_host" doc:"false: the site is asked under its own name, that of upstream. true: it is asked under the name that the client used."`
	List          bool            `toml:"list" doc:"Whether the page that clients see while the site cannot be reached may list its stored pages."`
	Heuristic     Heuristic       `toml:"heuristic" doc:"Guessing how long an answer without any expiry stays fresh (RFC 9111, section 4.2.2). Off by default: such an answer is checked with the site each time."`
}

// Heuristic is the guess of RFC 9111 section 4.2.2: a fraction of the time
// since the last modification, and at most Max. Fraction 0 turns it off.
type Heuristic struct {
	Fraction float64         `toml:"fraction" doc:"Share of the time since the last change, such as 0.1. 0 turns guessing off."`
	Max      config.Duration `toml:"max" doc:"The guess is never longer than this."`
}

// ProfileRFC9111 is the profile of sites that name none.
const ProfileRFC9111 = "rfc9111"

// Profiles lists the profiles that a site can have.
func Profiles() []string { return []string{ProfileRFC9111} }

// SetDefaults fills in what a [[site]] need not say.
func (s *Site) SetDefaults() {
	s.Profile = ProfileRFC9111
	s.StaleWhenDown = config.Duration(30 * config.Day)
	s.ProbePath = "/"
	s.List = true
	s.Heuristic.Max = config.Duration(config.Day)
}

// UpstreamURL is the site's address as validated: without query or fragment.
func (s Site) UpstreamURL() (*url.URL, error) { return url.Parse(s.Upstream) }
