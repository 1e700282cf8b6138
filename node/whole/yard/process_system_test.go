//go:build system && linux

package yard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"preau/node/whole/netns"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binaryEnv names the command that the tests drive. It may be set to one that
// was built in another way, such as with the race detector.
const binaryEnv = "PREAU_TEST_BINARY"

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

// withBinary builds the command once for all tests, and sees that no other run
// has the same namespaces.
func withBinary(m *testing.M) int {
	ctx := context.Background()
	if was, err := netns.BeLine(); was {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if why := netns.Missing(); why != "" {
		fmt.Fprintln(os.Stderr, why)
		return 1
	}
	lock, err := os.Open(os.TempDir()) // a folder that all have, and that stays
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err == nil {
		err = netns.Sweep(ctx, prefix)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer lock.Close()
	if os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "preau-yard-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the system's folder for such things
	file := filepath.Join(dir, "preau")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", file, "preau/cmd/preau").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(binaryEnv, file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// within repeats fn until it returns nil.
func within(t *testing.T, limit time.Duration, fn func() error) {
	t.Helper()
	if _, err := took(limit, 50*time.Millisecond, fn); err != nil {
		t.Fatal(err)
	}
}

// took is how long it was until fn returned nil.
func took(limit, every time.Duration, fn func() error) (time.Duration, error) {
	began := time.Now()
	for {
		err := fn()
		at := time.Since(began)
		if err == nil {
			return at, nil
		}
		if at > limit {
			return at, fmt.Errorf("still, after %v: %w", limit, err)
		}
		time.Sleep(every)
	}
}

// process is one of the command in a namespace.
type process struct {
	name string
	host *host
	args []string
	log  string // its file

	admin string // where its operators look, in its namespace

	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // how, then
}

// command makes the command, to run in the namespace. It does not outlive the
// test.
func (h *host) command(args ...string) *exec.Cmd {
	// Its end is the test's choice, so no context ends it.
	c := exec.Command("ip", append([]string{"netns", "exec", h.NS, os.Getenv(binaryEnv)}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// says runs the command to its end, which must be a good one, for its answer in
// JSON.
func (h *host) says(t *testing.T, into any, args ...string) {
	t.Helper()
	if err := h.said(into, args...); err != nil {
		t.Fatal(err)
	}
}

func (h *host) said(into any, args ...string) error {
	var out, errs bytes.Buffer
	c := h.command(append(args, "--json")...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return fmt.Errorf("preau %s: %w: %s%s", strings.Join(args, " "), err, &errs, &out)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		return fmt.Errorf("preau %s: %w in %q", strings.Join(args, " "), err, &out)
	}
	return nil
}

// run starts the process. It is killed when the test ends.
func (p *process) run(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	first := p.cmd == nil
	exited := make(chan struct{})
	c := p.host.command(p.args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	p.cmd, p.exited, p.err = c, exited, nil
	go func() {
		p.err = c.Wait()
		close(exited)
	}()
	if !first {
		return
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // or it has ended already
		<-p.exited
		if t.Failed() {
			p.keep(t)
		}
	})
}

// keep tells the end of the log, and keeps the whole of it where PREAU_YARD_LOGS
// says.
func (p *process) keep(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		t.Log(err)
		return
	}
	if dir := os.Getenv("PREAU_YARD_LOGS"); dir != "" {
		file := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+"-"+p.name+".log")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Log(err)
		}
		t.Logf("the log of %s is in %s", p.name, file)
	}
	t.Logf("end of the log of %s:\n%s", p.name, text[max(0, len(text)-2500):])
}

// kill ends the process as a power switch would. One that has ended before is
// an error.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.exited
}

// stop ends it as a person would.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	select {
	case <-p.exited:
		if p.err != nil {
			t.Errorf("%s: %v", p.name, p.err)
		}
	case <-time.After(60 * time.Second):
		t.Fatalf("%s does not stop", p.name)
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	select {
	case <-p.exited:
		t.Errorf("%s has ended by itself: %v", p.name, p.err)
		return
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Errorf("%v to %s: %v", s, p.name, err)
	}
}

// cpu is how long the process has run on processors so far.
func (p *process) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.Join(err, fmt.Errorf("%s has no threads", p.name))
	}
	var sum time.Duration
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}
