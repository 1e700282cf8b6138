//go:build system && linux

package whole_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// binaryEnv names the command that the tests drive. It may be set to one that
// was built in another way, such as with the race detector.
const binaryEnv = "PREAU_TEST_BINARY"

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

// atOnce is how many of these tests run at once: they wait for processes more
// than they work. -test.parallel says otherwise.
const atOnce = "5"

// withBinary builds the command once, for all tests.
func withBinary(m *testing.M) int {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	dir, err := os.MkdirTemp("", "preau-whole-")
	if err == nil && !chosen {
		err = flag.Set("test.parallel", atOnce)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the system's folder for such things
	others = dir
	if os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	file := filepath.Join(dir, "preau")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", file, "preau/cmd/preau").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(binaryEnv, file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// seeded makes the test's choices; PREAU_TEST_SEED makes them again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PREAU_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PREAU_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// cannot ends a test that the machine has no means for: a machine of the
// project's own tests must have them.
func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// within repeats fn until it returns nil, for longer than eventually where
// machines are slow to come back.
func within(t *testing.T, limit time.Duration, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = fn(); err == nil {
			return
		}
	}
	t.Fatalf("still, after %v: %v", limit, err)
}

// answer is what a command said.
type answer struct {
	code     int
	out, err string
}

// Error implements error, for an answer that was not to be.
func (a answer) Error() string {
	return fmt.Sprintf("exit code %d: %.600s%.600s", a.code, a.err, a.out)
}

// command runs the command to its end.
func command(ctx context.Context, args ...string) answer {
	return commandFor(ctx, 100*time.Second, args...)
}

// commandFor kills the command if it does not end in time.
func commandFor(ctx context.Context, limit time.Duration, args ...string) answer {
	return commandOf(ctx, limit, "", args...)
}

// commandOf is commandFor with another version's binary, "" for this one's.
func commandOf(ctx context.Context, limit time.Duration, binary string, args ...string) answer {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, errs bytes.Buffer
	c := child(binary, args...)
	c.Stdout, c.Stderr = &out, &errs
	ended := make(chan error, 1)
	if err := c.Start(); err != nil {
		return answer{code: -1, err: err.Error()}
	}
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return answer{code: -1, err: err.Error()}
		}
	case <-ctx.Done():
		_ = c.Process.Kill() // or it has just ended
		<-ended
		errs.WriteString(" (killed: it did not end)")
	}
	return answer{code: c.ProcessState.ExitCode(), out: out.String(), err: errs.String()}
}

// child is a process of the command that does not outlive the test.
func child(binary string, args ...string) *exec.Cmd {
	// Its end is the test's choice, so no context ends it.
	c := exec.Command(cmp.Or(binary, os.Getenv(binaryEnv)), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// says fails the test unless the command ends with the code and says all of the
// words, in its answer or in its complaint.
func says(t *testing.T, a answer, code int, words ...string) {
	t.Helper()
	if a.code != code {
		t.Errorf("exit code %d, want %d: %s%s", a.code, code, a.err, a.out)
	}
	for _, w := range words {
		if !bytes.Contains([]byte(a.err+a.out), []byte(w)) {
			t.Errorf("%q is not in what it says: %s%s", w, a.err, a.out)
		}
	}
}

// machine is a server or a box in a process of its own.
type machine struct {
	name, data, address string
	args                []string
	binary              string // of another version, "" for this one
	log                 string // its file

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	err    error         // how, then
}

// run starts the machine. It is killed when the test ends.
func (m *machine) run(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	first := m.cmd == nil
	exited := make(chan struct{})
	c := child(m.binary, m.args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatalf("start %s: %v", m.name, err)
	}
	m.cmd, m.exited, m.err = c, exited, nil
	go func() {
		m.err = c.Wait()
		close(exited)
	}()
	if !first {
		return
	}
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill() // or it has ended already
		<-m.exited
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", m.name, m.tail())
		}
	})
}

// kill ends the machine as a power switch would. One that has ended before is
// an error.
func (m *machine) kill(t *testing.T) {
	t.Helper()
	m.alive(t)
	if err := m.cmd.Process.Kill(); err != nil {
		t.Errorf("kill %s: %v", m.name, err)
	}
	<-m.exited
}

func (m *machine) alive(t *testing.T) {
	t.Helper()
	select {
	case <-m.exited:
		t.Errorf("%s has ended by itself: %v: %s", m.name, m.err, m.tail())
	default:
	}
}

// stop ends the machine as a person would.
func (m *machine) stop(t *testing.T) {
	t.Helper()
	m.alive(t)
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("stop %s: %v", m.name, err)
	}
	select {
	case <-m.exited:
		if m.err != nil {
			t.Errorf("%s: %v: %s", m.name, m.err, m.tail())
		}
	case <-time.After(60 * time.Second):
		t.Fatalf("%s does not stop: %s", m.name, m.tail())
	}
}

// tail is the end of its log.
func (m *machine) tail() string {
	p, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	return string(p[max(0, len(p)-3000):])
}

// decode reads an answer in JSON.
func decode(a answer, into any) error {
	if a.code != 0 {
		return a
	}
	d := json.NewDecoder(bytes.NewBufferString(a.out))
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w in %q", err, a.out)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than one answer in %q", a.out)
	}
	return nil
}
