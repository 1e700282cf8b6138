package near

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"preau/node/config"
)

// proxy is where an HTTP proxy would be.
type proxy = *url.URL

// Config says how a box finds the others of its school.
type Config struct {
	Enabled    bool     `toml:"enabled" doc:"Find the other boxes of the same school on the LAN, without any setting, and pool with them: each byte then crosses the school's line once for all of them, deposits are kept on two boxes, and they stand in for one another. It needs a region (preau enrol), which says by certificates who belongs to the school. A box that listens on 127.0.0.1 alone looks for nobody."`
	Listen     string   `toml:"listen" doc:"Where the other boxes connect, over TCP with certificates on both sides."`
	Gossip     string   `toml:"gossip" doc:"Where the boxes tell one another that they are there, over UDP and TCP. Where a firewall lets only TCP through it works too, a little slower."`
	Name       string   `toml:"name" doc:"Name without dots that all boxes of the school answer for on the LAN by multicast DNS: with \"preau\" devices reach whichever box is there as http://preau.local. Each box answers under its own name too. Empty: no such name."`
	Interfaces []string `toml:"interfaces" doc:"Network interfaces to look for boxes on, by name or pattern like \"eth*\". Empty: all that can do multicast, but for those of containers, virtual machines and tunnels."`
	Boxes      []string `toml:"boxes" doc:"Other boxes as host:port of their gossip, for networks that filter multicast. The region also tells where the school's boxes were last."`
}

// DefaultConfig finds the others by itself.
func DefaultConfig() Config {
	return Config{Enabled: true, Listen: ":4435", Gossip: ":7946", Name: "preau", Interfaces: []string{}, Boxes: []string{}}
}

// Check adds each mistake under its key below "neighbours".
func (c Config) Check(p *config.Problems) {
	if !c.Enabled {
		return
	}
	usual := DefaultConfig()
	for _, l := range []struct{ key, address, example string }{
		{"listen", c.Listen, usual.Listen}, {"gossip", c.Gossip, usual.Gossip},
	} {
		if !hostPort(l.address, true) {
			p.Addf("neighbours."+l.key, "%q is not an address with a port: write it like %q, for every address of the box", l.address, l.example)
		}
	}
	if c.Name != "" && !oneLabel(c.Name) {
		p.Addf("neighbours.name", `%q is no name without dots: write up to 40 letters a-z, digits and "-", like "preau", or "" for none`, c.Name)
	}
	for i, box := range c.Boxes {
		if !hostPort(box, false) {
			p.Addf(config.Item("neighbours.boxes", i), "%q is not host:port of a box's gossip: write it like \"10.1.2.3:7946\"", box)
		}
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var p config.Problems
	c.Check(&p)
	return p.Err()
}

func hostPort(s string, anyHost bool) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" && !anyHost {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535 && (anyHost || n > 0)
}

func oneLabel(s string) bool {
	return len(s) <= 40 && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-") &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
