//go:build linux

package hosttest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// newHost makes a host that is not switched on yet.
func newHost(t *testing.T, name, address string) *Host {
	t.Helper()
	Need(t, "systemd-nspawn=systemd-container", "ip=iproute2", "nsenter=util-linux")
	base, dir := Tree(t), t.TempDir()
	h := &Host{Name: name, Address: address, root: filepath.Join(dir, "root"), space: fmt.Sprintf("preau-%d-%d", os.Getpid(), counted.Add(1))}
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("overlay", h.root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, dir, dir)); err != nil {
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
	namespace(t, h.space)
	// Last, so that it comes first: what runs has the disk and the network.
	t.Cleanup(func() {
		h.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the console of %s:\n%s", name, h.console.String())
		}
	})
	return h
}

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
	if h.running != nil {
		t.Fatalf("%s runs already", h.Name)
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
		t.Fatal(err)
	}
	h.running, h.leader, h.ended = c, 0, make(chan struct{})
	go func(ended chan struct{}) {
		c.Wait() //nolint:errcheck // it is told to end, so its exit code says nothing
		close(ended)
	}(h.ended)
}

// Await returns once the host is up.
func (h *Host) Await(t *testing.T) {
	t.Helper()
	Within(t, 2*time.Minute, func() error {
		if h.leader = childOf(h.running.Process.Pid); h.leader == 0 {
			return errors.New(h.Name + " has no process")
		}
		out, err := h.Run(t, "systemctl", "is-system-running")
		if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
			return fmt.Errorf("%s is %s: %w", h.Name, state, err)
		}
		return nil
	})
	if out, err := h.Run(t, "systemctl", "--failed", "--plain", "--no-legend"); err != nil || strings.TrimSpace(out) != "" {
		t.Logf("failed on %s as it booted: %v %s", h.Name, err, out)
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
	h.running, h.leader = nil, 0
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

// removeGroups removes a host's control groups, the innermost first, and reports
// whether all are gone.
func removeGroups(name string) bool {
	gone := true
	for _, top := range []string{"systemd", "unified", "memory", "pids", "cpu", "."} {
		var dirs []string
		err := filepath.WalkDir(filepath.Join("/sys/fs/cgroup", top, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; err == nil && i >= 0; i-- {
			gone = os.Remove(dirs[i]) == nil && gone
		}
	}
	return gone
}
