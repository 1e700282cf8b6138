//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// loadWork is what the load client does. It runs as a process of its own,
// pinned beside the server, as one epoll loop over keep-alive connections; it
// leaves bodies in the kernel (recv with MSG_TRUNC), as a client on another
// machine would cost the server no receiving copy either.
type loadWork struct {
	Addr     string        `json:"addr"`
	Conns    int           `json:"conns"`
	Warm     time.Duration `json:"warm"`
	Time     time.Duration `json:"time"`
	Paths    []string      `json:"paths"`
	RangeOf  int64         `json:"range_of"`  // size of the object, when ranges are asked for
	RangeLen int64         `json:"range_len"` // 0: whole bodies
}

// loadDone is what came of it, between the end of the warm-up and the end.
type loadDone struct {
	Requests int64         `json:"requests"`
	Bytes    int64         `json:"bytes"` // of bodies
	Time     time.Duration `json:"time"`
	Broken   int64         `json:"broken"` // connections that ended, and answers that were not 200 or 206
}

const loaderArgument = "preau-bench-loader"

// load runs w in a client process; mark is called when the warm-up is over.
func load(w loadWork, cpu int, mark func()) (loadDone, error) {
	var done loadDone
	self, err := os.Executable()
	if err != nil {
		return done, err
	}
	spec, err := json.Marshal(w)
	if err != nil {
		return done, err
	}
	argv := []string{self, loaderArgument}
	if cpu >= 0 {
		argv = append([]string{"taskset", "-c", strconv.Itoa(cpu)}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(spec), os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return done, err
	}
	if err := cmd.Start(); err != nil {
		return done, err
	}
	guard := time.AfterFunc(w.Warm+w.Time+20*time.Second, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	if _, err := io.ReadFull(pipe, make([]byte, 1)); err == nil {
		mark()
	}
	out, readErr := io.ReadAll(pipe)
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		return done, fmt.Errorf("load client: %w", err)
	}
	if err := json.Unmarshal(out, &done); err != nil {
		return done, fmt.Errorf("load client said %q: %w", out, err)
	}
	return done, nil
}

// loaderMain is the load client's own main.
func loaderMain(spec io.Reader) error {
	var w loadWork
	if err := json.NewDecoder(spec).Decode(&w); err != nil {
		return err
	}
	l := &loader{work: w, head: make([]byte, 16<<10), sink: make([]byte, 4<<20), rnd: rand.New(rand.NewPCG(3, 4))}
	return l.run(os.Stdout)
}

type loader struct {
	work  loadWork
	epoll int
	conns map[int32]*loadConn
	head  []byte
	sink  []byte // recv wants an address; with MSG_TRUNC nothing is written there
	rnd   *rand.Rand
	next  int
	count loadDone
}

// loadConn is one connection: want is -1 while the head is awaited, then what is left of the body.
type loadConn struct {
	fd      int
	want    int64
	pending []byte // of a head that came in pieces
}

func (l *loader) run(out io.Writer) error {
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	l.conns = map[int32]*loadConn{}
	for range l.work.Conns {
		if err := l.connect(); err != nil {
			return err
		}
	}
	began := time.Now()
	warmed := false
	events := make([]unix.EpollEvent, 64)
	for {
		now := time.Now()
		if !warmed && now.Sub(began) >= l.work.Warm {
			warmed, began, l.count = true, now, loadDone{}
			if _, err := out.Write([]byte{'\n'}); err != nil {
				return err
			}
		}
		if warmed && now.Sub(began) >= l.work.Time {
			l.count.Time = now.Sub(began)
			return json.NewEncoder(out).Encode(l.count)
		}
		n, err := unix.EpollWait(l.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			c := l.conns[e.Fd]
			if err := l.serve(c); err != nil {
				l.count.Broken++
				delete(l.conns, e.Fd)
				unix.Close(c.fd)
				if err := l.connect(); err != nil {
					return err
				}
			}
		}
	}
}

func (l *loader) connect() error {
	ap, err := netip.ParseAddrPort(l.work.Addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}); err != nil {
		return fmt.Errorf("connect %s: %w", l.work.Addr, err)
	}
	if err := errors.Join(unix.SetNonblock(fd, true), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})); err != nil {
		return err
	}
	c := &loadConn{fd: fd}
	l.conns[int32(fd)] = c
	return l.ask(c)
}

// ask sends the next request; it is small, so the socket takes it whole.
func (l *loader) ask(c *loadConn) error {
	path := l.work.Paths[l.next%len(l.work.Paths)]
	l.next++
	req := make([]byte, 0, 160)
	req = append(req, "GET "...)
	req = append(req, path...)
	req = append(req, " HTTP/1.1\r\nHost: bench\r\n"...)
	if n := l.work.RangeLen; n > 0 {
		from := l.rnd.Int64N(l.work.RangeOf - n + 1)
		req = fmt.Appendf(req, "Range: bytes=%d-%d\r\n", from, from+n-1)
	}
	req = append(req, "\r\n"...)
	c.want, c.pending = -1, c.pending[:0]
	_, err := unix.Write(c.fd, req)
	return err
}

// serve reads what there is.
func (l *loader) serve(c *loadConn) error {
	for {
		if c.want < 0 {
			n, err := unix.Read(c.fd, l.head)
			if errors.Is(err, unix.EAGAIN) {
				return nil
			}
			if err != nil || n == 0 {
				return errors.Join(io.ErrUnexpectedEOF, err)
			}
			c.pending = append(c.pending, l.head[:n]...)
			end := bytes.Index(c.pending, []byte("\r\n\r\n"))
			if end < 0 {
				continue
			}
			length, err := bodyLength(c.pending[:end+2])
			if err != nil {
				return err
			}
			got := int64(len(c.pending) - end - 4)
			l.count.Bytes += got
			c.want = length - got
		} else {
			n, _, err := unix.Recvfrom(c.fd, l.sink[:min(int64(len(l.sink)), c.want)], unix.MSG_TRUNC)
			if errors.Is(err, unix.EAGAIN) {
				return nil
			}
			if err != nil || n == 0 {
				return errors.Join(io.ErrUnexpectedEOF, err)
			}
			l.count.Bytes += int64(n)
			c.want -= int64(n)
		}
		if c.want < 0 {
			return fmt.Errorf("%d bytes too many", -c.want)
		}
		if c.want == 0 {
			l.count.Requests++
			return l.ask(c)
		}
	}
}

// bodyLength reads the length from a response head that ends with a line break.
func bodyLength(head []byte) (int64, error) {
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(status, []byte("HTTP/1.1 206")) {
		return 0, fmt.Errorf("answer %q", status)
	}
	for line := range bytes.Lines(fields) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, fmt.Errorf("no length in %q", head)
}
