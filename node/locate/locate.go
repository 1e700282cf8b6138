// Package locate sends devices to the box of their school.
//
// A device that knows no box asks GET /locate?u=URL, and is answered with 302:
// to that URL on a box of the school whose public address it comes from, under
// the box's own public name, or else to the URL itself. There is no third way: an
// address that is nobody's, or several schools', a box that is away or whose
// certificate has run out, all lead to the site itself.
//
// Which school an address belongs to is told by the connections of its boxes, as
// the region's servers see them (Report), and by IT's list (Networks), which goes
// first. Who announces a box is known by its certificate, and the one name that a
// box can have is its own below the region's domain, so no box can draw the
// devices of another school to itself, nor anyone to a host of its choice.
//
// No redirect leads to a host that an operator did not write down or whose owner
// is not enrolled: that is why nothing needs to be signed. The URL must be one of
// a listed site, and what is sent back is built of its parsed parts.
//
// Nothing is kept or logged of who asks, nor of what for: there are counts. The
// package opens no connection and resolves no name. A box's name leads to an
// address of its LAN, which the academy's or ministry's DNS must say.
//
// Metrics: preau_locate_answers_total{answer="box|origin|refused"},
// preau_locate_origin_total{why="address_unknown|address_shared|not_steered|no_box"}.
package locate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Path is where devices ask.
const Path = "/locate"

// AnnouncePath is where a box tells the region under which name it can be
// reached. A server that knows no such path answers 404.
const AnnouncePath = "/v1/announcement"

// OperatorsPath is where operators ask what a device would be answered.
const OperatorsPath = "/v1/locate"

// Bounds of what a box says of itself, and of what a region reports.
const (
	maxSites = 256
	maxSeen  = 8
	maxBoxes = 20_000
	maxLists = 200_000
)

// Announcement is what a box says of itself. Without a Host it wants no devices
// to be sent to it.
type Announcement struct {
	Host  string    `json:"host,omitempty"`  // its public name
	Port  int       `json:"port,omitempty"`  // of HTTPS
	Until time.Time `json:"until,omitzero"`  // of the certificate for that name
	Sites []string  `json:"sites,omitempty"` // that it answers for below /o/
	// Hosts are names below Host that are a site's own, by site.
	Hosts map[string]string `json:"hosts,omitempty"`
}

// Reply is what the region says to it.
type Reply struct {
	// Taken: devices are sent there from now on.
	Taken bool   `json:"taken"`
	Why   string `json:"why,omitempty"` // not
}

// Equal reports whether both say the same.
func (a Announcement) Equal(b Announcement) bool {
	return a.Host == b.Host && a.Port == b.Port && a.Until.Equal(b.Until) && slices.Equal(a.Sites, b.Sites) && equalHosts(a.Hosts, b.Hosts)
}

func equalHosts(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for site, host := range a {
		if b[site] != host {
			return false
		}
	}
	return true
}

// NameOf is the one public name that a box can have in a region.
func NameOf(box, domain string) string { return box + "." + domain }

// ErrName is an announcement of a name that is not the box's.
var ErrName = errors.New("that is not this box's name")

// Check reports what is wrong with what a box announces in a region whose boxes'
// names lie below domain.
func (a Announcement) Check(box, domain string) error {
	if a.Host != NameOf(box, domain) {
		return fmt.Errorf("%w: it can be called %s and nothing else", ErrName, NameOf(box, domain))
	}
	return a.bounded()
}

func (a Announcement) bounded() error {
	switch {
	case !isHost(a.Host):
		return fmt.Errorf("%.80q is no host name", a.Host)
	case a.Port < 1 || a.Port > 65535:
		return fmt.Errorf("%d is no port", a.Port)
	case len(a.Sites) > maxSites:
		return fmt.Errorf("%d sites are too many, the most is %d", len(a.Sites), maxSites)
	}
	for _, site := range a.Sites {
		if !isSite(site) {
			return fmt.Errorf("%.80q is no name of a site", site)
		}
	}
	for site, host := range a.Hosts {
		if !slices.Contains(a.Sites, site) {
			return fmt.Errorf("%.80q has a host and is no site of the box", site)
		}
		if !isHost(host) || !strings.HasSuffix(host, "."+a.Host) {
			return fmt.Errorf("%.80q does not lie below %s", host, a.Host)
		}
	}
	return nil
}

// Box is what is known of a box.
type Box struct {
	Name   string `json:"name"`
	School string `json:"school"`
	Announcement
	// Seen are the public addresses from which it is connected: an IPv4 address,
	// or the prefix of an IPv6 one.
	Seen  []netip.Prefix `json:"seen,omitempty"`
	Alive bool           `json:"alive"` // it is connected
}

// Network is an address range of a school, as IT's list has it. Without a school
// nobody from there is sent to a box.
type Network struct {
	Prefix netip.Prefix `json:"prefix"`
	School string       `json:"school,omitempty"`
}

// Report is what one server, or one region, knows.
type Report struct {
	Boxes    []Box     `json:"boxes,omitempty"`
	Networks []Network `json:"networks,omitempty"`
}

// Check bounds a report from another node whose boxes' names lie below domain.
func (r Report) Check(domain string) error {
	if len(r.Boxes) > maxBoxes || len(r.Networks) > maxLists {
		return fmt.Errorf("%d boxes and %d networks are too many", len(r.Boxes), len(r.Networks))
	}
	for _, b := range r.Boxes {
		if !strings.HasSuffix(b.Host, "."+domain) {
			return fmt.Errorf("box %.80q: its name %.80q does not lie below %s", b.Name, b.Host, domain)
		}
		if err := b.bounded(); err != nil {
			return fmt.Errorf("box %.80q: %w", b.Name, err)
		}
		if len(b.Seen) > maxSeen || slices.ContainsFunc(b.Seen, badPrefix) {
			return fmt.Errorf("box %.80q: its addresses make no sense", b.Name)
		}
	}
	if i := slices.IndexFunc(r.Networks, func(n Network) bool { return badPrefix(n.Prefix) }); i >= 0 {
		return fmt.Errorf("network %s makes no sense", r.Networks[i].Prefix)
	}
	return nil
}

// badPrefix reports a prefix that covers far more than a school, or none.
func badPrefix(p netip.Prefix) bool {
	least := 8
	if p.Addr().Is6() {
		least = 20
	}
	return !p.IsValid() || p.Bits() < least || p != p.Masked() || p.Addr().Is4In6()
}

// SeenAs is what stands for an address under which a box, or a device, is seen.
func SeenAs(a netip.Addr, bits6 int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = bits6
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func isSite(name string) bool {
	return name != "" && len(name) <= 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isHost reports a host name in small letters, without a dot at its end.
func isHost(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
