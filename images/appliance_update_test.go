//go:build appliance && linux

package images_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shelve publishes an update the way the appliance's README says: the list and
// its signature last.
func (r applianceRegion) shelve(t *testing.T, update string) {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(update, "preau_*"))
	if err != nil || len(parts) != 3 {
		t.Fatalf("the update has %v, %v", parts, err)
	}
	for _, file := range append(parts, filepath.Join(update, "SHA256SUMS.gpg"), filepath.Join(update, "SHA256SUMS")) {
		r.must(t, "publish", file, "--collection", "appliance", "--collection-title", "Appliance", "--id", filepath.Base(file))
	}
}

// shelved waits until the box's own shelf has the list and the signature that
// were published last.
func (v *vm) shelved(t *testing.T, update string) {
	t.Helper()
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.gpg"} {
		want := digest(t, filepath.Join(update, name))
		within(t, slowly, func() error {
			code, body, err := v.get(t.Context(), "/r/"+name, "fr")
			if err == nil && (code != 200 || textSum(body) != want) {
				err = errors.New("the box still has another " + name)
			}
			return err
		})
	}
}

// broken is a copy of the sources whose box can't start: its settings have a key
// that the program does not know. It is less patient with itself than others are,
// so that the test ends today.
func broken(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sources")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	do(t, "..", nil, "sh", "-euc", `tar -c --exclude=./.git --exclude=./bin . | tar -x -C "$0"`, dir)
	extra := filepath.Join(dir, "images", own)
	for file, change := range map[string][2]string{
		"etc/preau/box.toml":    {"budget = ", "buget = "},
		"usr/lib/preau/healthy": {"$(seq 60)", "1 2 3"},
	} {
		path := filepath.Join(extra, file)
		text, err := os.ReadFile(path)
		if err != nil || strings.Count(string(text), change[0]) != 1 {
			t.Fatalf("%s has no %q: %v", path, change[0], err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestTheApplianceTakesUpdatesAndGivesUpWhatIsNotWell: what another key has signed
// is refused and nothing changes; what the right key has signed is written into
// the free slot, started, and found well; a version whose box does not come back
// is tried three times and given up, by the machine alone, and people are told.
func TestTheApplianceTakesUpdatesAndGivesUpWhatIsNotWell(t *testing.T) {
	need(t, "qemu-system-x86_64=qemu-system-x86", "mcopy=mtools")
	_, raw := applianceImage(t)
	better, worse := versionOf(t, "1.1.0", ".."), versionOf(t, "1.2.0", broken(t))
	dir := t.TempDir()
	r := startRegion(t, dir)
	v := &vm{dir: dir, disk: r.prepared(t, dir, raw)}
	_, sum := r.film(t, dir)
	began := time.Now()
	v.start(t, ear()...)

	// Signed with a key that the image does not know.
	wrong := filepath.Join(dir, "wrong")
	ring, key := signer(t, "stranger")
	do(t, "", []string{"GNUPGHOME=" + ring}, "sh", "-euc", `cp -r "$0" "$1"; gpg --batch --yes --local-user "$2" --output "$1/SHA256SUMS.gpg" --detach-sign "$1/SHA256SUMS"`, better, wrong, key)
	r.shelve(t, wrong)
	v.serves(t, slowly, sum)
	v.runs(t, slowly, "1.0.0")
	t.Logf("from nothing to serving: %v", time.Since(began).Round(time.Second))
	v.onDisk(t)
	before := v.slots(t)
	v.shelved(t, wrong)
	if out, err := v.sh(slowly, "systemctl start --wait systemd-sysupdate.service"); err == nil {
		t.Errorf("the box took what a stranger has signed: %s", out)
	}
	if log := v.inner(t, 3*time.Minute, "journalctl -b --no-pager -u systemd-sysupdate.service"); !strings.Contains(log, "ignature") {
		t.Errorf("it was refused for another reason than its signature:\n%s", log)
	}
	if after := v.slots(t); after != before {
		t.Errorf("an update that was refused has changed the disk:\n%s\n%s", before, after)
	}

	r.shelve(t, better)
	v.shelved(t, better)
	began = time.Now()
	v.inner(t, slowly, "systemctl start --wait systemd-sysupdate.service")
	t.Logf("the update was written in %v", time.Since(began).Round(time.Second))
	if s := v.slots(t); !strings.Contains(s, "preau_1.1.0+3-0.efi") || strings.Contains(s, "_empty") {
		t.Errorf("after the update the disk has %s", s)
	}
	// What the timer starts at night. The region says nothing from now on: the box
	// has what it keeps.
	if err := r.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, _ = v.sh(3*time.Minute, "systemctl start --no-block systemd-sysupdate-reboot.service") // the machine may go before it answers
	began = time.Now()
	v.runs(t, slowly, "1.1.0")
	v.serves(t, slowly, sum)
	t.Logf("the new version was there, and well, after %v", time.Since(began).Round(time.Second))
	if err := r.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	within(t, slowly, func() error {
		if s := v.slots(t); !strings.Contains(s, "preau_1.1.0.efi") {
			return errors.New("it is not said to be well: " + s)
		}
		return nil
	})
	soon(t, v.ownUnits(t))

	r.shelve(t, worse)
	v.shelved(t, worse)
	v.inner(t, slowly, "systemctl start --wait systemd-sysupdate.service")
	if s := v.slots(t); !strings.Contains(s, "preau_1.2.0+3-0.efi") || strings.Contains(s, "preau_1.0.0") {
		t.Errorf("after the second update the disk has %s", s)
	}
	_, _ = v.sh(3*time.Minute, "systemctl start --no-block systemd-sysupdate-reboot.service") // as above
	began = time.Now()
	tries := map[string]bool{}
	within(t, 3*slowly, func() error {
		out, err := v.sh(3*time.Minute, ". /etc/os-release; echo $IMAGE_VERSION; ls /efi/EFI/Linux")
		if err != nil {
			return err
		}
		f := strings.Fields(out)
		if name := strings.Join(f, " "); !tries[name] {
			tries[name] = true
			t.Logf("%s: %s", time.Now().Format(time.TimeOnly), name)
		}
		if f[0] != "1.1.0" || !strings.Contains(out, "preau_1.2.0+0-3.efi") {
			return errors.New(out)
		}
		return nil
	})
	v.runs(t, slowly, "1.1.0")
	v.serves(t, slowly, sum)
	t.Logf("the older version was there again after %v", time.Since(began).Round(time.Second))
	for _, left := range []string{"+2-1", "+1-2", "+0-3"} {
		if !tries["1.2.0 preau_1.1.0.efi preau_1.2.0"+left+".efi"] {
			t.Logf("nobody looked in while 1.2.0%s ran: %v", left, tries) // a start may be too short for it
		}
	}
	out, err := v.sh(3*time.Minute, "preau status --box http://127.0.0.1:9190")
	if err == nil || !strings.Contains(out, "version 1.2.0 did not come back well and was given up") {
		t.Errorf("the box does not say that a version was given up: %v\n%s", err, out)
	}
	// It is not taken again, and not started at night.
	at := v.slots(t)
	v.inner(t, slowly, "systemctl start --wait systemd-sysupdate.service")
	v.inner(t, 3*time.Minute, "systemctl start systemd-sysupdate-reboot.service; systemctl show -p Result systemd-sysupdate-reboot.service | grep -q exec-condition")
	if s := v.slots(t); s != at {
		t.Errorf("the version that was given up was taken again:\n%s\n%s", at, s)
	}
}
