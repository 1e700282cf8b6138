//go:build appliance && linux

package ansible_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"preau/images/mirror"
)

// need finds tools, and says what to install for those that are missing.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test boots hosts of its own, and needs root")
	}
	for _, tool := range tools {
		name, debian, _ := strings.Cut(tool, "=")
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", name, debian)
		}
	}
}

// do runs a command of this machine.
func do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tree is a Debian as a hoster hands it over: with ssh and Python, and with nothing
// of ours. It is kept for the next run.
func tree(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "preau-tests", "debian-bookworm-ssh-1")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	// By its last name only once it is whole.
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-") //nolint:usetesting // it is renamed within its file system
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half) //nolint:errcheck // it is gone if all went well
	// Where this machine's own Debian comes from; PREAU_TEST_MIRROR names another.
	from := os.Getenv("PREAU_TEST_MIRROR")
	if from == "" {
		if from, err = mirror.Own(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(half, "root")
	do(t, "mmdebstrap", "--variant=minbase", "--include=systemd-sysv,dbus,ca-certificates,curl,iproute2,openssh-server,python3,python3-apt,gnupg,prometheus", "bookworm", root, from)
	// What waits for hardware, a network or a person, where none is.
	for _, unit := range []string{"systemd-firstboot.service", "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-networkd-wait-online.service"} {
		if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"etc/apt/sources.list", "etc/machine-id"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return dir
}

// network is a switch that nothing else is plugged into, and hosts on it.
type network struct {
	space string // the network namespace with the switch
	key   string // what the hosts let in by ssh
	base  string
}

const own = "10.99.0.1" // this side's address in the network

func newNetwork(t *testing.T) *network {
	t.Helper()
	need(t, "systemd-nspawn=systemd-container", "mmdebstrap=mmdebstrap", "ip=iproute2", "ssh=openssh-client", "ansible-playbook=ansible")
	n := &network{space: fmt.Sprintf("preau-a%d", os.Getpid()), key: filepath.Join(t.TempDir(), "key"), base: tree(t)}
	do(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", n.key)
	do(t, "ip", "netns", "add", n.space)
	t.Cleanup(func() { remove(t, n.space) })
	for _, args := range []string{"link set lo up", "link add br0 type bridge", "addr add " + own + "/24 dev br0", "link set br0 up"} {
		do(t, "ip", append([]string{"-n", n.space}, strings.Fields(args)...)...)
	}
	return n
}

func remove(t *testing.T, space string) {
	if out, err := exec.Command("ip", "netns", "del", space).CombinedOutput(); err != nil { // the test's context has ended
		t.Errorf("remove the network %s: %v\n%s", space, err, out)
	}
}

// boot starts a host with a disk of its own at an address of the network. It is
// there once it lets itself be reached by ssh: see await.
func (n *network) boot(t *testing.T, name, address string) {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", n.base, dir, dir)); err != nil {
		t.Fatalf("mount the disk of %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	public, err := os.ReadFile(n.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "root/.ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"root/.ssh/authorized_keys": string(public), "etc/hostname": name + "\n", "etc/machine-id": ""} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "etc/hostname"), 0o644); err != nil {
		t.Fatal(err)
	}
	space := n.space + name
	do(t, "ip", "netns", "add", space)
	t.Cleanup(func() { remove(t, space) })
	do(t, "ip", "-n", n.space, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
	do(t, "ip", "-n", n.space, "link", "set", name, "master", "br0", "up")
	for _, args := range []string{"link set lo up", "addr add " + address + "/24 dev eth0", "link set eth0 up"} {
		do(t, "ip", append([]string{"-n", space}, strings.Fields(args)...)...)
	}
	// It has groups of its own: with those of this process, its systemd would wait
	// for other processes than its own.
	const start = `g=/sys/fs/cgroup
for c in $g/systemd $g/unified $g/memory $g/pids $g/cpu $g; do
	[ -e $c/cgroup.procs ] || continue
	mkdir -p "$c/$0" && echo $$ >"$c/$0/cgroup.procs"
done
exec systemd-nspawn --boot --quiet --register=no --keep-unit --machine="$2" -D "$1" --network-namespace-path="/run/netns/$0" --capability=CAP_NET_ADMIN,CAP_NET_RAW --link-journal=no --resolv-conf=off --timezone=off --console=pipe`
	console := &bytes.Buffer{}
	c := exec.Command("sh", "-c", start, space, root, name) // its end is told below
	c.Stdout, c.Stderr = console, console
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended := make(chan struct{})
		_ = c.Process.Signal(syscall.SIGTERM) // or it has just ended
		go func() {
			_ = c.Wait() // it was told to end, so its exit code says nothing
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = c.Process.Kill() // or it has just ended
			<-ended
		}
		if t.Failed() {
			t.Logf("the console of %s:\n%s", name, console)
		}
		// What still ends takes its group along.
		_ = exec.Command("sh", "-c", `find /sys/fs/cgroup/*/"$0" /sys/fs/cgroup/"$0" -depth -type d -exec rmdir {} + 2>/dev/null`, space).Run()
	})
}

// options of ssh for hosts that nobody has met before.
func (n *network) options() []string {
	return []string{"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"}
}

// on runs a line of shell on a host.
func (n *network) on(t *testing.T, address, line string) (string, error) {
	t.Helper()
	args := append([]string{"netns", "exec", n.space, "ssh", "-i", n.key}, n.options()...)
	out, err := exec.CommandContext(t.Context(), "ip", append(args, "root@"+address, line)...).CombinedOutput()
	return string(out), err
}

// await returns once the host is up.
func (n *network) await(t *testing.T, address string) {
	t.Helper()
	var out string
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		out, err = n.on(t, address, "systemctl is-system-running --wait")
		if state := strings.TrimSpace(out); state == "running" || state == "degraded" {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatalf("the host at %s is not up: %v\n%s", address, err, out)
}
