//go:build linux

package cephtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	stop   = syscall.SIGSTOP
	resume = syscall.SIGCONT
)

// daemon is a process of the cluster.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs a daemon in the foreground, as a child that the kernel ends should
// this process be killed.
func (c *Cluster) start(name, program string, args ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("the cluster is closed")
	}
	if d := c.running[name]; d != nil {
		select {
		case <-d.done:
		default:
			return nil
		}
	}
	out, err := os.OpenFile(filepath.Join(c.dir, "log", name+".out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// Not CommandContext: it outlives the call.
	cmd := exec.Command(program, append(args, "-f", "-c", c.conf())...) //nolint:noctx // Close ends it
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = environment()
	// A Ctrl-C at the terminal is for this process, which may need it for a while.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err = cmd.Start()
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	d := &daemon{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		// How it ended is in its log.
		_ = cmd.Wait() //nolint:errcheck // see above
	}()
	c.running[name] = d
	return nil
}

func (c *Cluster) runs(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.running[name]
	if d == nil {
		return false
	}
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

func (c *Cluster) signal(name string, s syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.running[name]
	if d == nil {
		return fmt.Errorf("%s does not run", name)
	}
	if err := d.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// pause stops a daemon and returns when each of its threads has stopped: the
// signal alone lets those go on that are just running.
func (c *Cluster) pause(name string) error {
	if err := c.signal(name, stop); err != nil {
		return err
	}
	c.mu.Lock()
	d := c.running[name]
	c.mu.Unlock()
	if d == nil {
		return fmt.Errorf("%s does not run", name)
	}
	tasks := filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "task", "*", "stat")
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !stopped(tasks) {
		select {
		case <-late.C:
			return fmt.Errorf("%s has not stopped after 30 s", name)
		case <-again.C:
		}
	}
	return nil
}

// stopped tells if all the threads that these files of /proc stand for are.
func stopped(tasks string) bool {
	files, err := filepath.Glob(tasks)
	if err != nil || len(files) == 0 {
		return false
	}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		// The state follows the name, which may hold brackets and blanks.
		if i := bytes.LastIndexByte(stat, ')'); i < 0 || i+2 >= len(stat) || stat[i+2] != 'T' {
			return false
		}
	}
	return true
}

// kill ends a daemon with SIGKILL and waits until it is gone.
func (c *Cluster) kill(name string) error {
	c.mu.Lock()
	d := c.running[name]
	delete(c.running, name)
	c.mu.Unlock()
	if d == nil {
		return nil
	}
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	select {
	case <-d.done:
		return nil
	case <-late.C:
		return fmt.Errorf("%s (process %d) does not end", name, d.cmd.Process.Pid)
	}
}

// tool runs a program of Ceph's to its end.
func (c *Cluster) tool(ctx context.Context, stdin []byte, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, append(args, "-c", c.conf())...)
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &complaints
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, tail(complaints.Bytes()))
	}
	return out.Bytes(), nil
}

// environment is ours without what would lead Ceph to another cluster.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CEPH_") {
			env = append(env, e)
		}
	}
	return append(env, "LC_ALL=C")
}

func (c *Cluster) conf() string { return filepath.Join(c.dir, "ceph.conf") }

// lastWords is the end of what a daemon has written.
func (c *Cluster) lastWords(name string) string {
	var said []string
	for _, suffix := range []string{".out", ".log"} {
		// A daemon that has written nothing has no file.
		if text, err := os.ReadFile(filepath.Join(c.dir, "log", name+suffix)); err == nil {
			said = append(said, tail(text))
		}
	}
	return strings.Join(said, "\n")
}

func tail(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}
