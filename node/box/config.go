package box

import (
	_ "embed"
	"errors"
	"slices"

	"preau/node/auth"
	"preau/node/config"
	"preau/node/front"
	"preau/node/listen"
	"preau/node/names"
	"preau/node/near"
	"preau/node/obs"
	"preau/node/portal"
	"preau/node/update"
)

// Config is all that a box can be told. Start from DefaultConfig: the zero
// value is not usable.
type Config struct {
	Data       string          `toml:"data" doc:"Folder where the box keeps what it stores. It is made if it is missing and belongs to the box alone. While the box is stopped all but the folders identity, deposits, uploads, lessons and auth in it may be deleted, and nothing is lost but time and the diagram of the line; identity is the box's place in its region, if it was enrolled in one, deposits and uploads are what was added in the school, lessons is what teachers have prepared, and auth who may sign in."`
	Budget     config.Bytes    `toml:"budget" doc:"Room that stored bodies may take on the disk, at least 64MiB. The box also leaves free space on the disk whatever this says."`
	Machine    string          `toml:"machine" doc:"Folder in which an appliance's system says what is amiss with the machine: a file without-disk with the reason (tpm, disk), a file given-up with versions that did not come back well. It is told in /status and to the school's admin. Empty: nobody says such things."`
	Updates    string          `toml:"updates" doc:"Folder of the updater (preau update) on a machine with the Debian package or the appliance's image: from there the box tells how updates went, and takes what the region has set for it ([[site]], and the portal's title). This file wins: a site of the same name stays as it is here. Empty: neither."`
	Log        obs.Log         `toml:"log" doc:"The log goes to standard error, which is the journal when systemd runs the box. It never names a client."`
	Admin      Admin           `toml:"admin" doc:"The face for operators: /healthz, /readyz, /metrics and /debug/pprof/."`
	Deposits   Deposits        `toml:"deposits" doc:"Files that are added in the school: PUT /d/NAME on any listener with the token in DATA/deposits/token, or preau deposit on the box itself. Each is kept until the ministry's centre has it."`
	Neighbours near.Config     `toml:"neighbours" doc:"The other boxes of the same school."`
	Portal     portal.Config   `toml:"portal" doc:"The pages of the box itself, for pupils and teachers: under the public name, the .local names, and every other name and address that is no site's. Where a site answers for every host name (hosts = [\"*\"]), under the former only."`
	SignIn     auth.Config     `toml:"sign_in" doc:"How teachers, the school's admin and the region's IT sign in to the portal. Pupils never do."`
	Public     names.Config    `toml:"public" doc:"The name under which devices are sent to this box from outside the school, and its certificate."`
	Listen     []listen.Config `toml:"listen" doc:"Where pupils' devices connect: one [[listen]] for each address."`
	Site       []front.Site    `toml:"site" doc:"The web sites that the box answers for: one [[site]] for each. A box that was enrolled in a region needs none. Every site can also be reached as /o/NAME/ on any listener, under every host name that is not another site's."`

	wantedProblem string // why the region's settings are left out
}

// Admin is where operators look.
type Admin struct {
	Listen string `toml:"listen" doc:"Address and port. It asks nobody for a password, so keep it on 127.0.0.1 unless something in front of it does."`
	// MayMove lets the box start on another port when this one is taken. It is
	// for the one-line form, where nobody chose the port.
	MayMove bool `toml:"-"`
}

// Profiles lists the profiles that a site can have.
func Profiles() []string { return front.Profiles() }

// DefaultConfig has no folder, listener or site: those must be said.
func DefaultConfig() Config {
	return Config{
		Budget:     20 * config.GiB,
		Updates:    update.Folder,
		Log:        obs.DefaultLog(),
		Admin:      Admin{Listen: obs.DefaultAdminAddress},
		Deposits:   Deposits{Enabled: true, Budget: 20 * config.GiB},
		Neighbours: near.DefaultConfig(),
		Portal:     portal.DefaultConfig(),
		SignIn:     auth.DefaultConfig(),
		Public:     names.DefaultConfig(),
	}
}

// LoadConfig reads the file at path and checks it against the profiles that
// exist.
func LoadConfig(path string, profiles []string) (Config, error) {
	cfg := DefaultConfig()
	err := config.Load(path, &cfg, func() error { return cfg.validate(profiles, Enrolled(cfg.Data) || cfg.hasWanted()) })
	if err != nil {
		return Config{}, err
	}
	more := cfg.withWanted(profiles)
	if more.wantedProblem == "" {
		return more, nil
	}
	// What is left without them may be nothing to run.
	if err := more.Validate(profiles); err != nil {
		return Config{}, errors.Join(errors.New(more.wantedProblem), err)
	}
	return more, nil
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
	cfg.Data, cfg.Updates = f.Data, ""
	if f.Budget != nil {
		cfg.Budget = *f.Budget
	}
	cfg.Admin.MayMove = f.Admin == ""
	if f.Admin != "" {
		cfg.Admin.Listen = f.Admin
	}
	cfg.Listen = []listen.Config{{Address: f.Listen}}
	if f.Site == "" {
		return cfg // a box of a region may have none
	}
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "site", f.Site, []string{"*"}
	cfg.Site = []front.Site{site}
	return cfg
}

// ExampleConfig is what the reference file shows.
func ExampleConfig() Config {
	cfg := DefaultConfig()
	cfg.Data = "/var/lib/preau"
	cfg.Listen = []listen.Config{{
		Address:     ":80",
		Certificate: []listen.Certificate{{Cert: "/etc/preau/school.crt", Key: "/etc/preau/school.key"}},
	}}
	var site front.Site
	site.SetDefaults()
	site.Name = "library"
	site.Upstream = "https://library.example.org"
	site.Hosts = []string{"library.example.org", "*.library.example.org"}
	cfg.Site = []front.Site{site}
	return cfg
}

//go:embed reference.toml
var reference []byte

// ReferenceFile is a commented configuration that shows every key.
func ReferenceFile() []byte { return slices.Clone(reference) }
