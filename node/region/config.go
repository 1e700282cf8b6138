package region

import (
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"preau/node/config"
	"preau/node/front"
	"preau/node/locate"
	"preau/node/names/records"
	"preau/node/obs"
	"preau/replication/consensus"
)

// Config is all that a region's server can be told. Start from DefaultConfig.
// What the region agrees on is not here: that is in its catalogue.
type Config struct {
	Data      string        `toml:"data" doc:"The server's folder, as preau region init or join made it. It holds the server's identity and its part of the region's memory: unlike a box's it may not be deleted."`
	Listen    string        `toml:"listen" doc:"Address and port for boxes, operators and the other servers, all of which show a certificate."`
	Advertise string        `toml:"advertise" doc:"Address and port under which boxes and the other servers reach this one. Empty: the same as listen, which then must have a host."`
	Budget    config.Bytes  `toml:"budget" doc:"Room for the copies of web sites that this server keeps for its boxes. Published files come on top of it and are never given up for room."`
	Deposits  config.Bytes  `toml:"deposits" doc:"How much one school may have waiting here for the centre. What is more waits on the school's box, and nothing is lost."`
	Central   Central       `toml:"central" doc:"The ministry's gateway, which publishes to the region and takes its schools' deposits."`
	Locate    locate.Config `toml:"locate" doc:"Sending devices to the box of their school, under the box's own public name. All servers of a region need the same settings here."`
	Names     records.Hook  `toml:"acme_dns" doc:"How the records are written by which a certificate authority sees that a box's public name is ours (ACME, DNS-01). Boxes ask for them, each for its own name only; the key of a certificate never leaves its box."`
	Distance  string        `toml:"distance" doc:"near if the region's servers stand in one place, far if they are in different cities: how long they wait for one another before they elect a new leader."`
	Log       obs.Log       `toml:"log" doc:"The log goes to standard error, which is the journal when systemd runs the server."`
	Admin     Admin         `toml:"admin" doc:"The face for this machine's operator: /healthz, /readyz, /metrics and /debug/pprof/."`
	Site      []front.Site  `toml:"site" doc:"The web sites that this server fetches and keeps for its boxes, under the same names as in the boxes' files. May be empty: boxes then ask the sites themselves."`
}

// Central is where the ministry's gateway is.
type Central struct {
	Address string   `toml:"address" doc:"Address and port of the gateway. Empty: there is none, and deposits wait in the region until there is. The gateway must be enrolled in the region first: preau region token --central."`
	Buckets []string `toml:"buckets" doc:"Which of its buckets the region takes. Empty: all that it publishes."`
	// Gateways are all told, for each answers devices by itself.
	Gateways []string `toml:"gateways" doc:"Where several gateways stand behind one address and send devices to their schools' boxes: the address of each, as every one must be told where the schools are. Empty: address is the only one."`
}

// Admin is where this machine's operator looks.
type Admin struct {
	Listen string `toml:"listen" doc:"Address and port. It asks nobody for a password, so keep it on 127.0.0.1 unless something in front of it does."`
	// MayMove lets the server start on another port when this one is taken. It
	// is for those who run it with flags, where nobody chose the port.
	MayMove bool `toml:"-"`
}

// Distances between the servers of a region.
const (
	Near = "near"
	Far  = "far"
)

// minBudget is what a server needs to be of use to a school.
const minBudget = 64 * config.MiB

// DefaultConfig has no folder and no address: those must be said.
func DefaultConfig() Config {
	return Config{
		Listen: ":4433", Budget: 20 * config.GiB, Deposits: 16 * config.GiB, Distance: Near, Log: obs.DefaultLog(),
		Admin: Admin{Listen: "127.0.0.1:9191"}, Locate: locate.DefaultConfig(), Names: records.DefaultHook(),
	}
}

// LoadConfig reads and checks the file at path.
func LoadConfig(path string) (Config, error) {
	cfg := DefaultConfig()
	if err := config.Load(path, &cfg, func() error { return cfg.Validate() }); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Validate finds every mistake at once, each under its key in the file.
func (c Config) Validate() error {
	var p config.Problems
	if c.Data == "" {
		p.Addf("data", `is missing: write the folder that preau region init or join made, like data = "/var/lib/preau-region"`)
	}
	if c.Budget < minBudget {
		p.Addf("budget", "%v is too small to be of use: write at least %v", c.Budget, minBudget)
	}
	if c.Distance != Near && c.Distance != Far {
		p.Addf("distance", `%q is neither "near" nor "far"`, c.Distance)
	}
	if _, err := obs.NewLogger(io.Discard, c.Log); err != nil {
		p.Addf("log", "%v", err)
	}
	if c.Deposits < 0 {
		p.Addf("deposits", "%v is below 0", c.Deposits)
	}
	if c.Central.Address != "" {
		checkAddress(&p, "central.address", c.Central.Address, true)
	}
	for i, gateway := range c.Central.Gateways {
		checkAddress(&p, config.Item("central.gateways", i), gateway, true)
	}
	c.Locate.Check(&p, "locate", c.steered())
	c.Names.Check(&p, "acme_dns")
	checkAddress(&p, "listen", c.Listen, false)
	if c.Advertise != "" {
		checkAddress(&p, "advertise", c.Advertise, true)
	} else if host, _, err := net.SplitHostPort(c.Listen); err == nil && unspecified(host) {
		p.Addf("advertise", "is missing, and %q does not tell others where to find this server: write its name or address and port", c.Listen)
	}
	checkAddress(&p, "admin.listen", c.Admin.Listen, true)
	front.ValidateSites(&p, c.Site, front.Profiles(), []string{c.Listen})
	return p.Err()
}

func checkAddress(p *config.Problems, key, address string, host bool) {
	h, port, err := net.SplitHostPort(address)
	if err != nil {
		p.Addf(key, `%q is not an address with a port: write it like "192.0.2.10:4433"`, address)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		p.Addf(key, "%q has no port that exists: a port is a number up to 65535", address)
	}
	if host && h == "" {
		p.Addf(key, `%q has no host: write it like "192.0.2.10:%s"`, address, port)
	}
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// steered are the sites for which devices may be sent to a box.
func (c Config) steered() []locate.Site {
	var out []locate.Site
	for _, s := range c.Site {
		out = append(out, locate.Site{Name: s.Name, Upstream: s.Upstream, Hosts: s.Hosts})
	}
	return out
}

// address is where others reach the server.
func (c Config) address() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Listen
}

// Folders and files below Data.
func (c Config) identityDir() string { return filepath.Join(c.Data, "identity") }
func (c Config) raftDir() string     { return filepath.Join(c.Data, "raft") }
func (c Config) catalogue() string   { return filepath.Join(c.Data, "catalogue.db") }
func (c Config) blocks() string      { return filepath.Join(c.Data, "blocks") }
func (c Config) cache() string       { return filepath.Join(c.Data, "cache") }

// OperatorDir is where Found puts the first operator's identity.
func OperatorDir(data string) string { return filepath.Join(data, "operator") }

// How long a request to the region's decision may take before whoever asked is
// told that there was none.
const decideWithin = 15 * time.Second

// consensus is how raft is to run here.
func (c Config) consensus(name, region string) consensus.Config {
	cfg := consensus.DefaultConfig()
	if c.Distance == Far {
		cfg.Patience = 5
	}
	cfg.ID, cfg.Dir, cfg.ClusterID, cfg.Address = consensus.ServerID(name), c.raftDir(), region, c.address()
	return cfg
}

// loopback is where this machine reaches its own listener.
func loopback(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil || !unspecified(host) {
		return a.String()
	}
	return net.JoinHostPort("127.0.0.1", port)
}
