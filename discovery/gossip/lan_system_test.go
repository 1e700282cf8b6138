//go:build system && linux

package gossip

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestLANProcess is a box in a namespace of its own; it prints its members
// whenever they change. In place of a certificate it says its name to whoever
// connects.
func TestLANProcess(t *testing.T) {
	name := os.Getenv("PREAU_GOSSIP_LAN_BOX")
	if name == "" {
		t.Skip("only as a child of another test")
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.School, cfg.Keys = name, "collège Jean-Moulin", [][]byte{keyA}
	cfg.Listen, cfg.RejoinEvery = os.Getenv("PREAU_GOSSIP_LAN_LISTEN"), 2*time.Second
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", ":8443")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name+"\n")
			_ = c.Close()
		}
	}()
	verify := func(ctx context.Context, name string, addr netip.AddrPort) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		defer c.Close()
		end, _ := ctx.Deadline()
		if err := c.SetDeadline(end); err != nil {
			return err
		}
		who, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || strings.TrimSpace(who) != name {
			return errors.Join(errForeign, err)
		}
		return nil
	}
	g, err := New(cfg, State{Port: 8443}, verify, slog.New(slog.NewTextHandler(os.Stderr, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	g.pace.address = time.Second
	for h := range strings.FieldsSeq(os.Getenv("PREAU_GOSSIP_LAN_HINTS")) {
		g.Hint(netip.MustParseAddrPort(h))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // until the parent goes
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-g.Changed():
			}
			var all []string
			for _, m := range g.Members() {
				all = append(all, m.Name+"@"+m.Addr.String())
			}
			fmt.Printf("members: %s\n", strings.Join(all, " "))
		}
	}()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// lan is a bridge and namespaces on it.
type lan struct{ t *testing.T }

func (l lan) sh(line string) {
	l.t.Helper()
	f := strings.Fields(line)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", line, err, out)
	}
}

func newLAN(t *testing.T, boxes int, addr func(i int) string) lan {
	t.Helper()
	l := lan{t}
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	for tool, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: install %s", tool, pkg)
		}
	}
	var made []string
	t.Cleanup(func() {
		for _, ns := range made {
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Errorf("remove %s: %v: %s", ns, err, out)
			}
		}
	})
	add := func(ns string) {
		l.sh("ip netns add " + ns)
		made = append(made, ns)
		l.sh("ip -n " + ns + " link set lo up")
	}
	add("gst-lan")
	l.sh("ip -n gst-lan link add br0 type bridge")
	l.sh("ip -n gst-lan link set br0 up")
	for i := 1; i <= boxes; i++ {
		ns := fmt.Sprint("gst-", i)
		add(ns)
		l.sh(fmt.Sprintf("ip -n %s link add eth0 type veth peer name p%d netns gst-lan", ns, i))
		l.sh(fmt.Sprintf("ip -n gst-lan link set p%d master br0 up", i))
		l.sh(fmt.Sprintf("ip -n %s link set eth0 up", ns))
		l.sh(fmt.Sprintf("ip -n %s addr add dev eth0 %s", ns, addr(i)))
	}
	return l
}

// process is a box of the LAN.
type process struct {
	t    *testing.T
	name string
	mu   sync.Mutex
	sees string
	past []string
	logs safeBuffer
}

func (l lan) box(i int, listen string, hints ...string) *process {
	l.t.Helper()
	p := &process{t: l.t, name: fmt.Sprint("box", i)}
	cmd := exec.Command("ip", "netns", "exec", fmt.Sprint("gst-", i), os.Args[0], "-test.run=^TestLANProcess$")
	cmd.Env = append(os.Environ(), "PREAU_GOSSIP_LAN_BOX="+p.name, "PREAU_GOSSIP_LAN_LISTEN="+listen, "PREAU_GOSSIP_LAN_HINTS="+strings.Join(hints, " "))
	cmd.Stderr = &p.logs
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			if rest, ok := strings.CutPrefix(s.Text(), "members:"); ok {
				p.mu.Lock()
				p.sees = strings.TrimSpace(rest)
				p.past = append(p.past, p.sees)
				p.mu.Unlock()
			}
		}
	}()
	l.t.Cleanup(func() {
		_ = in.Close()
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		<-done
		if err := cmd.Wait(); err != nil {
			l.t.Errorf("%s: %v", p.name, err)
		}
		if l.t.Failed() {
			l.t.Logf("%s saw %q and says:\n%s", p.name, p.past, &p.logs)
		}
	})
	return p
}

func (p *process) see(want ...string) {
	p.t.Helper()
	slices.Sort(want)
	end := time.After(patience)
	for {
		p.mu.Lock()
		now := p.sees
		p.mu.Unlock()
		if now == strings.Join(want, " ") {
			return
		}
		select {
		case <-end:
			p.t.Fatalf("%s sees %q and not %q", p.name, now, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) steps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.past)
}

func TestBoxesOnALAN(t *testing.T) {
	l := newLAN(t, 3, func(i int) string { return fmt.Sprintf("10.77.0.%d/24", i) })
	const any4 = "0.0.0.0:7946"
	b1 := l.box(1, any4)
	b2 := l.box(2, any4, "10.77.0.1:7946")
	b3 := l.box(3, any4, "10.77.0.1:7946")
	b1.see("box2@10.77.0.2", "box3@10.77.0.3")
	b2.see("box1@10.77.0.1", "box3@10.77.0.3")
	b3.see("box1@10.77.0.1", "box2@10.77.0.2")

	// UDP is filtered: nobody dies.
	l.sh("ip netns exec gst-2 nft add table inet gst")
	l.sh("ip netns exec gst-2 nft add chain inet gst in { type filter hook input priority 0 ; }")
	l.sh("ip netns exec gst-2 nft add rule inet gst in udp dport 7946 drop")
	before := b1.steps() + b2.steps() + b3.steps()
	<-time.After(12 * time.Second)
	if n := b1.steps() + b2.steps() + b3.steps() - before; n > 0 {
		t.Errorf("without UDP members changed %d times", n)
	}
	l.sh("ip netns exec gst-2 nft delete table inet gst")

	// A new address from DHCP.
	began := time.Now()
	l.sh("ip -n gst-3 addr del 10.77.0.3/24 dev eth0")
	l.sh("ip -n gst-3 addr add 10.77.0.33/24 dev eth0")
	for _, b := range []*process{b1, b2} {
		other := "box2@10.77.0.2"
		if b == b2 {
			other = "box1@10.77.0.1"
		}
		b.see(other, "box3@10.77.0.33")
	}
	b3.see("box1@10.77.0.1", "box2@10.77.0.2")
	t.Logf("at home under the new address after %s", time.Since(began))

	// The cable is pulled, and put back.
	began = time.Now()
	l.sh("ip -n gst-lan link set p2 down")
	b1.see("box3@10.77.0.33")
	b3.see("box1@10.77.0.1")
	b2.see()
	t.Logf("without the cable, gone after %s", time.Since(began))
	l.sh("ip -n gst-lan link set p2 up")
	began = time.Now()
	b1.see("box2@10.77.0.2", "box3@10.77.0.33")
	b2.see("box1@10.77.0.1", "box3@10.77.0.33")
	b3.see("box1@10.77.0.1", "box2@10.77.0.2")
	t.Logf("back after %s", time.Since(began))
}

func TestBoxesOnALANWithIPv6Only(t *testing.T) {
	l := newLAN(t, 2, func(i int) string { return fmt.Sprintf("fd77::%d/64", i) + " nodad" })
	b1 := l.box(1, "[::]:7946")
	b2 := l.box(2, "[::]:7946", "[fd77::1]:7946")
	b1.see("box2@fd77::2")
	b2.see("box1@fd77::1")
}
