package provision

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"preau/node/config"
	"preau/node/control"
	"preau/replication/identity"
)

// Settings is what a provisioning file says.
type Settings struct {
	Token   string   `toml:"token" doc:"The invitation that the region made for this box (preau region token --school CODE). It works once and is wiped from the file when it was used."`
	Region  []string `toml:"region" doc:"Servers of the region as host:port, asked before those that the token names. Most files need none."`
	Name    string   `toml:"name" doc:"What the box is called in its region: a-z, 0-9 and -. Without one it is box- and the end of its first network card's address."`
	Network Network  `toml:"network" doc:"The box's address, where the school's network gives it none by DHCP."`

	used bool // there are the blanks that wipe leaves in place of a token
}

// Network is the box's place in the school's network; the zero value is DHCP.
type Network struct {
	Interface string   `toml:"interface" doc:"The network card, such as enp1s0. Without one all that have a cable are meant."`
	Address   string   `toml:"address" doc:"The box's address with the network's length, such as 10.20.30.5/24. Without one DHCP is asked."`
	Gateway   string   `toml:"gateway" doc:"The router's address."`
	DNS       []string `toml:"dns" doc:"Addresses of name servers."`
	NTP       []string `toml:"ntp" doc:"Time servers, by name or address, where the usual ones can't be reached."`
}

// noToken is said of a file that has none.
const noToken = `token: there is none: ask the region for a new one (preau region token --school CODE) and write token = "PREAU1-..."`

// parse reads a file's text. Editors of other systems put marks before it.
func parse(name string, text []byte) (Settings, error) {
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) {
		return Settings{}, errors.New(name + ": it is stored as UTF-16: store it again as UTF-8, or as plain text")
	}
	var s Settings
	err := config.Parse(name, bytes.TrimPrefix(text, []byte("\ufeff")), &s, func() error { return s.check() })
	given := s.Token
	s.Token = strings.TrimSpace(given)
	s.used = given != "" && s.Token == ""
	return s, err
}

func (s *Settings) check() error {
	var p config.Problems
	if strings.TrimSpace(s.Token) != "" {
		if _, err := control.RegionOf(s.Token); err != nil {
			p.Addf("token", "%v", err)
		}
	}
	for i, server := range s.Region {
		if _, port, err := net.SplitHostPort(server); err != nil || !isPort(port) {
			p.Addf(config.Item("region", i), "%q is no server: write host:port, such as region.example.org:4433", server)
		}
	}
	if s.Name != "" {
		if _, err := identity.ParseName(s.Name); err != nil {
			p.Addf("name", "%v", err)
		}
	}
	s.Network.check(&p)
	return p.Err()
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0 && n <= 65535
}

func (n Network) check(p *config.Problems) {
	if n.Interface != "" && (len(n.Interface) > 15 || strings.ContainsFunc(n.Interface, func(r rune) bool { return !plain(r) })) {
		p.Addf("network.interface", "%q is no network card's name: write one such as enp1s0, or leave the line out", n.Interface)
	}
	for i, name := range n.NTP {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
			p.Addf(config.Item("network.ntp", i), "%q is neither a name nor an address", name)
		}
	}
	for i, address := range n.DNS {
		if _, err := netip.ParseAddr(address); err != nil {
			p.Addf(config.Item("network.dns", i), "%q is no address: write one such as 10.20.30.1", address)
		}
	}
	if n.Address == "" {
		if n.Gateway != "" {
			p.Addf("network.gateway", "is of no use without an address: write address = \"10.20.30.5/24\" too, or leave both out for DHCP")
		}
		return
	}
	own, err := netip.ParsePrefix(n.Address)
	if err != nil {
		p.Addf("network.address", "%q is no address with its network's length: write it like 10.20.30.5/24", n.Address)
		return
	}
	if own.Masked().Addr() == own.Addr() && !own.IsSingleIP() {
		p.Addf("network.address", "%q is the network's own address: write the box's, such as %s", n.Address, netip.PrefixFrom(own.Addr().Next(), own.Bits()))
	}
	switch router, err := netip.ParseAddr(n.Gateway); {
	case n.Gateway == "":
		p.Addf("network.gateway", "is missing: write the router's address, else the box reaches no region")
	case err != nil:
		p.Addf("network.gateway", "%q is no address: write one such as 10.20.30.1", n.Gateway)
	case !own.Contains(router):
		p.Addf("network.gateway", "%s is not in the box's own network %s", router, own.Masked())
	}
	if len(n.DNS) == 0 {
		p.Addf("network.dns", "is missing: write the addresses of name servers, such as [\"10.20.30.1\"]")
	}
}

// plain is a character that means nothing to who reads the network's file.
func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' || r == ':'
}

// file is what systemd-networkd is told, or nothing for DHCP on all cards.
func (n Network) file() string {
	if n.Interface == "" && n.Address == "" && len(n.DNS) == 0 && len(n.NTP) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("[Match]\n")
	if n.Interface != "" {
		b.WriteString("Name=" + n.Interface + "\n")
	} else {
		b.WriteString("Type=ether\n")
	}
	b.WriteString("\n[Network]\n")
	if n.Address != "" {
		b.WriteString("Address=" + n.Address + "\nGateway=" + n.Gateway + "\n")
	} else {
		b.WriteString("DHCP=yes\n")
	}
	for _, address := range n.DNS {
		b.WriteString("DNS=" + address + "\n")
	}
	for _, name := range n.NTP {
		b.WriteString("NTP=" + name + "\n")
	}
	if n.Address == "" {
		b.WriteString("\n[DHCPv4]\nClientIdentifier=mac\n")
		if len(n.DNS) > 0 {
			b.WriteString("UseDNS=no\n")
		}
	}
	return b.String()
}

// writeNetwork puts the file there in one step, or removes it. It holds no
// secret, and who sets the network is another user.
func writeNetwork(path, text string) error {
	if text == "" {
		return os.Remove(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	half := path + ".new"
	if err := os.WriteFile(half, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(half, path)
}

// same reports settings that say the same.
func (s Settings) same(o Settings) bool {
	return s.Token == o.Token && s.Name == o.Name && slices.Equal(s.Region, o.Region) && s.Network.file() == o.Network.file()
}
