//go:build appliance && linux

package images_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"preau/images/mirror"
)

// release is the Debian that hosts of the tests run.
const release = "bookworm"

// serveEnv turns the test's own program into a web server, which can be started
// inside a host's network: ADDRESS=FOLDER.
const serveEnv = "PREAU_TEST_SERVE"

func TestMain(m *testing.M) {
	if address, folder, ok := strings.Cut(os.Getenv(serveEnv), "="); ok {
		files := http.FileServer(http.Dir(folder))
		srv := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=86400")
			files.ServeHTTP(w, r)
		})}
		fmt.Fprintln(os.Stderr, srv.ListenAndServe())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// need finds tools, and says what to install for those that are missing.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test installs packages on hosts of its own, and needs root")
	}
	for _, tool := range tools {
		name, debian, _ := strings.Cut(tool, "=")
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", name, debian)
		}
	}
}

// within repeats fn until it returns nil.
func within(t *testing.T, limit time.Duration, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if err = fn(); err == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatalf("still, after %v: %v", limit, err)
}

// do runs a command of this machine.
func do(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tree is a Debian that hosts begin with. It is kept for the next run.
func tree(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "preau-tests", "debian-"+release+"-1")
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
	do(t, "", nil, "mmdebstrap", "--variant=minbase", "--include=systemd-sysv,dbus,ca-certificates,curl", release, root, from)
	// What waits for hardware, a network or a person, where none is.
	for _, unit := range []string{"systemd-firstboot.service", "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-networkd-wait-online.service"} {
		if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)); err != nil {
			t.Fatal(err)
		}
	}
	for _, list := range []string{"etc/apt/sources.list", "etc/machine-id"} {
		if err := os.WriteFile(filepath.Join(root, list), nil, 0o644); err != nil {
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

// host is a Debian with systemd, that really boots, in a network of its own.
type host struct {
	root   string
	leader int // its first process
}

// boot starts a host with a disk of its own.
func boot(t *testing.T) *host {
	t.Helper()
	need(t, "systemd-nspawn=systemd-container", "mmdebstrap=mmdebstrap", "nsenter=util-linux")
	base := tree(t)
	dir := t.TempDir()
	h := &host{root: filepath.Join(dir, "root")}
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, dir, dir)
	if err := syscall.Mount("overlay", h.root, "overlay", 0, options); err != nil {
		t.Fatalf("mount the host's disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	name := fmt.Sprintf("preau-test-%d", os.Getpid())
	// It has groups of its own: with those of this process, its systemd would wait
	// for other processes than its own.
	const start = `g=/sys/fs/cgroup
for c in $g/systemd $g/unified $g/memory $g/pids $g/cpu $g; do
	[ -e $c/cgroup.procs ] || continue
	mkdir -p "$c/$0" && echo $$ >"$c/$0/cgroup.procs"
done
exec systemd-nspawn --boot --quiet --register=no --keep-unit --machine="$0" -D "$1" --private-network --link-journal=no --resolv-conf=off --timezone=off --console=pipe`
	console := &bytes.Buffer{}
	c := exec.Command("sh", "-c", start, name, h.root) // its end is told below
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
			t.Logf("the host's console:\n%s", console.String())
		}
		removeGroups(name)
	})
	within(t, 2*time.Minute, func() error {
		if h.leader = childOf(c.Process.Pid); h.leader == 0 {
			return errors.New("the host has no process")
		}
		out, err := h.run(t, "systemctl", "is-system-running")
		if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
			return fmt.Errorf("the host is %s: %w", state, err)
		}
		return nil
	})
	if out, err := h.run(t, "systemctl", "--failed", "--plain", "--no-legend"); err != nil || strings.TrimSpace(out) != "" {
		t.Logf("failed on the host before anything was done: %v %s", err, out)
	}
	return h
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

// removeGroups removes a host's control groups, the innermost first.
func removeGroups(name string) {
	for _, top := range []string{"systemd", "unified", "memory", "pids", "cpu", "."} {
		var dirs []string
		err := filepath.WalkDir(filepath.Join("/sys/fs/cgroup", top, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; err == nil && i >= 0; i-- {
			_ = os.Remove(dirs[i]) // what still ends takes its group along
		}
	}
}

// run runs a command on the host.
func (h *host) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(h.leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}

// must is run for what must succeed.
func (h *host) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.run(t, args...)
	if err != nil {
		journal, _ := h.run(t, "journalctl", "--no-pager", "-n", "60") // as much as there is
		t.Fatalf("%v\n%s\nthe host's journal:\n%s", err, out, journal)
	}
	return out
}

// write writes a file on the host.
func (h *host) write(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join("/proc", strconv.Itoa(h.leader), "root", path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// has reports whether the host has a file or folder.
func (h *host) has(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join("/proc", strconv.Itoa(h.leader), "root", path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// carry copies a file or folder of this machine to the host's /srv, and says
// where it is there.
func (h *host) carry(t *testing.T, from string) string {
	t.Helper()
	there := filepath.Join("/srv", filepath.Base(from))
	do(t, "", nil, "cp", "-a", from, filepath.Join("/proc", strconv.Itoa(h.leader), "root", there))
	return there
}

// serve serves a folder of this machine inside the host's network.
func (h *host) serve(t *testing.T, address, folder string) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("nsenter", "-t", strconv.Itoa(h.leader), "-n", own) // its end is told below
	c.Env = append(os.Environ(), serveEnv+"="+address+"="+folder)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // or it has just ended
		_ = c.Wait()         // it was killed
	})
	within(t, time.Minute, func() error {
		_, err := h.run(t, "curl", "-s", "-o", "/dev/null", "http://"+address+"/")
		return err
	})
}
