//go:build system && linux

package yard_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// line is a school's line to the internet, packet by packet: two TUN devices
// in two namespaces and a rate, a delay and a queue for each direction. The
// kernel's own emulator is not on every machine. It is carried by a process of
// its own, which goes before all others, so that a busy machine has no slower
// line.
type line struct {
	ends [2]*host // the school's and the internet's

	mu   sync.Mutex
	say  *json.Encoder
	is   order
	hear *bufio.Scanner
}

// order is what the line's process is told: how it is to be from now on.
type order struct {
	Rate  int64         `json:"rate"`  // bits per second each way, headers of IP included
	Delay time.Duration `json:"delay"` // one way
	Cut   bool          `json:"cut"`
}

// lineEnv has the test's binary be a line between the two namespaces that it
// names.
const lineEnv = "PREAU_YARD_LINE"

// queue is how long a packet may wait for its turn, as in a router at a slow
// line's end.
const queue = 200 * time.Millisecond

// newLine lays a line between two namespaces, in each of which its end is the
// device wan0.
func newLine(t *testing.T, school, internet *host, bitsPerSecond int64, oneWay time.Duration) *line {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self) // it ends with its standard input
	c.Env = append(os.Environ(), lineEnv+"="+school.ns+" "+internet.ns)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatalf("lay the line: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("the line: %v", err)
		}
	})
	l := &line{ends: [2]*host{school, internet}, say: json.NewEncoder(in), hear: bufio.NewScanner(out)}
	l.tell(t, order{Rate: bitsPerSecond, Delay: oneWay})
	for _, h := range l.ends {
		h.ip(t, "link", "set", "wan0", "up", "mtu", "1500", "txqueuelen", "1000")
	}
	return l
}

// tell has the line be like that, and waits until it is.
func (l *line) tell(t *testing.T, is order) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.say.Encode(is); err != nil {
		t.Fatalf("tell the line: %v", err)
	}
	if !l.hear.Scan() {
		t.Fatalf("the line has ended: %v", l.hear.Err())
	}
	l.is = is
}

// set gives the line another rate, both ways.
func (l *line) set(t *testing.T, bitsPerSecond int64) {
	t.Helper()
	l.tell(t, order{Rate: bitsPerSecond, Delay: l.is.Delay})
}

// cut takes the line down without a word to anybody, or brings it back.
func (l *line) cut(t *testing.T, cut bool) {
	t.Helper()
	l.tell(t, order{Rate: l.is.Rate, Delay: l.is.Delay, Cut: cut})
}

// crossed is what has come out of a line's ends so far, in bytes of packets.
type crossed struct{ down, up int64 }

func (l *line) crossed(t *testing.T) crossed {
	t.Helper()
	var n [2]int64
	for i, h := range l.ends {
		text, err := inside(h.ns, func() ([]byte, error) { return os.ReadFile("/proc/thread-self/net/dev") })
		if err != nil {
			t.Fatal(err)
		}
		for row := range strings.Lines(string(text)) {
			name, rest, ok := strings.Cut(strings.TrimSpace(row), ":")
			if f := strings.Fields(rest); ok && name == "wan0" && len(f) > 0 {
				if n[i], err = strconv.ParseInt(f[0], 10, 64); err != nil { // received; see proc(5)
					t.Fatal(err)
				}
			}
		}
	}
	return crossed{down: n[0], up: n[1]}
}

func (c crossed) since(before crossed) crossed {
	return crossed{c.down - before.down, c.up - before.up}
}

// watch tells, when it is stopped, how full the line was in each second
// towards the school, in tenths.
func (l *line) watch(t *testing.T) (stop func() string) {
	t.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	full := ""
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for before := l.crossed(t).down; ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := l.crossed(t).down
			full += strconv.FormatInt((now-before)*80/l.is.Rate, 10) + " "
			before = now
		}
	}()
	return func() string {
		close(done)
		<-ended
		return full
	}
}

// carrier is a line in its own process.
type carrier struct {
	is atomic.Pointer[order]
}

// beLine is the line's process.
func beLine(between string, in io.Reader, out io.Writer) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -15); err != nil {
		return fmt.Errorf("go before others: %w", err)
	}
	var ends []*os.File
	for ns := range strings.FieldsSeq(between) {
		f, err := inside(ns, func() (*os.File, error) { return openTUN("wan0") })
		if err != nil {
			return fmt.Errorf("open the line's end in %s: %w", ns, err)
		}
		ends = append(ends, f)
	}
	if len(ends) != 2 {
		return fmt.Errorf("a line between %q", between)
	}
	c := &carrier{}
	var wg sync.WaitGroup
	orders := json.NewDecoder(in)
	for {
		var is order
		err := orders.Decode(&is)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || is.Rate <= 0 {
			return fmt.Errorf("the order %+v: %w", is, err)
		}
		if c.is.Swap(&is) == nil {
			wg.Go(func() { c.carry(ends[0], ends[1], &wg) })
			wg.Go(func() { c.carry(ends[1], ends[0], &wg) })
		}
		if _, err := fmt.Fprintln(out, "done"); err != nil {
			return err
		}
	}
	err := errors.Join(ends[0].Close(), ends[1].Close())
	wg.Wait()
	return err
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// packet is one on its way.
type packet struct {
	due  time.Time
	data []byte
}

// carry takes packets one way until an end is closed.
func (c *carrier) carry(from, to *os.File, wg *sync.WaitGroup) {
	fly := make(chan packet, 1<<14)
	defer close(fly)
	wg.Go(func() {
		for p := range fly {
			if d := time.Until(p.due); d > 0 {
				time.Sleep(d)
			}
			// What can't be written is lost, as on any line: the other end is not
			// up, or closed.
			_, _ = to.Write(p.data)
		}
	})
	var free time.Time // when the line has sent all that it was given
	buf := make([]byte, 2048)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // the device is down
			continue
		}
		now, is := time.Now(), c.is.Load()
		// A late timer does not make the line slower.
		if idle := now.Add(-5 * time.Millisecond); free.Before(idle) {
			free = idle
		}
		if is.Cut || free.Sub(now) > queue {
			continue
		}
		free = free.Add(time.Duration(int64(n) * 8 * int64(time.Second) / is.Rate))
		select {
		case fly <- packet{due: free.Add(is.Delay), data: append([]byte(nil), buf[:n]...)}:
		default: // more than any line holds
		}
	}
}
