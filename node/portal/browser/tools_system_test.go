//go:build system && linux

package browser_test

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tools of the stories, each at the version that they were written for.
const (
	oidcProvider = "oidc-provider@9.13.3"
	lighthouse   = "lighthouse@12.8.2"
)

// binaryEnv may name the command, built already.
const binaryEnv = "PREAU_TEST_BINARY"

//go:embed *.mjs
var scripts embed.FS

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

// installed is a folder with a package of npm and all that it needs, fetched once.
func installed(t *testing.T, spec string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "preau-tests", strings.ReplaceAll(spec, "@", "-"))
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-") //nolint:usetesting // it is renamed, on that disk
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half) //nolint:errcheck // what is left of it is in a cache
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", spec)
	cmd.Dir = half
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v\n%s", spec, err, out)
	}
	if err := os.Rename(half, dir); err != nil {
		// Another test was faster.
		if _, there := os.Stat(filepath.Join(dir, "node_modules")); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// node runs one of the scripts, which may use the others, and reads what it says.
func node(t *testing.T, script string, job map[string]any, answer any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, scripts); err != nil {
		t.Fatal(err)
	}
	job["modules"], job["chromium"], job["scratch"] = modules(ctx, t), chromium(t), t.TempDir()
	// Pictures take as long as all else.
	job["pictures"], job["keep"] = pictures(t), os.Getenv("PREAU_SCREENSHOTS") != ""
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", "--no-warnings", filepath.Join(dir, script))
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", script, err, errs.Bytes(), out)
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
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
