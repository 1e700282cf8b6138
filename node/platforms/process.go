package platforms

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopWithin is how long a program may take to stop in good order.
const stopWithin = 30 * time.Second

// process is a program that runs with everything it has forked, as a group.
type process struct {
	name, log string
	cmd       *exec.Cmd
	exited    chan struct{} // closed when it has ended
	err       error         // how, then
}

// start runs a program in dir with its output in a file there.
func start(dir, name string, env []string, argv ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx // stop ends it
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A group of its own, so that whatever it forks ends with it; and if the test
	// dies, so does it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	err = p.cmd.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// over is an error if it has ended by itself.
func (p *process) over() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended by itself (%w): %s", p.name, p.err, p.tail())
	default:
		return nil
	}
}

// stop ends it and its group, in good order if it does so in time.
func (p *process) stop() error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-p.exited:
		return nil
	case <-late.C:
	}
	err := fmt.Errorf("%s has not stopped after %v: %s", p.name, stopWithin, p.tail())
	if kill := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); kill != nil && !errors.Is(kill, syscall.ESRCH) {
		return errors.Join(err, kill)
	}
	<-p.exited
	return err
}

// tail is the end of its log, for messages.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1500):])
}
