// Package names is a box's public name: the certificate for it, and telling the
// region that devices can be sent there.
//
// The certificate lies in files that the operator renews (node/listen reads
// those), or is got by ACME (RFC 8555): by a page on the box itself (HTTP-01,
// where the authority can reach the box) or by a record that the region writes
// into its DNS (DNS-01). The key is made on the box and never leaves it. It is
// renewed at half of its life, so that a box that was away for weeks has time.
//
// Nothing waits for any of this. A box without a line starts with the certificate
// that it has, run out or not, or without one: then that one listener can't be
// used, devices are not sent there, and plain HTTP is as it was.
//
// The package writes nothing into DNS itself, where the name leads to the box's
// address on its LAN, and opens no port.
//
// Metrics: preau_names_certificate_until_seconds (0: there is none),
// preau_names_orders_total{result="ok|failed"}.
package names

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"preau/node/config"
)

// Challenges by which an authority can be shown that a name is ours.
const (
	HTTP01 = "http-01"
	DNS01  = "dns-01"
)

// Config is what a box is told about its public name.
type Config struct {
	Name string `toml:"name" doc:"The box's public name: its name in the region, a dot, and the region's domain for boxes, such as \"school-1.boxes.example.org\". The DNS of that domain must lead it to the box's address on the school's LAN. With a certificate for it, devices anywhere in the school are sent here by the ministry's or the region's GET /locate. Empty: the box has none."`
	ACME ACME   `toml:"acme" doc:"Getting the certificate for that name by itself. Not needed where a [[listen]] has one in files."`
}

// ACME is where a certificate comes from.
type ACME struct {
	Listen    string `toml:"listen" doc:"Where devices connect with HTTPS under the public name, such as \":443\". Empty: there is no such listener, and no certificate is asked for."`
	Directory string `toml:"directory" doc:"The authority's directory."`
	Email     string `toml:"email" doc:"Where the authority writes to, if it must."`
	Challenge string `toml:"challenge" doc:"How the authority sees that the name is ours. dns-01: by a record that the region writes (acme_dns there). http-01: by asking the box on port 80, for an authority inside the same network."`
	CAFile    string `toml:"ca_file" doc:"Certificates (PEM) that vouch for the directory's own. Empty: the system's."`
	EABFile   string `toml:"eab_file" doc:"A file with the key's name and the key in base64url that bind the box to an account at the authority, if it wants that. Empty: it does not."`
}

// DefaultConfig has no name.
func DefaultConfig() Config {
	return Config{ACME: ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory", Challenge: DNS01}}
}

// Enabled says whether a certificate is to be got.
func (a ACME) Enabled() bool { return a.Listen != "" }

// Check finds every mistake, under keys that begin with under.
func (c Config) Check(p *config.Problems, under string) {
	if c.Name != "" && !isHost(c.Name) {
		p.Addf(under+".name", `%q is no public name: write it in small letters, like "school-1.boxes.example.org"`, c.Name)
	}
	if !c.ACME.Enabled() {
		return
	}
	if c.Name == "" {
		p.Addf(under+".name", "is missing, and acme.listen is for devices that come under that name")
	}
	u, err := url.Parse(c.ACME.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		p.Addf(under+".acme.directory", "%q is no https:// address of an authority's directory", c.ACME.Directory)
	}
	if c.ACME.Challenge != DNS01 && c.ACME.Challenge != HTTP01 {
		p.Addf(under+".acme.challenge", "%q is neither %q nor %q", c.ACME.Challenge, DNS01, HTTP01)
	}
	if strings.ContainsAny(c.ACME.Email, " \t\r\n,;") || c.ACME.Email != "" && !strings.Contains(c.ACME.Email, "@") {
		p.Addf(under+".acme.email", "%q is no address", c.ACME.Email)
	}
}

// Hosts are those of a site's names that lie below the box's own: by them the
// site is reached without /o/NAME, and the certificate is for them too.
func Hosts(name string, site []string) (below []string) {
	if name == "" {
		return nil
	}
	for _, host := range site {
		if isHost(host) && strings.HasSuffix(host, "."+name) {
			below = append(below, host)
		}
	}
	slices.Sort(below)
	return slices.Compact(below)
}

func isHost(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil || len(name) > 253 || !strings.Contains(name, ".") {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
