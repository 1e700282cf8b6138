package box

import (
	_ "embed"
	"net/url"
	"slices"

	"preau/node/config"
	"preau/node/listen"
	"preau/node/obs"
)

// Config is all that a box can be told. Start from DefaultConfig: the zero
// value is not usable.
type Config struct {
	Data   string          `toml:"data" doc:"Folder where the box keeps what it stores. It is made if it is missing and belongs to the box alone: while the box is stopped it may be deleted, and nothing is lost but time."`
	Budget config.Bytes    `toml:"budget" doc:"Room that stored bodies may take on the disk, at least 64MiB. The box also leaves free space on the disk whatever this says."`
	Log    obs.Log         `toml:"log" doc:"The log goes to standard error, which is the journal when systemd runs the box. It never names a client."`
	Admin  Admin           `toml:"admin" doc:"The face for operators: /healthz, /readyz, /metrics and /debug/pprof/."`
	Listen []listen.Config `toml:"listen" doc:"Where pupils' devices connect: one [[listen]] for each address."`
	Site   []Site          `toml:"site" doc:"The web sites that the box answers for: one [[site]] for each. Every site can also be reached as /o/NAME/ on any listener, under every host name that is not another site's."`
}

// Admin is where operators look.
type Admin struct {
	Listen string `toml:"listen" doc:"Address and port. It asks nobody for a password, so keep it on 127.0.0.1 unless something in front of it does."`
	// MayMove lets the box start on another port when this one is taken. It is
	// for the one-line form, where nobody chose the port.
	MayMove bool `toml:"-"`
}

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

// DefaultConfig has no folder, listener or site: those must be said.
func DefaultConfig() Config {
	return Config{
		Budget: 20 * config.GiB,
		Log:    obs.DefaultLog(),
		Admin:  Admin{Listen: obs.DefaultAdminAddress},
	}
}

// LoadConfig reads the file at path and checks it against the profiles that
// exist.
func LoadConfig(path string, profiles []string) (Config, error) {
	cfg := DefaultConfig()
	err := config.Load(path, &cfg, func() error { return cfg.Validate(profiles) })
	if err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Flags is the one-line form: one site that answers for every host name.
type Flags struct {
	Site, Listen, Data string
	Budget             *config.Bytes // nil: the default
	Admin              string        // empty: the default, or another port if that is taken
}

// FromFlags makes the configuration that the one-line form stands for. The
// caller validates it.
func FromFlags(f Flags) Config {
	cfg := DefaultConfig()
	cfg.Data = f.Data
	if f.Budget != nil {
		cfg.Budget = *f.Budget
	}
	cfg.Admin.MayMove = f.Admin == ""
	if f.Admin != "" {
		cfg.Admin.Listen = f.Admin
	}
	cfg.Listen = []listen.Config{{Address: f.Listen}}
	var site Site
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "site", f.Site, []string{"*"}
	cfg.Site = []Site{site}
	return cfg
}

// UpstreamURL is the site's address as validated: without query or fragment.
func (s Site) UpstreamURL() (*url.URL, error) { return url.Parse(s.Upstream) }

// ExampleConfig is what the reference file shows.
func ExampleConfig() Config {
	cfg := DefaultConfig()
	cfg.Data = "/var/lib/preau"
	cfg.Listen = []listen.Config{{
		Address:     ":80",
		Certificate: []listen.Certificate{{Cert: "/etc/preau/school.crt", Key: "/etc/preau/school.key"}},
	}}
	var site Site
	site.SetDefaults()
	site.Name = "library"
	site.Upstream = "https://library.example.org"
	site.Hosts = []string{"library.example.org", "*.library.example.org"}
	cfg.Site = []Site{site}
	return cfg
}

//go:embed reference.toml
var reference []byte

// ReferenceFile is a commented configuration that shows every key.
func ReferenceFile() []byte { return slices.Clone(reference) }
