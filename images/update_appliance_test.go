//go:build appliance && linux

package images_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// planSigner is who signs the plans of a region.
type planSigner struct{ home, key string }

func newPlanSigner(t *testing.T) planSigner {
	t.Helper()
	// The path of the agent's socket must fit into an address, so not t.TempDir.
	home, err := os.MkdirTemp("", "g") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	s := planSigner{home: home, key: filepath.Join(t.TempDir(), "update.gpg")}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() // the test's context has ended
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	do(t, "", s.env(), "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Updates <updates@example.org>", "ed25519", "sign", "never")
	do(t, "", s.env(), "gpg", "--batch", "--quiet", "--export", "--output", s.key)
	return s
}

func (s planSigner) env() []string { return []string{"GNUPGHOME=" + s.home} }

// remade is a package made of another one: with another version, and what do
// changes in it.
func remade(t *testing.T, from, version string, change func(root string)) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	do(t, "", nil, "dpkg-deb", "-R", from, root)
	control := filepath.Join(root, "DEBIAN/control")
	text, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(control, []byte(strings.Replace(string(text), "Version: 2.0.0", "Version: "+version, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	change(root)
	file := filepath.Join(t.TempDir(), "preau_"+version+"_amd64.deb")
	do(t, "", nil, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", root, file)
	return file
}

func putFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestABoxPullsItsUpdates takes a box of a region from one version to the next, by
// what its region publishes, and back from what does it no good.
func TestABoxPullsItsUpdates(t *testing.T) {
	need(t, "gpg=gnupg", "dpkg-deb=dpkg")
	dir := hosttest.Packages(t)
	net := hosttest.NewNetwork(t)
	region, box := net.Boot(t, "region", "10.99.0.2"), net.Boot(t, "box-a", "10.99.0.3")
	one, two := filepath.Join(dir, "preau_1.0.0_amd64.deb"), filepath.Join(dir, "preau_2.0.0_amd64.deb")
	good, stranger := newPlanSigner(t), newPlanSigner(t)

	// A region of one server, and a box of it.
	region.Await(t)
	box.Await(t)
	for _, h := range []*hosttest.Host{region, box} {
		h.Must(t, "dpkg", "-i", h.Carry(t, one))
	}
	as := func(args ...string) []string {
		return append([]string{"runuser", "-u", "preau", "--", "preau"}, args...)
	}
	region.Must(t, as("region", "init", "--data", "/var/lib/preau-region", "--listen", ":4433", "--advertise", "10.99.0.2:4433", "--name", "Lyon", "--server", "s1")...)
	region.Write(t, "/etc/preau/server.toml", "data = \"/var/lib/preau-region\"\nlisten = \":4433\"\nadvertise = \"10.99.0.2:4433\"\n")
	region.Must(t, "systemctl", "start", "preau-region")
	operate := func(args ...string) string {
		t.Helper()
		return region.Must(t, append([]string{"env", "PREAU_OPERATOR=/var/lib/preau-region/operator", "preau"}, args...)...)
	}
	token, _, _ := strings.Cut(operate("region", "token", "--school", "0690001A", "--no-qr"), "\n")
	box.Must(t, as("enrol", "--token", token, "--data", "/var/lib/preau", "--name", "box-a")...)
	box.Must(t, "systemctl", "start", "preau-box")

	publish := func(file, id string) {
		t.Helper()
		operate("publish", region.Carry(t, file), "--collection", "updates", "--id", id)
	}
	serial := 0
	plan := func(by planSigner, args ...string) {
		t.Helper()
		serial++
		text := filepath.Join(t.TempDir(), "plan")
		putFile(t, text, region.Must(t, append([]string{"preau", "update", "plan", "--serial", fmt.Sprint(serial)}, args...)...))
		do(t, "", by.env(), "gpg", "--batch", "--clearsign", "--output", text+".asc", text)
		publish(text+".asc", "preau-updates")
		// What is published is on the box's shelf within a moment.
		within(t, time.Minute, func() error {
			out, err := box.Run(t, "curl", "-sS", "--fail", "http://127.0.0.1:9190/published/preau-updates")
			if err == nil && !strings.Contains(out, fmt.Sprintf("serial = %d\n", serial)) {
				err = fmt.Errorf("it has %s", out)
			}
			return err
		})
	}
	installed := func() string {
		t.Helper()
		return strings.TrimSpace(box.Must(t, "dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "preau"))
	}
	status := func() string {
		t.Helper()
		out, _ := box.Run(t, "preau", "update") // its exit code says whether somebody has to look
		return out
	}
	publish(one, "preau_1.0.0_amd64.deb")
	publish(two, "preau_2.0.0_amd64.deb")

	// As people set it up, but for a minute that is shorter here.
	box.Must(t, "install", "-m", "644", box.Carry(t, good.key), "/etc/preau/update.gpg")
	box.Write(t, "/etc/systemd/system/preau-update.service.d/test.conf", "[Service]\nExecStart=\nExecStart=/usr/lib/preau/update --hours any --within 90s --steady 2s\n")
	box.Must(t, "systemctl", "daemon-reload")
	box.Must(t, "systemctl", "enable", "--now", "preau-update.timer")

	// Signed by somebody else: no.
	plan(stranger, "/srv/preau_1.0.0_amd64.deb", "/srv/preau_2.0.0_amd64.deb")
	if out, err := box.Run(t, "systemctl", "start", "preau-update"); err == nil {
		t.Errorf("a plan of a stranger is no failure: %s", out)
	}
	if got := installed(); got != "1.0.0 installed" || !strings.Contains(status(), "not signed by the key") {
		t.Fatalf("after a stranger's plan: %s\n%s", got, status())
	}

	// The update is taken.
	plan(good, "/srv/preau_1.0.0_amd64.deb", "/srv/preau_2.0.0_amd64.deb", "--school", "0690001a")
	box.Must(t, "systemctl", "start", "preau-update")
	if got := installed(); got != "2.0.0 installed" || !strings.Contains(status(), "the box is well") {
		t.Fatalf("after an update: %s\n%s", got, status())
	}
	if out := box.Must(t, "preau", "status", "--box", "127.0.0.1:9190"); !strings.Contains(out, "Update: 2.0.0 was installed") {
		t.Errorf("the box's status says nothing of the update:\n%s", out)
	}

	// What the region sets for the box is added to its own settings, and what it does
	// not know changes nothing.
	site := func() string {
		t.Helper()
		return box.Must(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1/o/atlas/")
	}
	before := site()
	for _, settings := range []string{"[[site]]\nname = \"atlas\"\nupstream = \"http://127.0.0.1:9\"\n", "[[site]]\nname = \"atlas\"\nupstream = \"http://127.0.0.1:9\"\nprofile = \"hologram\"\n"} {
		region.Write(t, "/srv/settings", settings)
		plan(good, "/srv/preau_2.0.0_amd64.deb", "--settings", "/srv/settings")
		box.Must(t, "systemctl", "start", "preau-update")
		if now := site(); now == before || box.Has(t, "/var/lib/preau-update/settings.toml.before") {
			t.Errorf("with the region's settings the box answers %s for their site, as without:\n%s", now, status())
		}
	}
	if !strings.Contains(status(), "hologram") {
		t.Errorf("nothing is said of settings that the box does not know:\n%s", status())
	}

	// A version that ends as soon as it is started: the one before comes back.
	bad := remade(t, two, "2.5.0", func(root string) {
		putFile(t, filepath.Join(root, "usr/bin/preau"), "#!/bin/sh\ncase \"$*\" in\nversion) echo preau v2.5.0 ;;\n*--check*) exit 0 ;;\n*) exit 1 ;;\nesac\n")
	})
	publish(bad, "preau_2.5.0_amd64.deb")
	plan(good, "/srv/preau_2.0.0_amd64.deb", "/srv/preau_2.5.0_amd64.deb")
	box.Must(t, "systemctl", "start", "preau-update")
	if got := installed(); got != "2.0.0 installed" || !strings.Contains(status(), "2.5.0 was given up") {
		t.Fatalf("after a bad version: %s\n%s", got, status())
	}
	if out, err := box.Run(t, "preau", "status", "--box", "127.0.0.1:9190"); err == nil || !strings.Contains(out, "2.5.0 did not do well here") {
		t.Errorf("the box's status says nothing of the bad version: %v\n%s", err, out)
	}
	if out := box.Must(t, "curl", "-sS", "http://127.0.0.1:9190/metrics"); !strings.Contains(out, "\npreau_box_update_refused 1\n") {
		t.Error("the metrics say nothing of the bad version")
	}
	tries := box.Must(t, "grep", "-c", " preau:amd64 .*2.5.0", "/var/log/dpkg.log")
	box.Must(t, "systemctl", "start", "preau-update")
	if now := box.Must(t, "grep", "-c", " preau:amd64 .*2.5.0", "/var/log/dpkg.log"); now != tries {
		t.Errorf("the bad version is tried again: dpkg tells of it %s times, and %s before", now, tries)
	}

	// The power is cut while dpkg is at it, with the program that is half installed
	// broken; it comes well when dpkg can end its work.
	slow := remade(t, two, "2.6.0", func(root string) {
		script := filepath.Join(root, "DEBIAN/postinst")
		old, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		putFile(t, script, strings.Replace(string(old), "set -e\n", "set -e\nif [ ! -e /srv/cut ]; then\n\tmv /usr/bin/preau /usr/bin/preau.real\n\ttouch /srv/cut\n\tsync\n\tsleep 600\nfi\n[ ! -e /usr/bin/preau.real ] || mv /usr/bin/preau.real /usr/bin/preau\n", 1))
	})
	publish(slow, "preau_2.6.0_amd64.deb")
	plan(good, "/srv/preau_2.0.0_amd64.deb", "/srv/preau_2.6.0_amd64.deb")
	box.Must(t, "systemctl", "start", "--no-block", "preau-update")
	within(t, time.Minute, func() error {
		if !box.Has(t, "/srv/cut") {
			return fmt.Errorf("dpkg is not at it")
		}
		return nil
	})
	box.Cut()
	box.Start(t)
	box.Await(t)
	if got := installed(); got != "2.6.0 half-configured" {
		t.Errorf("after the power cut: %s", got)
	}
	box.Must(t, "systemctl", "start", "preau-box", "--no-block") // as it would be, were it enabled
	box.Must(t, "systemctl", "start", "preau-update")
	if got := installed(); got != "2.6.0 installed" || !strings.Contains(status(), "the box is well") || box.Has(t, "/var/lib/preau-update/program") {
		t.Fatalf("after the power cut and a run: %s\n%s", got, status())
	}

	// The region calls it back: what lies on the box's disk is enough.
	operate("unpublish", "preau_2.0.0_amd64.deb")
	plan(good, "/srv/preau_2.0.0_amd64.deb", "/srv/preau_2.6.0_amd64.deb", "--to", "2.0.0", "--back")
	box.Must(t, "systemctl", "start", "preau-update")
	if got := installed(); got != "2.0.0 installed" {
		t.Fatalf("called back: %s\n%s", got, status())
	}
	box.Must(t, "dpkg", "-P", "preau")
	if box.Has(t, "/var/lib/preau-update") || box.Has(t, "/etc/systemd/system/timers.target.wants/preau-update.timer") {
		t.Error("the updater leaves something after purge")
	}
}

// TestTheUpdatersUnitsAreRightAndLocked as far as dpkg and the package's scripts let
// them: it is root, and may change any file that the package has.
func TestTheUpdatersUnitsAreRightAndLocked(t *testing.T) {
	need(t, "systemd-analyze=systemd", "dpkg-deb=dpkg")
	dir := t.TempDir()
	do(t, "", nil, "dpkg-deb", "-x", filepath.Join(hosttest.Packages(t), "preau_2.0.0_amd64.deb"), dir)
	if out := do(t, "", nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root="+dir, "preau-update.service", "preau-update.timer"); out != "" {
		t.Error(out)
	}
	// At most 3.5 of 10, in tenths.
	do(t, "", nil, "systemd-analyze", "security", "--offline=yes", "--threshold=35", filepath.Join(dir, "usr/lib/systemd/system/preau-update.service"))
}
