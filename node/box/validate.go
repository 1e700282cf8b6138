package box

import (
	"io"
	"net"
	"strconv"
	"strings"

	"preau/node/config"
	"preau/node/front"
	"preau/node/obs"
)

// minBudget holds a few documents of a class; below it a cache only churns.
const minBudget = 64 * config.MiB

// Validate finds every mistake at once. Each is a *config.Problem under its key
// in the file; for the one-line form the keys are those of the file that says
// the same. It opens no port, and looks at no file but whether
// the box was enrolled.
func (c Config) Validate(profiles []string) error { return c.validate(profiles, Enrolled(c.Data)) }

// validate is Validate, of a box that may have no sites of its own.
func (c Config) validate(profiles []string, siteless bool) error {
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
	if c.Deposits.Enabled && c.Deposits.Budget < minBudget {
		p.Addf("deposits.budget", "%v is too small to be of use: write at least %v, or enabled = false", c.Deposits.Budget, minBudget)
	}
	if _, err := obs.NewLogger(io.Discard, c.Log); err != nil {
		p.Addf("log", "%v", err)
	}
	if err := c.Portal.Validate(); err != nil {
		p.Addf("portal", "%v", err)
	}
	c.SignIn.Check(&p, "sign_in")
	c.Neighbours.Check(&p)
	c.Public.Check(&p, "public")
	c.validateListeners(&p)
	if len(c.Site) == 0 && !siteless {
		p.Addf("site", "is missing: add a [[site]] with name, upstream and hosts, or enrol the box in a region (preau enrol)")
	}
	addresses := make([]string, len(c.Listen))
	for i, l := range c.Listen {
		addresses[i] = l.Address
	}
	front.ValidateSites(&p, c.Site, profiles, addresses)
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
	if at := c.Public.ACME.Listen; at != "" && checkAddress(p, "public.acme.listen", at) {
		claim("public.acme.listen", at)
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
