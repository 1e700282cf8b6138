//go:build linux

package ministry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopWithin is how long a process may take to stop in good order.
const stopWithin = 30 * time.Second

// Process is one of the ministry's, which can be ended and started again.
type Process struct {
	Name string
	Log  string // its file

	enter []string // before the command: it runs it where it is to run
	args  []string

	mu     sync.Mutex
	binary string
	cmd    *exec.Cmd     // nil: not started, or ended by us
	exited chan struct{} // closed when it has ended
	err    error         // how, then
}

// process is one that Close ends.
func (m *Ministry) process(name string, at Place, args ...string) *Process {
	p := &Process{Name: name, Log: filepath.Join(m.cfg.Dir, name+".log"), binary: m.cfg.Binary, enter: at.Enter, args: args}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, p)
	return p
}

// ours are the attributes of a child: it does not outlive this process, and a
// Ctrl-C at the terminal is not meant for it but for us, who end it in order.
func ours() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// Use has the process be another build of the command from its next start on.
func (p *Process) Use(binary string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.binary = binary
}

// Start starts the process, which must not run.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s runs already", p.Name)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	line := slices.Concat(p.enter, []string{p.binary}, p.args)
	cmd := exec.Command(line[0], line[1:]...) //nolint:noctx // Stop and Kill end it
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, ours()
	err = cmd.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited, p.err = cmd, exited, nil
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(exited)
	}()
	return nil
}

// PID is its process, or 0.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Over is an error if the process has ended by itself.
func (p *Process) Over() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended by itself: %w: %s", p.Name, p.err, p.Tail())
	default:
		return nil
	}
}

// Kill ends it as a power cut does. One that has ended before is an error.
func (p *Process) Kill() error {
	err := p.Over()
	return errors.Join(err, p.end(syscall.SIGKILL))
}

// Stop ends it in good order, if it runs.
func (p *Process) Stop() error {
	err := p.Over()
	return errors.Join(err, p.end(syscall.SIGTERM))
}

func (p *Process) end(by syscall.Signal) error {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(by); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.Name, err)
	}
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-exited:
		return nil
	case <-late.C:
	}
	err := fmt.Errorf("%s has not stopped after %v: %s", p.Name, stopWithin, p.Tail())
	if kill := cmd.Process.Kill(); kill != nil && !errors.Is(kill, os.ErrProcessDone) {
		return errors.Join(err, kill)
	}
	<-exited
	return err
}

// Tail is the end of its log.
func (p *Process) Tail() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// failed is a command that did not end well.
type failed struct {
	args []string
	code int
	said string
}

// Error implements error.
func (f failed) Error() string {
	return fmt.Sprintf("preau %s: exit code %d: %s", strings.Join(f.args, " "), f.code, f.said)
}

// codeOf is the exit code of a command, or -1 where it had none.
func codeOf(err error) int {
	f := failed{}
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		return f.code
	}
	return -1
}

// Command runs the command to its end, again and again while it says that the
// region can't decide now, and returns what it says.
func (m *Ministry) Command(ctx context.Context, args ...string) (out []byte, err error) {
	return m.CommandAt(ctx, Place{}, args...)
}

// CommandAt is Command at a place.
func (m *Ministry) CommandAt(ctx context.Context, at Place, args ...string) (out []byte, err error) {
	err = m.until(ctx, func() error {
		var failure error
		out, failure = m.runAt(ctx, at, args...)
		if codeOf(failure) == 3 { // may be given again
			return failure
		}
		err = failure
		return nil
	})
	return out, err
}

// run runs the command once.
func (m *Ministry) run(ctx context.Context, args ...string) ([]byte, error) {
	return m.runAt(ctx, Place{}, args...)
}

func (m *Ministry) runAt(ctx context.Context, at Place, args ...string) ([]byte, error) {
	var out, said bytes.Buffer
	line := slices.Concat(at.Enter, []string{m.cfg.Binary}, args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &said, ours()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = failed{args, exit.ExitCode(), said.String()}
	}
	return out.Bytes(), err
}

// freeAddress finds a port that is free for TCP and UDP. It is not one of those
// that the kernel gives to clients, for a process must get it again when it is
// started again.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	for range 200 {
		var random [2]byte
		// Read of crypto/rand never fails.
		_, _ = rand.Read(random[:])
		address := "127.0.0.1:" + strconv.Itoa(20_000+int(binary.BigEndian.Uint16(random[:]))%12_000)
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		u, err := lc.ListenPacket(ctx, "udp", address)
		if err := l.Close(); err != nil {
			return "", err
		}
		if err != nil {
			continue
		}
		return address, u.Close()
	}
	return "", errors.New("no free port from 20000 to 32000")
}
