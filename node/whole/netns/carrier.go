//go:build linux

package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lineEnv has the test's binary be a line between the ends that it names.
const lineEnv = "PREAU_TEST_LINE"

// queue is how long a packet may wait for its turn, as in a router at a slow
// line's end.
const queue = 200 * time.Millisecond

// BeLine is for the beginning of TestMain: this process may have been started
// as a line. Then it is one until it is ended, and the caller's part is to exit.
func BeLine() (was bool, err error) {
	between := os.Getenv(lineEnv)
	if between == "" {
		return false, nil
	}
	return true, carry(strings.Fields(between), os.Stdin, os.Stdout)
}

// carrier is a line in its own process.
type carrier struct {
	is atomic.Pointer[Order]
}

// carry is the line's process.
func carry(between []string, in io.Reader, out io.Writer) error {
	if len(between) != 4 {
		return fmt.Errorf("a line between %q", between)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -15); err != nil {
		return fmt.Errorf("go before others: %w", err)
	}
	var ends [2]*os.File
	for i := range ends {
		ns, device := between[2*i], between[2*i+1]
		f, err := Inside(ns, func() (*os.File, error) { return openTUN(device) })
		if err != nil {
			return fmt.Errorf("open the line's end in %s: %w", ns, err)
		}
		ends[i] = f
	}
	c := &carrier{}
	var wg sync.WaitGroup
	orders := json.NewDecoder(in)
	for {
		var is Order
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
				time.Sleep(d) //nolint:forbidigo // closing waits for it, milliseconds
			}
			//nolint:errcheck // it is lost, as on any line: the other end is not up, or closed
			to.Write(p.data)
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
			time.Sleep(time.Millisecond) //nolint:forbidigo // the device is down
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
		if is.Loss > 0 && rand.Float64() < is.Loss {
			continue // on the way, so its turn was taken
		}
		select {
		case fly <- packet{due: free.Add(is.Delay), data: append([]byte(nil), buf[:n]...)}:
		default: // more than any line holds
		}
	}
}
