//go:build system && linux

package yard_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"preau/node/whole/netns"
	"strconv"
	"testing"
	"time"
)

// Addresses. The school's network is 10.71.0.0/16: its router 10.71.0.1, boxes
// from 10.71.0.11, devices from 10.71.1.1. Behind the line: region and site.
const (
	router   = "10.71.0.1"
	siteAddr = "10.72.0.80"
	devices  = 64
)

// Ports of a box. The last is where somebody listens who answers in its place.
const (
	nearPort   = 4435
	gossipPort = 7946
	liarPort   = 4436
)

// stage says what a school is to be like. The zero stage has one box and a line
// of 20 Mbit/s and 40 ms there and back.
type stage struct {
	boxes   int
	servers int
	rate    int64 // bits per second
	alone   bool  // boxes with neighbours.enabled = false
	more    string
}

// yard is a school in namespaces, the region and the site that it is cut off
// from by a slow line, and what runs in them.
type yard struct {
	dir      string
	internet *host // region and site
	school   *host // the router, with the bridge lan0
	rooms    *host // the devices
	line     *netns.Line
	site     *site
	servers  []*process
	boxes    []*box
	operator string // the folder of who may do everything
	poolable bool   // this build's boxes know of neighbours
}

// box is a box of the school, or one of another school on the same network.
type box struct {
	*process
	data, config string
}

// raise makes the school, and runs all of it.
func raise(t *testing.T, s stage) *yard {
	t.Helper()
	began := time.Now()
	y := lay(t, s)
	y.found(t, max(1, s.servers))
	for i := range max(1, s.boxes) {
		b := y.enrol(t, fmt.Sprintf("box-%d", i+1), "0690001A", !s.alone, s.more)
		b.run(t)
	}
	for _, b := range y.boxes {
		y.ready(t, b)
	}
	t.Logf("the school stands after %v", time.Since(began).Round(time.Millisecond))
	return y
}

// pool is raise for boxes that are neighbours, and waits until all of them know
// one another.
func pool(t *testing.T, s stage) *yard {
	t.Helper()
	y := raise(t, s)
	y.acquainted(t, 30*time.Second, y.boxes...)
	return y
}

// lay makes the namespaces, the networks and the site.
func lay(t *testing.T, s stage) *yard {
	t.Helper()
	y := &yard{dir: t.TempDir()}
	probe := filepath.Join(y.dir, "probe.toml")
	write(t, probe, fmt.Sprintf("data = %q\n[neighbours]\nenabled = true\n[[listen]]\naddress = \":80\"\n%s", y.dir, y.site.toml()))
	out, err := exec.CommandContext(t.Context(), os.Getenv(binaryEnv), "box", "--config", probe, "--check").CombinedOutput()
	if y.poolable = err == nil; err != nil {
		t.Logf("the boxes of this build have no neighbours: %s", out)
	}
	y.internet = newHost(t, "net", siteAddr)
	for _, a := range []string{siteAddr, "10.72.0.11", "10.72.0.12", "10.72.0.13"} {
		y.internet.IP(t, "addr", "add", a+"/32", "dev", "lo")
	}
	y.school = newHost(t, "sch", router)
	y.school.Sh(t, "echo 1 > /proc/sys/net/ipv4/ip_forward")
	// Without an address of its own a bridge takes that of a port, another one
	// when a port comes, and devices lose their router for a while.
	y.school.IP(t, "link", "add", "lan0", "address", "02:71:00:00:00:01", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
	y.school.IP(t, "addr", "add", router+"/16", "dev", "lan0")
	y.school.IP(t, "link", "set", "lan0", "up")
	rate := s.rate
	if rate == 0 {
		rate = 20_000_000
	}
	y.line = netns.NewLine(t, y.school.Host, "wan0", y.internet.Host, "wan0", netns.Order{Rate: rate, Delay: 20 * time.Millisecond})
	y.internet.IP(t, "addr", "add", "172.30.71.1/30", "dev", "wan0")
	y.school.IP(t, "addr", "add", "172.30.71.2/30", "dev", "wan0")
	y.school.IP(t, "route", "add", "default", "via", "172.30.71.1")
	// As at every school: nobody outside can begin a connection to a box.
	y.school.Filter(t, netns.Masquerade("wan0")...)
	y.rooms = newHost(t, "dev", "10.71.1.1")
	y.plug(t, y.rooms, "dev")
	for i := 2; i <= devices; i++ {
		y.rooms.IP(t, "addr", "add", fmt.Sprintf("10.71.1.%d/16", i), "dev", "eth0")
	}
	y.site = newSite(t, y.internet)
	return y
}

// plug connects a namespace to the school's network, as eth0.
func (y *yard) plug(t *testing.T, h *host, name string) {
	t.Helper()
	y.school.IP(t, "link", "add", "p-"+name, "type", "veth", "peer", "name", "eth0", "netns", h.NS)
	y.school.IP(t, "link", "set", "p-"+name, "master", "lan0", "up")
	h.IP(t, "addr", "add", h.Addr.String()+"/16", "dev", "eth0")
	h.IP(t, "link", "set", "eth0", "up")
	h.IP(t, "route", "add", "default", "via", router)
}

// unplug deletes the namespace's interface, as when an adapter is pulled out.
func (y *yard) unplug(t *testing.T, name string) {
	t.Helper()
	y.school.IP(t, "link", "del", "p-"+name)
}

// found makes a region of so many servers.
func (y *yard) found(t *testing.T, servers int) {
	t.Helper()
	y.operator = filepath.Join(y.dir, "operator")
	for i := range servers {
		name := "s" + strconv.Itoa(i+1)
		data := filepath.Join(y.dir, name)
		address := fmt.Sprintf("10.72.0.%d:4433", 11+i)
		if i == 0 {
			y.internet.says(t, nil, "region", "init", "--data", data, "--listen", address, "--name", "Lyon", "--server", name)
			netns.Tool(t, "cp", "-a", filepath.Join(data, "operator"), y.operator)
		} else {
			token := y.token(t, "--server")
			y.internet.says(t, nil, "region", "join", token, "--data", data, "--listen", address, "--server", name)
		}
		file := filepath.Join(y.dir, name+".toml")
		p := &process{
			name: name, host: y.internet, log: filepath.Join(y.dir, name+".log"), admin: fmt.Sprintf("127.0.0.1:%d", 9191+i),
			args: []string{"region", "run", "--config", file},
		}
		write(t, file, fmt.Sprintf("data = %q\nlisten = %q\nbudget = \"1GiB\"\n[admin]\nlisten = %q\n%s", data, address, p.admin, y.site.toml()))
		y.servers = append(y.servers, p)
		p.run(t)
		within(t, 60*time.Second, func() error {
			var at struct {
				Leader  string
				Servers []struct{ Name, State string }
			}
			if err := y.internet.said(&at, "status", "--as", y.operator); err != nil && at.Leader == "" {
				return err
			}
			for _, s := range at.Servers {
				if s.Name == name && (s.State == "leader" || s.State == "follower") {
					return nil
				}
			}
			return fmt.Errorf("%s is not in: %+v", name, at)
		})
	}
}

// token makes an invitation.
func (y *yard) token(t *testing.T, args ...string) string {
	t.Helper()
	var made struct{ Token string }
	within(t, 60*time.Second, func() error {
		return y.internet.said(&made, append([]string{"region", "token", "--as", y.operator}, args...)...)
	})
	return made.Token
}

// enrol makes a box that does not run yet, in a namespace on the school's
// network. more is put into its configuration's section of neighbours.
func (y *yard) enrol(t *testing.T, name, school string, neighbours bool, more string) *box {
	t.Helper()
	n := len(y.boxes) + 1
	h := newHost(t, "b"+strconv.Itoa(n), fmt.Sprintf("10.71.0.%d", 10+n))
	y.plug(t, h, "b"+strconv.Itoa(n))
	b := &box{data: filepath.Join(y.dir, name), config: filepath.Join(y.dir, name+".toml")}
	b.process = &process{name: name, host: h, log: filepath.Join(y.dir, name+".log"), admin: "127.0.0.1:9190", args: []string{"box", "--config", b.config}}
	token := y.token(t, "--school", school)
	h.says(t, nil, "enrol", "--token", token, "--data", b.data, "--name", name)
	y.configure(t, b, neighbours, more)
	y.boxes = append(y.boxes, b)
	return b
}

// configure writes the box's file.
func (y *yard) configure(t *testing.T, b *box, neighbours bool, more string) {
	t.Helper()
	text := fmt.Sprintf("data = %q\nbudget = \"1GiB\"\n[log]\nlevel = \"info\"\nformat = \"text\"\n[admin]\nlisten = \"127.0.0.1:9190\"\n", b.data)
	if y.poolable {
		text += fmt.Sprintf("[neighbours]\nenabled = %v\n%s\n", neighbours, more)
	}
	write(t, b.config, text+"[[listen]]\naddress = \":80\"\n"+y.site.toml())
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the box serves, and follows its region.
func (y *yard) ready(t *testing.T, b *box) {
	t.Helper()
	within(t, 60*time.Second, func() error {
		if _, err := b.look("/readyz"); err != nil {
			return err
		}
		var boxes []struct{ Name, State string }
		if err := y.internet.said(&boxes, "boxes", "--as", y.operator); err != nil {
			return err
		}
		for _, at := range boxes {
			if at.Name == b.name && at.State == "connected" {
				return nil
			}
		}
		return fmt.Errorf("%s is not connected: %+v", b.name, boxes)
	})
}

// neighbour is one of those that a box tells of.
type neighbour struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Address string `json:"address"`
	Found   string `json:"found"`
}

const alive = "alive"

// neighbours is whom the box knows.
func (b *box) neighbours() ([]neighbour, error) {
	text, err := b.look("/neighbours")
	if err != nil {
		return nil, err
	}
	var list []neighbour
	if err := json.Unmarshal(text, &list); err == nil {
		return list, nil
	}
	var in struct{ Neighbours []neighbour }
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("/neighbours of %s: %w in %.300q", b.name, err, text)
	}
	return in.Neighbours, nil
}

// knows reports whether the box takes another for alive.
func (b *box) knows(name string) error {
	list, err := b.neighbours()
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.Name == name && n.State == alive {
			return nil
		}
	}
	return fmt.Errorf("%s does not know %s: %+v", b.name, name, list)
}

// acquainted waits until all of the boxes know one another.
func (y *yard) acquainted(t *testing.T, limit time.Duration, boxes ...*box) time.Duration {
	t.Helper()
	if !y.poolable {
		t.Fatal("the boxes of this build have no neighbours")
	}
	at, err := took(limit, 20*time.Millisecond, func() error {
		for _, b := range boxes {
			for _, other := range boxes {
				if other == b {
					continue
				}
				if err := b.knows(other.name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// move gives the box's interface another address.
func (y *yard) move(t *testing.T, b *box, to string) {
	t.Helper()
	old := b.host.Addr
	b.host.Addr = netip.MustParseAddr(to)
	b.host.IP(t, "addr", "del", old.String()+"/16", "dev", "eth0")
	b.host.IP(t, "addr", "add", to+"/16", "dev", "eth0")
	b.host.IP(t, "route", "replace", "default", "via", router)
}
