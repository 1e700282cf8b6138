package mdns_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"preau/discovery/mdns"
)

// childEnv makes the test binary a box, or a device, in the namespace where it
// was started.
const childEnv = "PREAU_MDNS_CHILD"

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		if err := child(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// order is what a child is to do: ask for a name, or be a box.
type order struct {
	Ask    string // host name
	Type   uint16
	Hold   bool // the port, so that nobody else can have it, until told to end
	Config mdns.Config
}

// report is what a box says whenever it has heard something.
type report struct {
	At    time.Time
	Own   string
	Hints []mdns.Hint
	CPU   time.Duration // used so far
	Ended bool
	Leak  string
	Log   string
}

func child(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if o.Ask != "" {
		return ask(o.Ask, dnsmessage.Type(o.Type))
	}
	if o.Hold {
		return hold()
	}
	out := json.NewEncoder(os.Stdout)
	var log bytes.Buffer
	m, err := mdns.New(o.Config, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		bufio.NewScanner(os.Stdin).Scan() // a line, or the parent's end
		stop()
	}()
	before, sockets := goleak.IgnoreCurrent(), openSockets()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	own := "?"
	tick := time.NewTicker(100 * time.Millisecond) // a name makes no sound
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			leak := ""
			if err := goleak.Find(before, goleak.IgnoreTopFunction("os/signal.loop")); err != nil {
				leak = err.Error()
			}
			if n := openSockets(); n > sockets {
				leak += fmt.Sprintf("%d sockets are open, %d were before", n, sockets)
			}
			return out.Encode(report{At: time.Now(), Ended: true, Leak: leak, Log: log.String() + fmt.Sprint(err), CPU: used()})
		case <-m.Heard():
		case <-tick.C:
			if m.OwnName() == own {
				continue
			}
		}
		own = m.OwnName()
		if o.Config.Own == "" {
			tick.Stop()
		}
		if err := out.Encode(report{At: time.Now(), Own: own, Hints: m.Hints(), CPU: used()}); err != nil {
			return err
		}
	}
}

// hold has the port for itself, and says so.
func hold() error {
	for _, network := range []string{"udp4", "udp6"} {
		conn, err := net.ListenPacket(network, ":5353")
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	if err := json.NewEncoder(os.Stdout).Encode(report{At: time.Now()}); err != nil {
		return err
	}
	bufio.NewScanner(os.Stdin).Scan()
	return json.NewEncoder(os.Stdout).Encode(report{At: time.Now(), Ended: true})
}

// openSockets is how many sockets this process has, where that can be seen.
func openSockets() int {
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return 0
	}
	n := 0
	for _, fd := range all {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// ask asks as a simple device does, and prints the addresses that it gets within
// a second.
func ask(name string, typ dnsmessage.Type) error {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}},
	}
	b, err := q.Pack()
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(b, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	var got []string
	buf := make([]byte, 9000)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			break
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil {
			return err
		}
		for _, rr := range m.Answers {
			if a, ok := rr.Body.(*dnsmessage.AResource); ok && m.ID == 4711 {
				got = append(got, net.IP(a.A[:]).String())
			}
		}
	}
	slices.Sort(got)
	return json.NewEncoder(os.Stdout).Encode(slices.Compact(got))
}
