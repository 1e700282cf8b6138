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

// Machine is what a part of the ministry runs on: a process of this machine, or a
// computer of its own.
type Machine interface {
	// Start begins it, which must not run.
	Start() error
	// Stop ends it in good order, if it runs.
	Stop() error
	// Kill ends it as a power cut does. One that has ended before is an error.
	Kill() error
	// Over is an error if it has ended by itself.
	Over() error
	// Tail is the end of its log.
	Tail() string
}

// Process is one of the ministry's, which can be ended and started again.
type Process struct {
	Name string
	Machine
}

// Program is a Machine that is no more than a process of this one.
type Program struct {
	name  string
	log   string   // its file
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
	p := &Process{name, &Program{name: name, log: filepath.Join(m.cfg.Dir, name+".log"), binary: m.cfg.Binary, enter: at.Enter, args: args}}
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

// Use has a process that is such here be another build of the command from its next
// start on.
func (p *Process) Use(binary string) {
	if own, ok := p.Machine.(*Program); ok {
		own.mu.Lock()
		defer own.mu.Unlock()
		own.binary = binary
	}
}

// Start implements Machine.
func (p *Program) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s runs already", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	line := slices.Concat(p.enter, []string{p.binary}, p.args)
	cmd := exec.Command(line[0], line[1:]...) //nolint:noctx // Stop and Kill end it
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, ours()
	err = cmd.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
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

// PID is the process of one that is such here, or 0.
func (p *Process) PID() int {
	if own, ok := p.Machine.(*Program); ok {
		return own.pid()
	}
	return 0
}

func (p *Program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Over implements Machine.
func (p *Program) Over() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended by itself: %w: %s", p.name, p.err, p.Tail())
	default:
		return nil
	}
}

// Kill implements Machine.
func (p *Program) Kill() error {
	err := p.Over()
	return errors.Join(err, p.end(syscall.SIGKILL))
}

// Stop implements Machine.
func (p *Program) Stop() error {
	err := p.Over()
	return errors.Join(err, p.end(syscall.SIGTERM))
}

func (p *Program) end(by syscall.Signal) error {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(by); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-exited:
		return nil
	case <-late.C:
	}
	err := fmt.Errorf("%s has not stopped after %v: %s", p.name, stopWithin, p.Tail())
	if kill := cmd.Process.Kill(); kill != nil && !errors.Is(kill, os.ErrProcessDone) {
		return errors.Join(err, kill)
	}
	<-exited
	return err
}

// Tail implements Machine.
func (p *Program) Tail() string {
	text, err := os.ReadFile(p.log)
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
