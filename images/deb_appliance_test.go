//go:build appliance && linux

package images_test

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// epoch is the time of all that the tests build.
const epoch = "SOURCE_DATE_EPOCH=1763890000"

// built are packages, made once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// packages are a folder with packages of versions 1.0.0 and 2.0.0.
func packages(t *testing.T) string {
	t.Helper()
	need(t, "dpkg-deb=dpkg")
	built.once.Do(func() {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = os.TempDir()
		}
		if built.err = os.MkdirAll(filepath.Join(cache, "preau-tests"), 0o755); built.err != nil {
			return
		}
		// One folder, made anew by each run: nothing is left lying about by many.
		built.dir = filepath.Join(cache, "preau-tests", "packages")
		if built.err = os.RemoveAll(built.dir); built.err != nil {
			return
		}
		for _, args := range [][]string{
			{"deb", "-version", "v1.0.0", "-arch", "amd64,arm64", "-compression", "xz"},
			{"deb", "-version", "v2.0.0", "-arch", "amd64", "-compression", "gzip"},
		} {
			c := exec.CommandContext(context.Background(), "go", append([]string{"run", "./pack"}, append(args, "-out", built.dir)...)...)
			c.Env = append(os.Environ(), epoch)
			if out, err := c.CombinedOutput(); err != nil {
				built.err = fmt.Errorf("%w\n%s", err, out)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

func digest(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// elsewhere copies the sources to a folder of another name, without what git does
// not know.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "another", "folder")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	do(t, "..", nil, "sh", "-c", `tar c --exclude=./.git --exclude=./bin . | tar x -C "$0"`, dir)
	return dir
}

func TestPackagesAreTheSameBytesFromAnyFolder(t *testing.T) {
	first := packages(t)
	second := t.TempDir()
	dir := elsewhere(t)
	do(t, dir, []string{epoch, "TZ=Pacific/Auckland", "LC_ALL=C"}, "sh", "-c", "umask 077 && go run ./images/pack deb -version v1.0.0 -arch amd64,arm64 -out "+second)
	for _, arch := range []string{"amd64", "arm64"} {
		name := "preau_1.0.0_" + arch + ".deb"
		if one, other := digest(t, filepath.Join(first, name)), digest(t, filepath.Join(second, name)); one != other {
			t.Errorf("%s: %s from one folder, %s from another", arch, one, other)
		}
	}
}

func TestPackagesHaveTheProgramOfTheirArchitecture(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		dir := t.TempDir()
		do(t, "", nil, "dpkg-deb", "-x", filepath.Join(packages(t), "preau_1.0.0_"+arch+".deb"), dir)
		f, err := elf.Open(filepath.Join(dir, "usr/bin/preau"))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine {
			t.Errorf("%s: the program is for %v", arch, f.Machine)
		}
		if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("%s: the program needs %v, %v", arch, libraries, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLintianFindsNothing(t *testing.T) {
	need(t, "lintian=lintian")
	for _, arch := range []string{"amd64", "arm64"} {
		c := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on", "error,warning", filepath.Join(packages(t), "preau_1.0.0_"+arch+".deb"))
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", arch, err, out)
		}
	}
}

func TestUnitsAreRightAndLocked(t *testing.T) {
	need(t, "systemd-analyze=systemd")
	dir := t.TempDir()
	do(t, "", nil, "dpkg-deb", "-x", filepath.Join(packages(t), "preau_1.0.0_amd64.deb"), dir)
	for name := range units(t) {
		if out := do(t, "", nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root="+dir, name); out != "" {
			t.Errorf("%s: %s", name, out)
		}
		// At most 3.0 of 10, in tenths.
		do(t, "", nil, "systemd-analyze", "security", "--offline=yes", "--threshold=30", filepath.Join(dir, "usr/lib/systemd/system", name))
	}
}

const boxSettings = `data = "/var/lib/preau"

[[listen]]
address = ":80"

[[site]]
name = "library"
upstream = "http://127.0.0.1:8000"
hosts = ["*"]
`

// serving has the host's box give a page, and tell its version.
func (h *host) serving(t *testing.T, version string) {
	t.Helper()
	within(t, 2*time.Minute, func() error {
		page, err := h.run(t, "curl", "-sS", "-i", "--max-time", "20", "http://127.0.0.1/page.txt")
		if err != nil {
			return fmt.Errorf("%w: %s", err, page)
		}
		if !strings.Contains(page, "a page for the class") {
			return fmt.Errorf("the box gives %.300s", page)
		}
		metrics, err := h.run(t, "curl", "-sS", "--max-time", "20", "http://127.0.0.1:9190/metrics")
		if err != nil {
			return err
		}
		if want := `preau_build_info{`; !strings.Contains(metrics, want) || !strings.Contains(metrics, `version="v`+version+`"`) {
			return fmt.Errorf("version %s does not run", version)
		}
		return nil
	})
}

// stored reports whether the box still has the page that it stored.
func (h *host) stored(t *testing.T) bool {
	t.Helper()
	answer := h.must(t, "curl", "-sS", "-i", "--max-time", "20", "http://127.0.0.1/page.txt")
	for line := range strings.Lines(answer) {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Cache-Status") {
			return strings.Contains(value, "; hit")
		}
	}
	t.Fatalf("no Cache-Status:\n%s", answer)
	return false
}

func (h *host) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(h.must(t, "systemctl", "show", "--value", "-p", name, unit))
}

// TestAPackagesLifeOnAHost takes a host from installation to purge.
func TestAPackagesLifeOnAHost(t *testing.T) {
	dir := packages(t)
	h := boot(t)
	one, two := h.carry(t, filepath.Join(dir, "preau_1.0.0_amd64.deb")), h.carry(t, filepath.Join(dir, "preau_2.0.0_amd64.deb"))
	web := t.TempDir()
	if err := os.WriteFile(filepath.Join(web, "page.txt"), []byte("a page for the class\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.serve(t, "127.0.0.1:8000", web)

	h.must(t, "dpkg", "-i", one)
	for unit := range units(t) {
		if enabled, err := h.run(t, "systemctl", "is-enabled", unit); err == nil || strings.TrimSpace(enabled) != "disabled" {
			t.Errorf("%s is %s after installation", unit, enabled)
		}
		if active, err := h.run(t, "systemctl", "is-active", unit); err == nil {
			t.Errorf("%s is %s after installation", unit, active)
		}
	}
	for _, d := range []string{"/var/lib/preau", "/var/lib/preau-region", "/var/lib/preau-central"} {
		if got := strings.TrimSpace(h.must(t, "stat", "-c", "%U:%G %a", d)); got != "preau:preau 700" {
			t.Errorf("%s is %s", d, got)
		}
	}
	if got := h.must(t, "preau", "version"); !strings.HasPrefix(got, "preau v1.0.0 ") {
		t.Errorf("version: %s", got)
	}
	// Nobody has made this machine a server: that is no failure.
	h.must(t, "systemctl", "start", "preau-region", "preau-central")
	if failed := h.must(t, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "preau-*"); failed != "" {
		t.Errorf("failed: %s", failed)
	}

	h.write(t, "/etc/preau/box.toml", boxSettings)
	h.must(t, "systemctl", "enable", "--now", "preau-box") // returns once it is ready
	h.serving(t, "1.0.0")
	h.locked(t)
	h.watched(t)
	h.serving(t, "1.0.0")
	h.secret(t)

	// An upgrade runs the new version, and keeps what is stored.
	h.must(t, "dpkg", "-i", two)
	h.serving(t, "2.0.0")

	// Settings that a version does not know leave the one that runs alone.
	h.write(t, "/etc/preau/box.toml", boxSettings+"novelty = true\n")
	pid := h.property(t, "preau-box", "MainPID")
	if out := h.must(t, "dpkg", "-i", one); !strings.Contains(out, "novelty") {
		t.Errorf("the package does not say why it restarts nothing:\n%s", out)
	}
	if now := h.property(t, "preau-box", "MainPID"); now != pid {
		t.Errorf("process %s became %s, with settings that it does not take", pid, now)
	}
	h.write(t, "/etc/preau/box.toml", boxSettings)

	// A downgrade runs the old one.
	h.must(t, "dpkg", "-i", two)
	h.must(t, "dpkg", "-i", one)
	h.serving(t, "1.0.0")

	// What was stopped stays stopped.
	h.must(t, "systemctl", "stop", "preau-box")
	h.must(t, "dpkg", "-i", two)
	if active, err := h.run(t, "systemctl", "is-active", "preau-box"); err == nil {
		t.Errorf("an upgrade has made a stopped box %s", active)
	}
	h.must(t, "systemctl", "start", "preau-box")
	h.serving(t, "2.0.0")

	// Removal keeps settings and data, and with them the box comes back.
	h.must(t, "dpkg", "-r", "preau")
	if h.has(t, "/usr/bin/preau") || !h.has(t, "/etc/preau/box.toml") || !h.has(t, "/var/lib/preau/deposits") {
		t.Error("a removed package leaves its program, or takes settings or data along")
	}
	if out, err := h.run(t, "curl", "-sS", "--max-time", "5", "http://127.0.0.1/page.txt"); err == nil {
		t.Errorf("a removed box serves: %s", out)
	}
	h.must(t, "dpkg", "-i", two)
	h.must(t, "systemctl", "start", "preau-box")
	h.serving(t, "2.0.0")
	if !h.stored(t) {
		t.Error("what was stored is gone after removal and a new installation")
	}

	// Purge leaves nothing.
	h.must(t, "dpkg", "-P", "preau")
	for _, gone := range []string{
		"/etc/preau", "/var/lib/preau", "/var/lib/preau-region", "/var/lib/preau-central", "/etc/credstore/preau.acme-eab",
		"/etc/systemd/system/multi-user.target.wants/preau-box.service", "/var/lib/systemd/deb-systemd-helper-enabled/preau-box.service.dsh-also",
	} {
		if h.has(t, gone) {
			t.Errorf("%s is left after purge", gone)
		}
	}
}

// locked looks at what the service's process really may do.
func (h *host) locked(t *testing.T) {
	t.Helper()
	pid := h.property(t, "preau-box", "MainPID")
	status := h.must(t, "cat", "/proc/"+pid+"/status")
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000400"} {
		if !strings.Contains(status, want) {
			t.Errorf("the box's process has no %q:\n%s", want, status)
		}
	}
	if user := strings.TrimSpace(h.must(t, "stat", "-c", "%U", "/proc/"+pid)); user != "preau" {
		t.Errorf("the box runs as %s", user)
	}
	if out, err := h.run(t, "nsenter", "-t", pid, "-m", "touch", "/usr/here"); err == nil {
		t.Errorf("the box could write to /usr: %s", out)
	}
}

// watched stops the box's process in its tracks, and kills it: it comes back.
func (h *host) watched(t *testing.T) {
	t.Helper()
	if got := h.property(t, "preau-box", "WatchdogUSec"); got != "1min" {
		t.Errorf("the watchdog waits for %s", got)
	}
	within(t, time.Minute, func() error {
		if got := h.property(t, "preau-box", "StatusText"); got != "ready" {
			return fmt.Errorf("the box says that it is %q", got)
		}
		return nil
	})
	h.write(t, "/etc/systemd/system/preau-box.service.d/test.conf", "[Service]\nWatchdogSec=10s\nWatchdogSignal=SIGKILL\n")
	h.must(t, "systemctl", "daemon-reload")
	h.must(t, "systemctl", "restart", "preau-box")
	for _, signal := range []string{"STOP", "KILL"} {
		pid := h.property(t, "preau-box", "MainPID")
		h.must(t, "sh", "-c", "kill -"+signal+" "+pid)
		within(t, 3*time.Minute, func() error {
			now := h.property(t, "preau-box", "MainPID")
			if active, err := h.run(t, "systemctl", "is-active", "preau-box"); now == pid || err != nil {
				return fmt.Errorf("after SIG%s process %s is %s, %s", signal, pid, now, strings.TrimSpace(active))
			}
			return nil
		})
	}
	h.must(t, "rm", "-r", "/etc/systemd/system/preau-box.service.d")
	h.must(t, "systemctl", "daemon-reload")
}

// secret gives the box a secret. So far it had none, and ran.
func (h *host) secret(t *testing.T) {
	t.Helper()
	h.write(t, "/etc/credstore/preau.acme-eab", "kid secret\n")
	h.must(t, "chmod", "600", "/etc/credstore/preau.acme-eab")
	h.must(t, "systemctl", "restart", "preau-box")
	const there = "/run/credentials/preau-box.service/preau.acme-eab"
	// With the box's user, in the box's file system.
	pid := h.property(t, "preau-box", "MainPID")
	if got, err := h.run(t, "nsenter", "-t", pid, "-m", "setpriv", "--reuid", "preau", "--regid", "preau", "--clear-groups", "cat", there); err != nil || got != "kid secret\n" {
		t.Errorf("the box reads %q, %v", got, err)
	}
	if got, err := h.run(t, "setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "cat", there); err == nil {
		t.Errorf("anybody reads %q", got)
	}
}
