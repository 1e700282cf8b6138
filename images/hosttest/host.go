//go:build linux

package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Host is a Debian with systemd, that really boots, in a network of its own.
type Host struct {
	Name    string
	Address string // in the network; empty if it is in none
	root    string // its disk, as this machine sees it
	space   string // its network namespace
	console bytes.Buffer
	leader  int // its first process
	running *exec.Cmd
	ended   chan struct{} // closed when running has ended
}

// hosts and networks of this process, counted for their names.
var counted atomic.Int64

// Boot starts a host that has no network but itself, and returns once it is up.
func Boot(t *testing.T) *Host {
	t.Helper()
	h := newHost(t, "host", "")
	h.Start(t)
	h.Await(t)
	return h
}

// BootIn starts a host in a network namespace that the caller has made, under a name
// that no other host of the machine has and that Sweep knows. It lets in by ssh who
// has the key. It is there after Await.
func BootIn(t *testing.T, name, space, key string) *Host {
	t.Helper()
	h := makeHost(t, name, "", space)
	h.letIn(t, key)
	h.Start(t)
	return h
}

// newHost makes a host that is not switched on yet, in a network of its own.
func newHost(t *testing.T, name, address string) *Host {
	t.Helper()
	sweepOnce(t)
	space := fmt.Sprintf("%s%d-%d", spaces, os.Getpid(), counted.Add(1))
	namespace(t, space)
	return makeHost(t, name, address, space)
}

func makeHost(t *testing.T, name, address, space string) *Host {
	t.Helper()
	Need(t, Tools...)
	base, dir := Tree(t), t.TempDir()
	h := &Host{Name: name, Address: address, root: filepath.Join(dir, "root"), space: space}
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// By the name of what is mounted Sweep finds it.
	if err := syscall.Mount(space, h.root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, dir, dir)); err != nil {
		t.Fatalf("mount the disk of %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(h.root, "etc/hostname"), []byte(name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Last, so that it comes first: what runs has the disk and the network.
	t.Cleanup(func() {
		h.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the console of %s:\n%s", name, h.console.String())
		}
	})
	return h
}

// letIn has the host let in by ssh, as root, who has the key.
func (h *Host) letIn(t *testing.T, key string) {
	t.Helper()
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.root, "root/.ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.root, "root/.ssh/authorized_keys"), public, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Disk is where this machine finds a folder of the host that is on its disk, whether
// the host runs or not. See path for what it has in memory.
func (h *Host) Disk(folder string) string { return filepath.Join(h.root, folder) }

// namespace makes a network namespace with nothing in it but the loopback, which
// goes when the test does.
func namespace(t *testing.T, name string) {
	t.Helper()
	Do(t, "", nil, "ip", "netns", "add", name)
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil { //nolint:noctx // the test's context has ended
			t.Errorf("remove the network %s: %v\n%s", name, err, out)
		}
	})
	Do(t, "", nil, "ip", "-n", name, "link", "set", "lo", "up")
}

// Start switches the host on. See Await.
func (h *Host) Start(t *testing.T) {
	t.Helper()
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
}

// Await returns once the host is up.
func (h *Host) Await(t *testing.T) {
	t.Helper()
	if err := h.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Run(t, "systemctl", "--failed", "--plain", "--no-legend"); err != nil || strings.TrimSpace(out) != "" {
		t.Logf("failed on %s as it booted: %v %s", h.Name, err, out)
	}
}

// On switches the host on, and returns once it is up.
func (h *Host) On(ctx context.Context) error {
	if err := h.start(); err != nil {
		return err
	}
	return h.await(ctx)
}

func (h *Host) start() error {
	if h.running != nil {
		return errors.New(h.Name + " runs already")
	}
	// It has groups of its own: with those of this process, its systemd would wait
	// for other processes than its own.
	const start = `g=/sys/fs/cgroup
for c in $g/systemd $g/unified $g/memory $g/pids $g/cpu $g; do
	[ -e $c/cgroup.procs ] || continue
	mkdir -p "$c/$0" && echo $$ >"$c/$0/cgroup.procs"
done
exec systemd-nspawn --boot --quiet --register=no --keep-unit --machine="$0" -D "$1" --network-namespace-path="/run/netns/$0" --capability=CAP_NET_ADMIN,CAP_NET_RAW --link-journal=no --resolv-conf=off --timezone=off --console=pipe`
	c := exec.Command("sh", "-c", start, h.space, h.root) //nolint:noctx // its end is told by end
	c.Stdout, c.Stderr = &h.console, &h.console
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("switch on %s: %w", h.Name, err)
	}
	h.running, h.leader, h.ended = c, 0, make(chan struct{})
	go func(ended chan struct{}) {
		c.Wait() //nolint:errcheck // it is told to end, so its exit code says nothing
		close(ended)
	}(h.ended)
	return nil
}

func (h *Host) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		var err error
		if h.leader = childOf(h.running.Process.Pid); h.leader == 0 {
			err = errors.New("it has no process")
		} else if out, failed := h.run(ctx, "systemctl", "is-system-running"); !slices.Contains([]string{"running", "degraded"}, strings.TrimSpace(out)) {
			err = fmt.Errorf("it is %q: %w", strings.TrimSpace(out), failed)
		}
		if err == nil {
			return nil
		}
		select {
		case <-h.ended:
			return fmt.Errorf("%s does not boot: %w\n%s", h.Name, err, h.console.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not boot: %w: %w", h.Name, ctx.Err(), err)
		case <-again.C:
		}
	}
}

// Over is an error if the host was switched on, and has gone without being told to.
func (h *Host) Over() error {
	if h.running == nil {
		return nil
	}
	select {
	case <-h.ended:
		return fmt.Errorf("%s has gone by itself", h.Name)
	default:
		return nil
	}
}

// Stop shuts the host down as its own operator would. Start switches it on again.
func (h *Host) Stop() { h.end(syscall.SIGTERM) }

// Cut takes the power from the host: every process of it is gone at once. What they
// had written is on its disk, since this machine's memory keeps it.
func (h *Host) Cut() { h.end(syscall.SIGKILL) }

func (h *Host) end(signal syscall.Signal) {
	if h.running == nil {
		return
	}
	defer func() { h.running, h.leader = nil, 0 }()
	if signal == syscall.SIGKILL && h.leader > 0 {
		syscall.Kill(h.leader, signal) //nolint:errcheck // all of its namespace goes with it, or it has just ended
	}
	h.running.Process.Signal(signal) //nolint:errcheck // or it has just ended
	select {
	case <-h.ended:
	case <-time.After(time.Minute):
		syscall.Kill(h.leader, syscall.SIGKILL) //nolint:errcheck // or it has just ended
		h.running.Process.Kill()                //nolint:errcheck // or it has just ended
		<-h.ended
	}
	// What was killed may need a moment to be gone.
	for range 100 {
		if removeGroups(h.space) {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

// childOf is the one process that pid has started; 0 if it has none.
func childOf(pid int) int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent: the name may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			if err == nil {
				return child
			}
		}
	}
	return 0
}
