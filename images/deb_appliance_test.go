//go:build appliance && linux

package images_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

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
	first := hosttest.Packages(t)
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
		do(t, "", nil, "dpkg-deb", "-x", filepath.Join(hosttest.Packages(t), "preau_1.0.0_"+arch+".deb"), dir)
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
		c := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on", "error,warning", filepath.Join(hosttest.Packages(t), "preau_1.0.0_"+arch+".deb"))
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", arch, err, out)
		}
	}
}

func TestUnitsAreRightAndLocked(t *testing.T) {
	need(t, "systemd-analyze=systemd")
	dir := t.TempDir()
	do(t, "", nil, "dpkg-deb", "-x", filepath.Join(hosttest.Packages(t), "preau_1.0.0_amd64.deb"), dir)
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
func (h host) serving(t *testing.T, version string) {
	t.Helper()
	within(t, 2*time.Minute, func() error {
		page, err := h.Run(t, "curl", "-sS", "-i", "--max-time", "20", "http://127.0.0.1/page.txt")
		if err != nil {
			return fmt.Errorf("%w: %s", err, page)
		}
		if !strings.Contains(page, "a page for the class") {
			return fmt.Errorf("the box gives %.300s", page)
		}
		metrics, err := h.Run(t, "curl", "-sS", "--max-time", "20", "http://127.0.0.1:9190/metrics")
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
func (h host) stored(t *testing.T) bool {
	t.Helper()
	answer := h.Must(t, "curl", "-sS", "-i", "--max-time", "20", "http://127.0.0.1/page.txt")
	for line := range strings.Lines(answer) {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Cache-Status") {
			return strings.Contains(value, "; hit")
		}
	}
	t.Fatalf("no Cache-Status:\n%s", answer)
	return false
}

func (h host) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(h.Must(t, "systemctl", "show", "--value", "-p", name, unit))
}

// TestAPackagesLifeOnAHost takes a host from installation to purge.
func TestAPackagesLifeOnAHost(t *testing.T) {
	dir := hosttest.Packages(t)
	h := boot(t)
	one, two := h.Carry(t, filepath.Join(dir, "preau_1.0.0_amd64.deb")), h.Carry(t, filepath.Join(dir, "preau_2.0.0_amd64.deb"))
	web := t.TempDir()
	if err := os.WriteFile(filepath.Join(web, "page.txt"), []byte("a page for the class\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Serve(t, "127.0.0.1:8000", web)

	h.Must(t, "dpkg", "-i", one)
	for unit := range units(t) {
		if enabled, err := h.Run(t, "systemctl", "is-enabled", unit); err == nil || strings.TrimSpace(enabled) != "disabled" {
			t.Errorf("%s is %s after installation", unit, enabled)
		}
		if active, err := h.Run(t, "systemctl", "is-active", unit); err == nil {
			t.Errorf("%s is %s after installation", unit, active)
		}
	}
	for _, d := range []string{"/var/lib/preau", "/var/lib/preau-region", "/var/lib/preau-central"} {
		if got := strings.TrimSpace(h.Must(t, "stat", "-c", "%U:%G %a", d)); got != "preau:preau 700" {
			t.Errorf("%s is %s", d, got)
		}
	}
	if got := h.Must(t, "preau", "version"); !strings.HasPrefix(got, "preau v1.0.0 ") {
		t.Errorf("version: %s", got)
	}
	// Nobody has made this machine a server: that is no failure.
	h.Must(t, "systemctl", "start", "preau-region", "preau-central")
	if failed := h.Must(t, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "preau-*"); failed != "" {
		t.Errorf("failed: %s", failed)
	}

	h.Write(t, "/etc/preau/box.toml", boxSettings)
	h.Must(t, "systemctl", "enable", "--now", "preau-box") // returns once it is ready
	h.serving(t, "1.0.0")
	h.locked(t)
	h.watched(t)
	h.serving(t, "1.0.0")
	h.secret(t)

	// An upgrade runs the new version, and keeps what is stored.
	h.Must(t, "dpkg", "-i", two)
	h.serving(t, "2.0.0")

	// Settings that a version does not know leave the one that runs alone.
	h.Write(t, "/etc/preau/box.toml", boxSettings+"novelty = true\n")
	pid := h.property(t, "preau-box", "MainPID")
	if out := h.Must(t, "dpkg", "-i", one); !strings.Contains(out, "novelty") {
		t.Errorf("the package does not say why it restarts nothing:\n%s", out)
	}
	if now := h.property(t, "preau-box", "MainPID"); now != pid {
		t.Errorf("process %s became %s, with settings that it does not take", pid, now)
	}
	h.Write(t, "/etc/preau/box.toml", boxSettings)

	// A downgrade runs the old one.
	h.Must(t, "dpkg", "-i", two)
	h.Must(t, "dpkg", "-i", one)
	h.serving(t, "1.0.0")

	// What was stopped stays stopped.
	h.Must(t, "systemctl", "stop", "preau-box")
	h.Must(t, "dpkg", "-i", two)
	if active, err := h.Run(t, "systemctl", "is-active", "preau-box"); err == nil {
		t.Errorf("an upgrade has made a stopped box %s", active)
	}
	h.Must(t, "systemctl", "start", "preau-box")
	h.serving(t, "2.0.0")

	// Removal keeps settings and data, and with them the box comes back.
	h.Must(t, "dpkg", "-r", "preau")
	if h.Has(t, "/usr/bin/preau") || !h.Has(t, "/etc/preau/box.toml") || !h.Has(t, "/var/lib/preau/deposits") {
		t.Error("a removed package leaves its program, or takes settings or data along")
	}
	if out, err := h.Run(t, "curl", "-sS", "--max-time", "5", "http://127.0.0.1/page.txt"); err == nil {
		t.Errorf("a removed box serves: %s", out)
	}
	h.Must(t, "dpkg", "-i", two)
	h.Must(t, "systemctl", "start", "preau-box")
	h.serving(t, "2.0.0")
	if !h.stored(t) {
		t.Error("what was stored is gone after removal and a new installation")
	}

	// Purge leaves nothing.
	h.Must(t, "dpkg", "-P", "preau")
	for _, gone := range []string{
		"/etc/preau", "/var/lib/preau", "/var/lib/preau-region", "/var/lib/preau-central", "/etc/credstore/preau.acme-eab",
		"/etc/systemd/system/multi-user.target.wants/preau-box.service", "/var/lib/systemd/deb-systemd-helper-enabled/preau-box.service.dsh-also",
	} {
		if h.Has(t, gone) {
			t.Errorf("%s is left after purge", gone)
		}
	}
}

// locked looks at what the service's process really may do.
func (h host) locked(t *testing.T) {
	t.Helper()
	pid := h.property(t, "preau-box", "MainPID")
	status := h.Must(t, "cat", "/proc/"+pid+"/status")
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000400"} {
		if !strings.Contains(status, want) {
			t.Errorf("the box's process has no %q:\n%s", want, status)
		}
	}
	if user := strings.TrimSpace(h.Must(t, "stat", "-c", "%U", "/proc/"+pid)); user != "preau" {
		t.Errorf("the box runs as %s", user)
	}
	if out, err := h.Run(t, "nsenter", "-t", pid, "-m", "touch", "/usr/here"); err == nil {
		t.Errorf("the box could write to /usr: %s", out)
	}
}

// watched stops the box's process in its tracks, and kills it: it comes back.
func (h host) watched(t *testing.T) {
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
	h.Write(t, "/etc/systemd/system/preau-box.service.d/test.conf", "[Service]\nWatchdogSec=10s\nWatchdogSignal=SIGKILL\n")
	h.Must(t, "systemctl", "daemon-reload")
	h.Must(t, "systemctl", "restart", "preau-box")
	for _, signal := range []string{"STOP", "KILL"} {
		pid := h.property(t, "preau-box", "MainPID")
		h.Must(t, "sh", "-c", "kill -"+signal+" "+pid)
		within(t, 3*time.Minute, func() error {
			now := h.property(t, "preau-box", "MainPID")
			if active, err := h.Run(t, "systemctl", "is-active", "preau-box"); now == pid || err != nil {
				return fmt.Errorf("after SIG%s process %s is %s, %s", signal, pid, now, strings.TrimSpace(active))
			}
			return nil
		})
	}
	h.Must(t, "rm", "-r", "/etc/systemd/system/preau-box.service.d")
	h.Must(t, "systemctl", "daemon-reload")
}

// secret gives the box a secret. So far it had none, and ran.
func (h host) secret(t *testing.T) {
	t.Helper()
	h.Write(t, "/etc/credstore/preau.acme-eab", "kid secret\n")
	h.Must(t, "chmod", "600", "/etc/credstore/preau.acme-eab")
	h.Must(t, "systemctl", "restart", "preau-box")
	const there = "/run/credentials/preau-box.service/preau.acme-eab"
	// With the box's user, in the box's file system.
	pid := h.property(t, "preau-box", "MainPID")
	if got, err := h.Run(t, "nsenter", "-t", pid, "-m", "setpriv", "--reuid", "preau", "--regid", "preau", "--clear-groups", "cat", there); err != nil || got != "kid secret\n" {
		t.Errorf("the box reads %q, %v", got, err)
	}
	if got, err := h.Run(t, "setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "cat", there); err == nil {
		t.Errorf("anybody reads %q", got)
	}
}
