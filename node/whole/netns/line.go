//go:build linux

package netns

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Line is a school's line to the internet, packet by packet: two TUN devices
// in two namespaces and a rate, a delay, a queue and a loss for each direction.
// The kernel's own emulator is not on every machine. It is carried by a process
// of its own, which goes before all others, so that a busy machine has no slower
// line.
type Line struct {
	ends [2]*Host  // the school's and the internet's
	devs [2]string // its devices there

	mu   sync.Mutex
	say  *json.Encoder
	is   Order
	hear *bufio.Scanner
}

// Order is how a line is to be.
type Order struct {
	Rate  int64         `json:"rate"`  // bits per second each way, headers of IP included
	Delay time.Duration `json:"delay"` // one way
	Loss  float64       `json:"loss"`  // of packets, each way: 0.005 is 0.5 %
	Cut   bool          `json:"cut"`
}

// NewLine lays a line between two namespaces, in each of which its end is the
// device named. The test's binary must call BeLine. The line goes with the test.
func NewLine(tb testing.TB, school *Host, device string, internet *Host, theirs string, is Order) *Line {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	c := exec.Command(self) //nolint:noctx // it ends with its standard input
	c.Env = append(os.Environ(), lineEnv+"="+strings.Join([]string{school.NS, device, internet.NS, theirs}, " "))
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Start(); err != nil {
		tb.Fatalf("lay the line: %v", err)
	}
	tb.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			tb.Errorf("the line: %v", err)
		}
	})
	l := &Line{ends: [2]*Host{school, internet}, devs: [2]string{device, theirs}, say: json.NewEncoder(in), hear: bufio.NewScanner(out)}
	l.Tell(tb, is)
	for i, h := range l.ends {
		h.IP(tb, "link", "set", l.devs[i], "up", "mtu", "1500", "txqueuelen", "1000")
	}
	return l
}

// Is how the line is now.
func (l *Line) Is() Order {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.is
}

// Tell has the line be like that, and waits until it is.
func (l *Line) Tell(tb testing.TB, is Order) {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.say.Encode(is); err != nil {
		tb.Fatalf("tell the line: %v", err)
	}
	if !l.hear.Scan() {
		tb.Fatalf("the line has ended: %v", l.hear.Err())
	}
	l.is = is
}

// Set gives the line another rate, both ways.
func (l *Line) Set(tb testing.TB, bitsPerSecond int64) {
	tb.Helper()
	is := l.Is()
	is.Rate = bitsPerSecond
	l.Tell(tb, is)
}

// Cut takes the line down without a word to anybody, or brings it back.
func (l *Line) Cut(tb testing.TB, cut bool) {
	tb.Helper()
	is := l.Is()
	is.Cut = cut
	l.Tell(tb, is)
}

// Crossed is what has come out of a line's ends so far, in bytes of packets.
type Crossed struct{ Down, Up int64 }

// Crossed is what has come out of the line's ends so far.
func (l *Line) Crossed(tb testing.TB) Crossed {
	tb.Helper()
	var n [2]int64
	for i, h := range l.ends {
		text, err := Inside(h.NS, func() ([]byte, error) { return os.ReadFile("/proc/thread-self/net/dev") })
		if err != nil {
			tb.Fatal(err)
		}
		for row := range strings.Lines(string(text)) {
			name, rest, ok := strings.Cut(strings.TrimSpace(row), ":")
			if f := strings.Fields(rest); ok && name == l.devs[i] && len(f) > 0 {
				if n[i], err = strconv.ParseInt(f[0], 10, 64); err != nil { // received; see proc(5)
					tb.Fatal(err)
				}
			}
		}
	}
	return Crossed{Down: n[0], Up: n[1]}
}

// Since is what has crossed after before.
func (c Crossed) Since(before Crossed) Crossed {
	return Crossed{c.Down - before.Down, c.Up - before.Up}
}

// Watch tells, when it is stopped, how full the line was in each second
// towards the school, in percent, and in what there was of the last one.
func (l *Line) Watch(tb testing.TB) (stop func() string) {
	tb.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	var full strings.Builder
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		began, before := time.Now(), l.Crossed(tb).Down
		for ends := false; !ends; {
			select {
			case <-done:
				ends = true
			case <-tick.C:
			}
			now, took := l.Crossed(tb).Down, time.Since(began)
			if ends {
				fmt.Fprintf(&full, "and in %d ms ", took.Milliseconds())
			}
			fmt.Fprintf(&full, "%.0f ", float64(now-before)*800/took.Seconds()/float64(l.Is().Rate))
			began, before = began.Add(took), now
		}
	}()
	return func() string {
		close(done)
		<-ended
		return full.String()
	}
}
