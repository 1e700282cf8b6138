package wiretest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Line is one direction of a path.
type Line struct {
	Rate  int64         // bits a second, IP headers included
	Delay time.Duration // one way
	// Loss is the share of packets that the line loses, each by itself. They take
	// their time on the line like others.
	Loss  float64
	Queue int // packets that wait for the line; the next one is dropped
}

// Counts are the packets of one direction.
type Counts struct {
	Bytes, Packets, Lost, Dropped int64 // Bytes and Packets are those that arrived
}

// Path is two places with a line each way.
type Path struct {
	Near, Far *Place

	up, down *direction
	running  sync.WaitGroup
	cut      atomic.Bool
	noUDP    atomic.Bool
}

// Place is a network namespace with one address.
type Place struct {
	Address string
	tun     *os.File
	do      chan func()
	ended   chan struct{}
}

// Addresses of the two places. They are seen nowhere else.
const (
	nearAddress = "10.86.0.1"
	farAddress  = "10.86.0.2"
)

// Open makes a path: up from near to far, down from far to near.
func Open(up, down Line) (*Path, error) {
	near, err := openPlace(nearAddress)
	if err != nil {
		return nil, err
	}
	far, err := openPlace(farAddress)
	if err != nil {
		return nil, errors.Join(err, near.close())
	}
	p := &Path{Near: near, Far: far}
	p.up = newDirection(p, up, near.tun, far.tun)
	p.down = newDirection(p, down, far.tun, near.tun)
	for _, w := range []*direction{p.up, p.down} {
		p.running.Go(w.read)
		p.running.Go(w.deliver)
	}
	return p, nil
}

// Cut loses every packet from now on, also those under way, or lets them
// through again.
func (p *Path) Cut(cut bool) { p.cut.Store(cut) }

// BlockUDP loses UDP and nothing else.
func (p *Path) BlockUDP(block bool) { p.noUDP.Store(block) }

// Counts tells what went up and down so far.
func (p *Path) Counts() (up, down Counts) { return p.up.counts(), p.down.counts() }

// Close takes the path down. What runs in its places should have ended.
func (p *Path) Close() error {
	err := errors.Join(p.Near.close(), p.Far.close())
	close(p.up.gone)
	close(p.down.gone)
	p.running.Wait()
	return err
}

// Start starts a program in the place.
func (n *Place) Start(cmd *exec.Cmd) error {
	var err error
	n.Do(func() { err = cmd.Start() })
	return err
}

// Do runs f on a thread in the place. Sockets that f itself opens are there; what
// it begins in other goroutines is not.
func (n *Place) Do(f func()) {
	done := make(chan struct{})
	n.do <- func() { defer close(done); f() }
	<-done
}

func (n *Place) close() error {
	close(n.do)
	<-n.ended
	return n.tun.Close()
}

// openPlace makes a namespace, and a thread of its own that stays in it. The
// thread is thrown away with it.
func openPlace(address string) (*Place, error) {
	n := &Place{Address: address, do: make(chan func()), ended: make(chan struct{})}
	made := make(chan error, 1)
	go func() {
		defer close(n.ended)
		runtime.LockOSThread() // never unlocked: see above
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("a network namespace (needs root): %w", err)
		} else {
			n.tun, err = openTUN(address)
		}
		made <- err
		if err != nil {
			return
		}
		for f := range n.do {
			f()
		}
	}()
	if err := <-made; err != nil {
		<-n.ended
		return nil, err
	}
	return n, nil
}

// ifreq is struct ifreq.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func (r *ifreq) ioctl(fd int, what uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

func named(name string) *ifreq {
	r := &ifreq{}
	copy(r.name[:], name)
	return r
}

func (r *ifreq) flags(flags uint16) *ifreq {
	*(*uint16)(unsafe.Pointer(&r.data)) = flags
	return r
}

func (r *ifreq) address(ip net.IP) *ifreq {
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.data))
	sa.Family = unix.AF_INET
	copy(sa.Addr[:], ip.To4())
	return r
}

// openTUN makes the device of the thread's namespace and gives it its address.
func openTUN(address string) (_ *os.File, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the TUN device: %w", err)
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	defer func() { err = errors.Join(err, unix.Close(control)) }()
	queue := named("line")
	*(*int32)(unsafe.Pointer(&queue.data)) = 2000
	for _, step := range []struct {
		fd   int
		what uintptr
		req  *ifreq
	}{
		{fd, unix.TUNSETIFF, named("line").flags(unix.IFF_TUN | unix.IFF_NO_PI)},
		{control, unix.SIOCSIFADDR, named("line").address(net.ParseIP(address))},
		{control, unix.SIOCSIFNETMASK, named("line").address(net.IPv4(255, 255, 255, 0))},
		{control, unix.SIOCSIFTXQLEN, queue},
		{control, unix.SIOCSIFFLAGS, named("line").flags(unix.IFF_UP | unix.IFF_RUNNING)},
		{control, unix.SIOCSIFFLAGS, named("lo").flags(unix.IFF_UP)},
	} {
		if err := step.req.ioctl(step.fd, step.what); err != nil {
			return nil, errors.Join(fmt.Errorf("set up the TUN device: %w", err), unix.Close(fd))
		}
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

// direction is one direction at work.
type direction struct {
	path     *Path
	line     Line
	from, to *os.File
	gone     chan struct{}
	queue    chan packet

	free                          time.Time // when the line has sent what waits
	bytes, packets, lost, dropped atomic.Int64
}

type packet struct {
	data []byte
	sent time.Time // the line is free again
	lost bool
}

// underWay is how many packets may be on the line at once, whatever its delay.
const underWay = 1 << 16

func newDirection(p *Path, line Line, from, to *os.File) *direction {
	return &direction{path: p, line: line, from: from, to: to, gone: make(chan struct{}), queue: make(chan packet, underWay)}
}

func (w *direction) counts() Counts {
	return Counts{w.bytes.Load(), w.packets.Load(), w.lost.Load(), w.dropped.Load()}
}

// read takes packets from the device and puts them on the line.
func (w *direction) read() {
	defer close(w.queue)
	buf := make([]byte, 64<<10)
	var pending []time.Time // when those that wait will have been sent
	for {
		n, err := w.from.Read(buf)
		if err != nil {
			return
		}
		if w.path.cut.Load() || n > 9 && buf[9] == unix.IPPROTO_UDP && w.path.noUDP.Load() {
			w.lost.Add(1)
			continue
		}
		now := time.Now()
		for len(pending) > 0 && !pending[0].After(now) {
			pending = pending[1:]
		}
		if len(pending) >= w.line.Queue {
			w.dropped.Add(1)
			continue
		}
		if w.free.Before(now) {
			w.free = now
		}
		w.free = w.free.Add(time.Duration(int64(n) * 8 * int64(time.Second) / w.line.Rate))
		pending = append(pending, w.free)
		p := packet{data: append([]byte(nil), buf[:n]...), sent: w.free, lost: rand.Float64() < w.line.Loss}
		select {
		case w.queue <- p:
		default:
			w.dropped.Add(1)
		}
	}
}

// deliver hands packets to the other device when their time has come.
func (w *direction) deliver() {
	for p := range w.queue {
		due := p.sent.Add(w.line.Delay)
		if wait := time.Until(due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-w.gone:
				timer.Stop()
				return
			}
		}
		if p.lost || w.path.cut.Load() {
			w.lost.Add(1)
			continue
		}
		if _, err := w.to.Write(p.data); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return
			}
			w.dropped.Add(1)
			continue
		}
		w.bytes.Add(int64(len(p.data)))
		w.packets.Add(1)
	}
}
