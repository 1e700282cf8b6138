//go:build system && linux

package mdns_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/discovery/mdns"
)

// patience is for what would otherwise hang: slow machines are not wrong.
const patience = 40 * time.Second

// lan is a bridge in a namespace of its own, with boxes on it.
type lan struct {
	t    *testing.T
	hub  string
	next int
}

// newLAN makes a LAN. It needs root and iproute2.
func newLAN(t *testing.T) *lan {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal("ip is missing: install iproute2")
	}
	l := &lan{t: t, hub: fmt.Sprintf("mdt%dh", os.Getpid())}
	l.namespace(l.hub)
	// With snooping and nobody who asks for members, a bridge goes quiet.
	l.ip("-n", l.hub, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	l.ip("-n", l.hub, "link", "set", "br0", "up")
	return l
}

func (l *lan) namespace(name string) {
	l.t.Helper()
	l.ip("netns", "add", name)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	l.ip("-n", name, "link", "set", "lo", "up")
}

func (l *lan) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// machine is a namespace on the LAN.
type machine struct {
	lan  *lan
	n    int
	name string
}

func (l *lan) machine() *machine {
	l.t.Helper()
	l.next++
	m := &machine{lan: l, n: l.next, name: fmt.Sprintf("mdt%d-%d", os.Getpid(), l.next)}
	l.namespace(m.name)
	m.plug()
	m.address("add", m.n)
	return m
}

// plug makes the machine's interface, without an address.
func (m *machine) plug() {
	m.lan.t.Helper()
	port := fmt.Sprintf("p%d", m.n)
	m.lan.ip("link", "add", "eth0", "netns", m.name, "type", "veth", "peer", "name", port, "netns", m.lan.hub)
	m.lan.ip("-n", m.lan.hub, "link", "set", port, "master", "br0", "up")
	m.lan.ip("-n", m.name, "link", "set", "eth0", "up")
}

func (m *machine) unplug() {
	m.lan.t.Helper()
	m.lan.ip("-n", m.name, "link", "del", "eth0")
}

func (m *machine) address(verb string, n int) {
	m.lan.t.Helper()
	m.lan.ip("-n", m.name, "addr", verb, fmt.Sprintf("10.77.0.%d/24", n), "dev", "eth0")
}

// command runs the test binary as a child in the machine.
func (m *machine) command(ctx context.Context, o order) *exec.Cmd {
	m.lan.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.lan.t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		m.lan.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", m.name, self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// ask is what a device in the machine gets as addresses of a name.
func (m *machine) ask(name string) []string {
	m.lan.t.Helper()
	ctx, cancel := context.WithTimeout(m.lan.t.Context(), patience)
	defer cancel()
	m.lan.ip("-n", m.name, "route", "replace", "224.0.0.0/4", "dev", "eth0")
	out, err := m.command(ctx, order{Ask: name, Type: 1}).Output()
	if err != nil {
		m.lan.t.Fatal(err)
	}
	var got []string
	if err := json.Unmarshal(out, &got); err != nil {
		m.lan.t.Fatal(err)
	}
	return got
}

// asks until the device gets just these addresses.
func (m *machine) asks(name string, want ...string) {
	m.lan.t.Helper()
	slices.Sort(want)
	var got []string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if got = m.ask(name); slices.Equal(got, want) {
			return
		}
	}
	m.lan.t.Fatalf("%s has the addresses %v, want %v", name, got, want)
}

// box is an MDNS that runs in a machine.
type box struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	begun time.Time

	mu      sync.Mutex
	reports []report
	more    chan struct{} // closed and made anew with each report
}

func config(n int) mdns.Config {
	cfg := mdns.DefaultConfig()
	cfg.Instance, cfg.Port = fmt.Sprintf("box-%d", n), 4433
	cfg.HTTPPort, cfg.Title = 80, fmt.Sprintf("Préau, École n.%d", n)
	cfg.Text = []string{fmt.Sprintf("id=box-%d", n), `v=1\2`}
	cfg.Interfaces = []string{"eth*"}
	return cfg
}

// start runs a box. It is killed at the end of the test if it still runs.
func (m *machine) start(cfg mdns.Config) *box {
	m.lan.t.Helper()
	return m.child(order{Config: cfg})
}

func (m *machine) child(o order) *box {
	m.lan.t.Helper()
	cmd := m.command(context.Background(), o)
	in, err := cmd.StdinPipe()
	if err != nil {
		m.lan.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.lan.t.Fatal(err)
	}
	b := &box{t: m.lan.t, cmd: cmd, stdin: in, begun: time.Now(), more: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		m.lan.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r report
			dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
			if err := dec.Decode(&r); err != nil {
				continue
			}
			b.mu.Lock()
			b.reports = append(b.reports, r)
			close(b.more)
			b.more = make(chan struct{})
			b.mu.Unlock()
		}
	})
	m.lan.t.Cleanup(func() {
		b.kill()
		wg.Wait()
		_ = cmd.Wait()
	})
	return b
}

func (b *box) kill() { _ = b.cmd.Process.Kill() }

// until waits for a report of after since which is as it should be.
func (b *box) until(what string, since time.Time, ok func(report) bool) report {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		b.mu.Lock()
		reports, more := b.reports, b.more
		b.mu.Unlock()
		for _, r := range reports {
			if r.At.After(since) && ok(r) {
				return r
			}
		}
		select {
		case <-more:
		case <-timeout:
			last, _ := json.Marshal(reports[max(0, len(reports)-3):])
			b.t.Fatalf("waited in vain until %s; last: %s", what, last)
		}
	}
}

// knows waits until the last that the box said names exactly these.
func (b *box) knows(since time.Time, instances ...string) report {
	b.t.Helper()
	return b.until("it knows "+strings.Join(instances, ", "), since, func(r report) bool {
		var got []string
		for _, h := range r.Hints {
			got = append(got, h.Instance)
		}
		return slices.Equal(got, instances)
	})
}

// stop ends the box in good order and returns its last words.
func (b *box) stop() report {
	b.t.Helper()
	b.stdin.Close()
	r := b.until("it has ended", time.Time{}, func(r report) bool { return r.Ended })
	if r.Leak != "" {
		b.t.Errorf("goroutines are left: %s", r.Leak)
	}
	return r
}
