package front

import (
	"net/url"
	"strconv"
	"strings"

	"preau/cache/profile"
	"preau/cache/upstream"
	"preau/node/config"
)

// Site is one web site in front of which the box stands.
type Site struct {
	Name             string          `toml:"name" doc:"Short name for logs, metrics and the path /o/NAME/: small letters, digits and hyphens, at most 40."`
	Upstream         string          `toml:"upstream" doc:"Where the site really is: http:// or https://, a host, perhaps a port and a path that is put before every path asked for."`
	Hosts            []string        `toml:"hosts" doc:"Host names that clients use for the site: exact, \"*.example.org\" for every name below example.org, or \"*\" for every name that no other site has. With an empty list the site is reached as /o/NAME/ only."`
	Profile          string          `toml:"profile" doc:"Written rules for what may be stored: rfc9111, nextcloud, peertube, etherpad, discourse, wordpress, jitsi, kiwix or s3-public. rfc9111 is the standard for shared caches and nothing else; the others are for the platform of that name, and know what of it is for everybody, what is each user's own, and which links are secrets."`
	Pass             []string        `toml:"pass" doc:"Paths that always go to the site and are never stored, whatever the profile says. * stands for any characters, / among them: \"/app/*\"."`
	Share            []string        `toml:"share" doc:"More paths that are for everybody: they are asked for without cookies and stored as RFC 9111 allows. What the profile names as private stays private. Written like pass."`
	FreshMax         config.Duration `toml:"fresh_max" doc:"Nothing of the site is used for longer than this without asking the site again. 0s: no bound but the profile's."`
	IgnoreCookies    []string        `toml:"ignore_cookies" doc:"Names of cookies that say nothing about who asks, such as those of a counter of visits: \"_pk_*\". Profiles that look at cookies look past these."`
	StaleWhenDown    config.Duration `toml:"stale_when_down" doc:"How long after it has expired a stored copy may still be served while the site cannot be reached. 0s: never. A site that says must-revalidate or no-cache is always obeyed."`
	MaxFetches       int             `toml:"max_fetches" doc:"How many fetches the box has under way at the site at once; others wait up to ten seconds. Those of more than five seconds are counted apart, up to four times as many. What passes through is not counted. 0: no bound."`
	FetchesPerMinute int             `toml:"fetches_per_minute" doc:"How many fetches the box sends to the site in any minute, half of them at once at most. What passes through is not counted. 0: no bound."`
	PrivateAddresses bool            `toml:"private_addresses" doc:"Whether the site's name may lead to addresses of the school's own network. Not needed if upstream is written with an address or localhost."`
	Forwarded        string          `toml:"forwarded" doc:"What the site is told of where requests come from. none: nothing. box: the same word for all, Forwarded: for=_preau. Never who asks."`
	ProbePath        string          `toml:"probe_path" doc:"Path that the box asks for, now and then and only while the site cannot be reached, to find out whether it is back."`
	PreserveHost     bool            `toml:"preserve_host" doc:"false: the site is asked under its own name, that of upstream. true: it is asked under the name that the client used."`
	List             bool            `toml:"list" doc:"Whether the page that clients see while the site cannot be reached may list its stored pages."`
	Rendition        string          `toml:"rendition" doc:"With the profile peertube: the one rendition of films that devices are offered, such as \"480p\", so that a class fetches one film and not one for each screen. It is the nearest at or below that the film has; sound and captions stay. Empty: all of them, and each player chooses."`
	Heuristic        Heuristic       `toml:"heuristic" doc:"Guessing how long an answer without any expiry stays fresh (RFC 9111, section 4.2.2). Off by default: such an answer is checked with the site each time."`
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
func Profiles() []string { return profile.Names() }

// adjust is what the site's operator changes in its profile.
func (s Site) adjust() profile.Adjust {
	return profile.Adjust{Pass: s.Pass, Share: s.Share, FreshMax: s.FreshMax.Std(), IgnoreCookies: s.IgnoreCookies}
}

// Rules is the site's profile as the operator has adjusted it.
func (s Site) Rules() (*profile.Profile, error) { return profile.New(s.Profile, s.adjust()) }

// Height is the height of the one rendition that devices are offered; 0 for all.
// What Rendition may be, ValidateSites says.
func (s Site) Height() int {
	n, err := strconv.Atoi(strings.TrimSuffix(s.Rendition, "p"))
	if err != nil {
		return 0
	}
	return n
}

// plain reports whether the site has the standard's rules and nothing else.
func (s Site) plain() bool {
	return s.Profile == ProfileRFC9111 && len(s.Pass)+len(s.Share) == 0 && s.FreshMax == 0
}

// SetDefaults fills in what a [[site]] need not say.
func (s *Site) SetDefaults() {
	s.Profile = ProfileRFC9111
	s.Pass, s.Share, s.IgnoreCookies = []string{}, []string{}, []string{} // as an empty list is read
	s.StaleWhenDown = config.Duration(30 * config.Day)
	s.MaxFetches, s.Forwarded = upstream.DefaultConfig().MaxFetches, upstream.ForwardedNone
	s.ProbePath = "/"
	s.List = true
	s.Heuristic.Max = config.Duration(config.Day)
}

// UpstreamURL is the site's address as validated: without query or fragment.
func (s Site) UpstreamURL() (*url.URL, error) { return url.Parse(s.Upstream) }
