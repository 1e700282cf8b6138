//go:build system && linux

package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"preau/node/webtest"
)

// binaryEnv may name the command, built already.
const binaryEnv = "PREAU_TEST_BINARY"

// binary is the command, built once.
func binary(t *testing.T) string {
	t.Helper()
	if file := os.Getenv(binaryEnv); file != "" {
		return file
	}
	file := filepath.Join(t.TempDir(), "preau")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, "preau/cmd/preau").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	return file
}

// node runs one of the scripts and reads what it says.
func node(t *testing.T, script string, job map[string]any, answer any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	job["modules"], job["chromium"], job["scratch"] = webtest.Modules(t, webtest.Playwright, webtest.AxeCore), webtest.Chromium(t), t.TempDir()
	// Pictures take as long as all else.
	job["pictures"], job["keep"] = webtest.Pictures(t, "portal")
	if _, err := webtest.Script(ctx, script, job, answer); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// soon repeats fn until it returns nil.
func soon(t *testing.T, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
		if err = fn(); err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	t.Fatalf("still: %v", err)
}

// machine is a program in a process of its own, which does not outlive the test.
type machine struct {
	args   []string
	log    string // its file
	cmd    *exec.Cmd
	exited chan struct{}
}

func start(t *testing.T, name string, args ...string) *machine {
	t.Helper()
	m := &machine{args: args, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			p, err := os.ReadFile(m.log)
			t.Logf("end of the log of %s (%v):\n%s", name, err, p[max(0, len(p)-3000):])
		}
	})
	if err := m.run(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) run() error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// Its end is the test's choice, so no context ends it.
	m.cmd = exec.Command(m.args[0], m.args[1:]...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.args[0], err)
	}
	m.exited = make(chan struct{})
	go func(c *exec.Cmd, exited chan struct{}) {
		_ = c.Wait() // it is killed
		close(exited)
	}(m.cmd, m.exited)
	return nil
}

// kill ends the process as a power switch would.
func (m *machine) kill() {
	if m.exited == nil {
		return
	}
	_ = m.cmd.Process.Kill() // or it has ended
	<-m.exited
}

// alive is an error once the process has ended.
func (m *machine) alive() error {
	select {
	case <-m.exited:
		p, err := os.ReadFile(m.log)
		return errors.Join(fmt.Errorf("%v has ended: %s", m.args, p[max(0, len(p)-1500):]), err)
	default:
		return nil
	}
}
