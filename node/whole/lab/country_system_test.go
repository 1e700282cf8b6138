//go:build system && linux

package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/node/whole/netns"
	"preau/replication/central/cephtest"
)

const (
	schools = 2
	each    = 2  // boxes of a school
	devices = 40 // of a school

	lessons = "lessons" // the bucket that is watched

	lanRate = "1gbit" // of a box's port

	schoolTitle = "École des Tilleuls"
)

// A school's line: 20 Mbit/s, 20 ms one way, and of 200 packets one is lost.
var usual = netns.Order{Rate: 20_000_000, Delay: 20 * time.Millisecond, Loss: 0.005}

// Addresses. Region 10.250.0.0/24, centre 10.251.0.0/24; the schools' networks
// are 10.11.0.0/16 and so on: boxes from .0.11, devices from .1.1.
const (
	centreAddr  = "10.251.0.11"
	serverPort  = 4433
	gatewayPort = 4434
	boxAdmin    = "127.0.0.1:9190"
	serverAdmin = "127.0.0.1:9191"
	centreAdmin = "127.0.0.1:9192"
)

// country is all of it.
type country struct {
	*ministry.Ministry
	*ministry.Centre
	dir     string
	on      machines
	core    *netns.Host // the internet
	gateway *netns.Host
	servers []*netns.Host
	schools []*school
	cert    *certificate
	report  *report
}

// school is one with its boxes, its devices and its line.
type school struct {
	code   string
	net    int // 10.net.0.0/16
	router *netns.Host
	rooms  *netns.Host // the devices
	hosts  []*netns.Host
	line   *netns.Line
	boxes  []*ministry.Box
}

// raise makes the country, and runs all of it but what people do.
func raise(t *testing.T) *country {
	t.Helper()
	if missing := cephtest.Missing(); missing != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	c := &country{dir: os.Getenv(insideEnv), on: chosen(), cert: newCertificate(t)}
	c.lay(t)
	c.report = newReport(c.on.String(), fmt.Sprintf("%d schools with %d boxes and %d devices each, behind NAT and %s.", schools, each, devices, described(usual)))
	m := c.on.up(t, c)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range m.All() {
				t.Logf("end of the log of %s:\n%s", p.Name, p.Tail())
			}
		}
	})
	c.Ministry = m
	for i, b := range m.Boxes {
		s := c.schools[i/each]
		s.boxes = append(s.boxes, b)
	}
	var err error
	if c.Centre, err = m.Centre(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Centre.Close() }) // only connections
	c.did(t, "the country works", "a real Ceph, the gateway, three servers, %d boxes", len(m.Boxes))
	return c
}

// described is a line in words.
func described(o netns.Order) string {
	return fmt.Sprintf("lines of %g Mbit/s and %v one way, which lose %.1f %% of packets", float64(o.Rate)/1e6, o.Delay, o.Loss*100)
}

// lay makes the namespaces, the networks and the lines.
func (c *country) lay(t *testing.T) {
	t.Helper()
	c.core = netns.New(t, prefix+"core", "10.250.0.1")
	forward(t, c.core)
	bridge(t, c.core, "region", "10.250.0.1/24")
	bridge(t, c.core, "centre", "10.251.0.1/24")
	centre := &netns.Host{NS: centreNS, Addr: netip.MustParseAddr(centreAddr)}
	centre.IP(t, "link", "set", "lo", "up")
	plug(t, c.core, "centre", centre, "c0", 24, "10.251.0.1")
	c.gateway = centre
	for i := range 3 {
		h := netns.New(t, fmt.Sprintf("%sr%d", prefix, i+1), fmt.Sprintf("10.250.0.%d", 11+i))
		plug(t, c.core, "region", h, fmt.Sprintf("r%d", i+1), 24, "10.250.0.1")
		honest(t, h)
		c.servers = append(c.servers, h)
	}
	for n := range schools {
		c.schools = append(c.schools, c.school(t, n+1))
	}
}

// school lays the network of one.
func (c *country) school(t *testing.T, n int) *school {
	t.Helper()
	s := &school{code: fmt.Sprintf("069000%dA", n), net: 10 + n}
	name := fmt.Sprintf("%ss%d", prefix, n)
	gate := s.addr(0, 1)
	s.router = netns.New(t, name, gate)
	forward(t, s.router)
	bridge(t, s.router, "lan0", gate+"/16")
	far := "wan" + strconv.Itoa(n)
	s.line = netns.NewLine(t, s.router, "wan0", c.core, far, usual)
	s.router.IP(t, "addr", "add", fmt.Sprintf("172.16.%d.2/30", n), "dev", "wan0")
	c.core.IP(t, "addr", "add", fmt.Sprintf("172.16.%d.1/30", n), "dev", far)
	s.router.IP(t, "route", "add", "default", "via", fmt.Sprintf("172.16.%d.1", n))
	s.router.Filter(t, netns.Masquerade("wan0")...)
	for i := range each {
		h := netns.New(t, fmt.Sprintf("%sb%d", name, i+1), s.addr(0, 11+i))
		c.on.place(t, c, s, h, i)
		s.hosts = append(s.hosts, h)
	}
	s.rooms = netns.New(t, name+"dev", s.addr(1, 1))
	plug(t, s.router, "lan0", s.rooms, "dev", 16, gate)
	for i := 2; i <= devices; i++ {
		s.rooms.IP(t, "addr", "add", s.addr(1, i)+"/16", "dev", "eth0")
	}
	return s
}

// plug puts a server of the school's network on a port of 1 Gbit/s.
func (s *school) plug(t *testing.T, h *netns.Host, port string) {
	t.Helper()
	plug(t, s.router, "lan0", h, port, 16, s.addr(0, 1))
	honest(t, h)
	// A switch throws away what its port can't take. A network card does not: its
	// machine waits. With drops there, one device gets several times another's share.
	for _, end := range [][]string{{s.router.NS, "p-" + port, "latency", "20ms"}, {h.NS, "eth0", "limit", "64mb"}} {
		netns.Tool(t, "tc", append([]string{"-n", end[0], "qdisc", "add", "dev", end[1], "root", "tbf", "rate", lanRate, "burst", "256kb"}, end[2:]...)...)
	}
}

func (s *school) addr(high, low int) string { return fmt.Sprintf("10.%d.%d.%d", s.net, high, low) }

func forward(t *testing.T, h *netns.Host) {
	t.Helper()
	h.Sh(t, "echo 1 > /proc/sys/net/ipv4/ip_forward")
}

// honest has a host send as most machines do: BBR, where it is the kernel's
// usual way, takes no notice of lost packets, and figures would look too good.
func honest(t *testing.T, h *netns.Host) {
	t.Helper()
	h.Sh(t, "echo reno > /proc/sys/net/ipv4/tcp_congestion_control")
}

func bridge(t *testing.T, h *netns.Host, name, addr string) {
	t.Helper()
	// Without an address of its own a bridge takes that of a port, another one
	// when a port comes, and who knows the old one is lost for a while.
	var last [4]byte
	copy(last[:], netip.MustParsePrefix(addr).Addr().AsSlice())
	h.IP(t, "link", "add", name, "address", net.HardwareAddr(append([]byte{2, 0x71}, last[:]...)).String(), "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
	h.IP(t, "addr", "add", addr, "dev", name)
	h.IP(t, "link", "set", name, "up")
}

// plug connects a host to a bridge, as eth0.
func plug(t *testing.T, at *netns.Host, bridge string, h *netns.Host, port string, bits int, gate string) {
	t.Helper()
	at.IP(t, "link", "add", "p-"+port, "type", "veth", "peer", "name", "eth0", "netns", h.NS)
	at.IP(t, "link", "set", "p-"+port, "master", bridge, "up")
	h.IP(t, "addr", "add", fmt.Sprintf("%s/%d", h.Addr, bits), "dev", "eth0")
	h.IP(t, "link", "set", "eth0", "up")
	h.IP(t, "route", "add", "default", "via", gate)
}

// place says where each process runs.
func (c *country) place(name string) ministry.Place {
	kind, number := name[:1], int(name[len(name)-1]-'1')
	switch kind {
	case "s":
		h := c.servers[number]
		return ministry.Place{Enter: h.Enter(), Listen: fmt.Sprintf("%s:%d", h.Addr, serverPort), Admin: serverAdmin, Budget: "1GiB"}
	case "b":
		s := c.schools[number/each]
		h := s.hosts[number%each]
		return ministry.Place{Enter: h.Enter(), Listen: h.Addr.String(), Admin: boxAdmin, School: s.code, Budget: "2GiB", Settings: c.settings()}
	}
	return ministry.Place{Listen: fmt.Sprintf("%s:%d", c.gateway.Addr, gatewayPort), Admin: centreAdmin}
}

// settings are what a process that is a box has beside its folder: people sign in over
// TLS.
func (c *country) settings() string {
	return fmt.Sprintf("[log]\nlevel = \"info\"\nformat = \"text\"\n[portal]\ntitle = %q\n[[listen]]\naddress = \":80\"\n[[listen]]\naddress = \":443\"\n[[listen.certificate]]\ncert = %q\nkey = %q\n",
		schoolTitle, c.cert.file(c.dir, "cert.pem"), c.cert.file(c.dir, "key.pem"))
}
