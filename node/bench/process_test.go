//go:build bench || system

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under test with everything it has forked.
type process struct {
	cmd    *exec.Cmd
	name   string
	log    string
	exited chan struct{}
}

// startProcess runs argv with its output in log. With cpu >= 0 the process
// and its children may run on that processor only.
func startProcess(log string, cpu int, argv ...string) (*process, error) {
	if cpu >= 0 {
		argv = append([]string{"taskset", "-c", strconv.Itoa(cpu)}, argv...)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own: ctrl-C reaches the test first, which then ends its servers in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p := &process{cmd: cmd, name: filepath.Base(argv[0]), log: log, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is read from cmd.ProcessState and the log
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ready waits until something accepts at addr, or the process ends.
func (p *process) ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it listened: %s", p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w: %s", p.name, addr, ctx.Err(), p.tail())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// tail is the end of the log, for messages.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-600):]))
}

// stop asks the process to end and kills what is left of its tree after 15 s.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

// kill ends the whole tree at once, as a power cut would.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

func (p *process) end(sig syscall.Signal) error {
	tree := processTree(p.pid())
	if sig == syscall.SIGKILL {
		for _, pid := range tree {
			_ = syscall.Kill(pid, sig) // gone already is as good
		}
	} else if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	late := false
	select {
	case <-p.exited:
	case <-time.After(15 * time.Second):
		late = true
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	for _, pid := range tree[1:] { // a killed parent may leave children behind
		if ppid(pid) != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if late {
		return fmt.Errorf("%s did not end within 15 s of %v", p.name, sig)
	}
	return nil
}

// stat returns the fields of /proc/PID/stat after the command name: field 3 is index 0.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), " ")
	if !ok {
		return nil
	}
	return strings.Fields(rest)
}

// ppid is 0 for a process that is gone or a zombie.
func ppid(pid int) int {
	f := stat(pid)
	if len(f) < 2 || f[0] == "Z" {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// processTree lists pid and its living descendants, pid first.
func processTree(pid int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if p, err := strconv.Atoi(filepath.Base(d)); err == nil {
			children[ppid(p)] = append(children[ppid(p)], p)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// freeAddr finds a loopback port that was free a moment ago.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// buildBox compiles the box into dir and returns the binary's path.
func buildBox(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "preau")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "preau/cmd/preau").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build preau/cmd/preau: %w: %s", err, out)
	}
	return bin, nil
}
