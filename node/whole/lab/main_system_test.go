//go:build system && linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"preau/images/hosttest"
	"preau/node/whole/netns"
	"preau/replication/central/cephtest"
)

const (
	// prefix begins the names of all namespaces, so that what a killed run left is
	// found by the next one.
	prefix = "lab-preau-"
	// centreNS is where the tests themselves run: the ministry's machine.
	centreNS = prefix + "centre"
	// binaryEnv names the command that the tests drive.
	binaryEnv = "PREAU_TEST_BINARY"
	// machinesEnv chooses what the country's machines are: hosts, or processes.
	machinesEnv = "PREAU_LAB"
	// insideEnv says to a test's process that it is in centreNS, and which folder
	// it has.
	insideEnv = "PREAU_LAB_DIR"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run is this process's part: it may be a line, the tests, or what looks after
// them.
func run(m *testing.M) int {
	was, err := netns.BeLine()
	switch {
	case was && err == nil:
		return 0
	case os.Getenv(insideEnv) != "":
		return m.Run()
	case err == nil:
		var code int
		if code, err = lookAfter(context.Background()); err == nil {
			return code
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// lookAfter runs the tests in a process that is the ministry's machine, and takes
// away what they leave, however they end. No other run with namespaces has the
// machine meanwhile: both measure it.
func lookAfter(ctx context.Context) (code int, err error) {
	if why := missing(); why != "" {
		return 0, errors.New(why)
	}
	lock, err := os.Open(os.TempDir()) // a folder that all have, and that stays
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return 0, fmt.Errorf("wait for other runs: %w", err)
	}
	if err := sweep(ctx); err != nil { // what a killed run has left
		return 0, err
	}
	defer func() { err = errors.Join(err, sweep(context.WithoutCancel(ctx))) }()
	// Not os.TempDir, which may be too long for Ceph's sockets.
	dir, err := os.MkdirTemp("/tmp", prefix)
	if err != nil {
		return 0, err
	}
	own, err := prepared(ctx, dir)
	if err != nil {
		return 0, err
	}
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", centreNS).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("make namespace %s: %w: %s", centreNS, err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	tests := exec.Command(self, os.Args[1:]...) // signals end it, see below
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Hosts' disks lie among what goes with the folder.
	tests.Env = slices.Concat(os.Environ(), own, []string{insideEnv + "=" + dir, "TMPDIR=" + dir})
	tests.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	// A child is where the thread is that starts it.
	if _, err := netns.Inside(centreNS, func() (struct{}, error) { return struct{}{}, tests.Start() }); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- tests.Wait() }()
	for {
		select {
		case s := <-signals:
			if err := tests.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 0, err
			}
		case err := <-ended:
			if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
				return 0, err
			}
			if code := tests.ProcessState.ExitCode(); code >= 0 {
				return code, nil
			}
			return 1, nil // a signal ended it
		}
	}
}

// missing says what must be installed, a line each, or nothing.
func missing() string {
	var all []string
	if why := netns.Missing(); why != "" {
		all = append(all, why)
	}
	switch chosen := os.Getenv(machinesEnv); chosen {
	case "", "processes": // the test itself says what else it needs
	case "hosts":
		if why := cephtest.Missing(); why != "" {
			all = append(all, why)
		}
		tools := slices.Concat(hosttest.Tools, hosttest.AnsibleTools, []string{"dpkg-deb=dpkg", "gpg=gnupg", "nginx=nginx-light", "prometheus=prometheus"})
		all = append(all, hosttest.Missing(tools...)...)
	default:
		all = append(all, fmt.Sprintf("%s=%q: say hosts or processes", machinesEnv, chosen))
	}
	return strings.Join(all, "\n")
}

// sweep takes away all that this or an earlier run has left on the machine.
func sweep(ctx context.Context) error {
	err := errors.Join(hosttest.Sweep(prefix), netns.Sweep(ctx, prefix))
	left, _ := filepath.Glob("/tmp/" + prefix + "*") // the pattern is right
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// prepared makes what can't be made once the tests are in a network of their own, and
// says in variables where it is: the command, built now if it was not given; for hosts
// the packages, and the command that is in the first of them.
func prepared(ctx context.Context, dir string) ([]string, error) {
	if os.Getenv(machinesEnv) != "hosts" {
		if os.Getenv(binaryEnv) != "" {
			return nil, nil
		}
		command, err := build(ctx, filepath.Join(dir, "preau"))
		return []string{binaryEnv + "=" + command}, err
	}
	packages, err := hosttest.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "program")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", packageOf(packages, first), program).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unpack the command: %w: %s", err, out)
	}
	return []string{binaryEnv + "=" + filepath.Join(program, "usr/bin/preau"), packagesEnv + "=" + packages}, nil
}

func build(ctx context.Context, file string, flags ...string) (string, error) {
	args := append([]string{"build", "-buildvcs=false", "-o", file}, flags...)
	if out, err := exec.CommandContext(ctx, "go", append(args, "preau/cmd/preau")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the command: %w: %s", err, out)
	}
	return file, nil
}

// within repeats fn until it returns nil.
func within(t *testing.T, limit time.Duration, fn func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	var err error
	for {
		now := fn(ctx)
		if now == nil {
			return
		}
		if err == nil || ctx.Err() == nil { // what was wrong, not that the time was over
			err = now
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still, after %v: %v", limit, err)
		case <-again.C:
		}
	}
}
