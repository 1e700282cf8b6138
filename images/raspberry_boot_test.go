//go:build appliance && linux

package images_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// board is an emulated arm64 machine with a Raspberry Pi's image on its disk. It is
// no Raspberry Pi: U-Boot is the one for such machines, and there is no firmware
// before it. From U-Boot's script on all is as on the board.
type board struct {
	emulated

	disk, serial string
}

// start switches the machine on. Its processor is a Pi 4's.
func (b *board) start(t *testing.T) {
	t.Helper()
	port := freePort(t)
	b.on(t, port, "qemu-system-aarch64", "-M", "virt", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "cortex-a72", "-smp", "2", "-m", "1536",
		"-nodefaults", "-display", "none", "-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
		"-drive", "if=none,id=d,format=raw,file="+b.disk, "-device", "virtio-blk-pci,drive=d", "-device", "virtio-rng-pci",
		"-netdev", fmt.Sprintf("user,id=n,hostfwd=tcp:127.0.0.1:%d-:80", port), "-device", "virtio-net-pci,netdev=n,mac=52:54:00:0b:ad:c1,romfile=",
		"-chardev", "file,id=s,append=on,path="+b.serial, "-serial", "chardev:s")
	t.Cleanup(b.cut)
}

// said is how often the console has had a text.
func (b *board) said(t *testing.T, text string) int {
	t.Helper()
	all, err := os.ReadFile(b.serial)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(all), text)
}

// has reads a file of the boot partition of a machine that is off.
func (b *board) has(t *testing.T, name string) string {
	t.Helper()
	return hosttest.Do(t, "", nil, "mtype", "-i", onBoot(t, b.disk), "::"+name)
}

// listed says what is on the boot partition. The machine may be on: it syncs what it
// writes there.
func (b *board) listed(t *testing.T) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "mdir", "-b", "-i", onBoot(t, b.disk), "::").CombinedOutput()
	return string(out), err
}

// put writes a file there.
func (b *board) put(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	hosttest.Do(t, "", nil, "mcopy", "-o", "-i", onBoot(t, b.disk), file, "::"+name)
}

// TestARaspberrysFirstStartUpdateAndWayBack boots the image with its file on the
// boot partition: it serves what its region has published, takes the update that
// the region publishes, tries it, and makes it good; a version that can't be started
// is tried three times and given up.
func TestARaspberrysFirstStartUpdateAndWayBack(t *testing.T) {
	hosttest.Need(t, "qemu-system-aarch64=qemu-system-arm")
	if _, err := os.Stat("/usr/lib/u-boot/qemu_arm64/u-boot.bin"); err != nil {
		t.Fatal("U-Boot is missing: apt-get install u-boot-qemu")
	}
	_, raw := raspberryImage(t, "1.0.0")
	next, _ := raspberryImage(t, "2.0.0")
	dir := t.TempDir()
	r := startRegion(t, dir)
	b := &board{disk: filepath.Join(dir, "disk.raw"), serial: filepath.Join(dir, "serial.txt")}
	t.Cleanup(func() {
		if text, _ := os.ReadFile(b.serial); t.Failed() { // as much as there is
			t.Logf("the board's console:\n%s", text[max(0, len(text)-16000):])
		}
	})
	hosttest.Do(t, "", nil, "cp", "--sparse=always", raw, b.disk)
	if err := os.Truncate(b.disk, 4<<30); err != nil {
		t.Fatal(err)
	}
	film := filepath.Join(dir, "film.bin")
	hosttest.Do(t, "", nil, "dd", "if=/dev/urandom", "of="+film, "bs=1M", "count=8", "status=none")
	want := digest(t, film)
	r.must(t, "publish", film, "--collection", "lessons", "--id", "film", "--no-subscribe")
	token := r.token(t)
	b.put(t, "preau.toml", "token = \""+token+"\"\nname = \"library-1\"\n")

	began := time.Now()
	b.start(t)
	b.serves(t, 8*time.Minute, want)
	t.Logf("first start to serving: %v", time.Since(began).Round(time.Second))

	// The list and its signature last, as README says.
	update := filepath.Join(next, "preau_2.0.0_arm64.update")
	for _, name := range []string{"preau_2.0.0.root-arm64.raw.xz", "preau_2.0.0.arm64.initrd", "preau_2.0.0.arm64.vmlinuz.xz", "SHA256SUMS.gpg", "SHA256SUMS"} {
		r.must(t, "publish", filepath.Join(update, name), "--collection", "appliance", "--id", name, "--no-subscribe")
	}
	began = time.Now()
	hosttest.Within(t, 15*time.Minute, func() error {
		list, err := b.listed(t)
		if err == nil && !strings.Contains(list, "trial.env") {
			return errors.New("the update is not taken: " + list)
		}
		return err
	})
	t.Logf("from its publication until the update is in its place: %v", time.Since(began).Round(time.Second))
	b.cut()
	if has := b.has(t, "preau.toml"); strings.Contains(has, token) {
		t.Errorf("the token is still on the boot partition:\n%s", has)
	}
	if good, trial := b.has(t, "good.env"), b.has(t, "trial.env"); good != "version=1.0.0\n" || trial != "version=2.0.0\n" {
		t.Errorf("good: %q, on trial: %q", good, trial)
	}
	names := []string{}
	for _, p := range partitions(t, b.disk) {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "preau-esp preau_1.0.0 preau_2.0.0 preau-var" {
		t.Errorf("the partitions: %s", got)
	}

	began = time.Now()
	b.start(t)
	b.serves(t, 8*time.Minute, want)
	hosttest.Within(t, 8*time.Minute, func() error {
		list, err := b.listed(t)
		if err == nil && (strings.Contains(list, "trial.env") || strings.Contains(list, "good.new") || strings.Contains(list, "try")) {
			return errors.New("the new version is not made good: " + list)
		}
		return err
	})
	t.Logf("the new version's start, until it is made good: %v", time.Since(began).Round(time.Second))
	b.cut()
	if good := b.has(t, "good.env"); good != "version=2.0.0\n" {
		t.Errorf("good: %q", good)
	}

	// A version whose kernel can't be started.
	b.put(t, "preau_3.0.0.vmlinuz", "no kernel")
	b.put(t, "preau_3.0.0.initrd", "nothing either")
	b.put(t, "trial.env", "version=3.0.0\n")
	tries, older := b.said(t, "starting 3.0.0"), b.said(t, "starting 2.0.0")
	began = time.Now()
	b.start(t)
	b.serves(t, 8*time.Minute, want)
	t.Logf("with a version that can't be started, to serving again: %v", time.Since(began).Round(time.Second))
	if n, m := b.said(t, "starting 3.0.0")-tries, b.said(t, "starting 2.0.0")-older; n != 3 || m != 1 {
		t.Errorf("it was tried %d times, and the older version %d times", n, m)
	}
}
