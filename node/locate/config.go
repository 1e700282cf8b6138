package locate

import (
	"net/netip"
	"strings"

	"preau/node/config"
	"preau/node/listen"
)

// Config is what a region's server, or a gateway, is told about steering.
type Config struct {
	Domain         string          `toml:"domain" doc:"The domain below which the boxes' public names lie, such as \"boxes.example.org\": the box that is called school-1 is school-1.boxes.example.org there, and no other can have that name. The DNS of that domain leads each name to the box's address on its LAN. Empty: boxes have no public names here, and nobody is sent to one."`
	Networks       string          `toml:"networks" doc:"A file with IT's list of the schools' public addresses: on each line a school's code and then addresses or ranges, as in \"0690001A 192.0.2.8/29 2001:db8:7::/48\"; a line that begins with - names addresses from which nobody is sent to a box. It goes before what the boxes' connections tell, and is read again when it changes. Empty: there is none."`
	IPv6Prefix     int             `toml:"ipv6_prefix" doc:"How much of an IPv6 address a school's line has: 64, or 56 where every line has that much. With too short a prefix somebody else's devices would be sent to a school."`
	TrustedProxies []string        `toml:"trusted_proxies" doc:"Addresses or ranges of the proxies in front of the public listeners, whose X-Forwarded-For is believed. Nobody else's is."`
	Listen         []listen.Config `toml:"listen" ref:"off" doc:"Where devices ask: GET /locate?u=URL is answered with a redirection to the box of their school, or else to the URL itself. Without any nobody is answered here. With a certificate it is HTTPS."`
	Site           []Site          `toml:"site" ref:"off" doc:"The web sites that can be asked for, besides those that this server itself fetches. What is not listed is refused."`
}

// DefaultConfig sends nobody anywhere.
func DefaultConfig() Config { return Config{IPv6Prefix: 64, TrustedProxies: []string{}} }

// ExampleConfig is what a reference file shows.
func ExampleConfig() Config {
	c := DefaultConfig()
	c.Listen = []listen.Config{{Address: ":443", Certificate: []listen.Certificate{{Cert: "/etc/preau/locate.crt", Key: "/etc/preau/locate.key"}}}}
	c.Site = []Site{{Name: "cloud", Upstream: "https://cloud.example.org", Hosts: []string{}}}
	return c
}

// Enabled says whether boxes have public names here.
func (c Config) Enabled() bool { return c.Domain != "" }

// Check finds every mistake, under keys that begin with under. The sites are
// those that the server has besides.
func (c Config) Check(p *config.Problems, under string, sites []Site) {
	key := func(k string) string { return under + "." + k }
	if c.Domain != "" && (!isHost(c.Domain) || !strings.Contains(c.Domain, ".")) {
		p.Addf(key("domain"), `%q is no domain: write it in small letters, like "boxes.example.org"`, c.Domain)
	}
	if c.Domain == "" && len(c.Listen) > 0 {
		p.Addf(key("domain"), `is missing: write the domain below which the boxes' names lie, like "boxes.example.org"`)
	}
	if c.Domain != "" && (c.IPv6Prefix < 32 || c.IPv6Prefix > 64) {
		p.Addf(key("ipv6_prefix"), "%d is out of range: write 64, or 56 where every school's line has that much", c.IPv6Prefix)
	}
	for i, text := range c.TrustedProxies {
		if _, err := prefixOf(text); err != nil {
			p.Addf(config.Item(key("trusted_proxies"), i), `%q is no address or range: write it like "192.0.2.7" or "10.0.0.0/8"`, text)
		}
	}
	for i, l := range c.Listen {
		if _, err := netip.ParseAddrPort(l.Address); err != nil && !strings.HasPrefix(l.Address, ":") {
			p.Addf(config.Item(key("listen"), i)+".address", `%q is not an address with a port: write it like ":443" or "192.0.2.10:443"`, l.Address)
		}
		for j, cert := range l.Certificate {
			if cert.Cert == "" || cert.Key == "" {
				p.Addf(config.Item(config.Item(key("listen"), i)+".certificate", j), "needs both cert and key, which are PEM files")
			}
		}
	}
	names := map[string]bool{}
	for _, s := range sites {
		names[s.Name] = true
	}
	for i, s := range c.Site {
		if _, err := NewSites([]Site{s}); err != nil {
			p.Addf(config.Item(key("site"), i), "%v", err)
		}
		if names[s.Name] {
			p.Addf(config.Item(key("site"), i)+".name", "%q is there already: each site needs a name of its own", s.Name)
		}
		names[s.Name] = true
	}
}
