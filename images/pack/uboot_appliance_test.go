//go:build appliance && linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"preau/images/hosttest"
)

// TestUBootTriesAVersionThreeTimesAndGoesBack has U-Boot run the image's script, with
// files that are no kernels: each start fails, and the machine starts again.
func TestUBootTriesAVersionThreeTimesAndGoesBack(t *testing.T) {
	hosttest.Need(t, "qemu-system-aarch64=qemu-system-arm", "mcopy=mtools", "sfdisk=fdisk")
	const uboot = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
	if _, err := os.Stat(uboot); err != nil {
		t.Fatal("U-Boot is missing: apt-get install u-boot-qemu")
	}
	text, err := os.ReadFile("../raspberry/boot/boot.cmd")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	disk, boot := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.raw@@1M")
	put := func(name, content string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		hosttest.Do(t, "", nil, "mcopy", "-o", "-i", boot, file, "::"+name)
	}
	hosttest.Do(t, dir, nil, "sh", "-euc", `truncate -s 128M disk.raw
printf 'label: gpt\nstart=2048, size=200000, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n' | sfdisk -q disk.raw
MTOOLS_SKIP_CHECK=1 mformat -i disk.raw@@1M -T 200000 -F ::`)
	put("boot.scr", string(ubootScript(text, time.Unix(0, 0))))
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		put("preau_"+version+".vmlinuz", "no kernel")
		put("preau_"+version+".initrd", "nothing either")
	}

	// until switches a machine on, and off again once it has started a version; it
	// says which versions were started.
	until := func(version string) string {
		t.Helper()
		serial := filepath.Join(dir, "serial.txt")
		_ = os.Remove(serial) // of an earlier start
		c := exec.Command("qemu-system-aarch64", "-M", "virt", "-accel", "tcg", "-cpu", "cortex-a72", "-m", "1024", "-nodefaults", "-display", "none", "-bios", uboot,
			"-drive", "if=none,id=d,format=raw,file="+disk, "-device", "virtio-blk-pci,drive=d", "-serial", "file:"+serial) // its end is told below
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = c.Process.Kill() // or it has just ended
			_ = c.Wait()         // it was killed
		}()
		var started []string
		hosttest.Within(t, 3*time.Minute, func() error {
			text, err := os.ReadFile(serial)
			if err != nil {
				return err
			}
			started = started[:0]
			for line := range strings.Lines(string(text)) {
				// Not what U-Boot says of starting USB.
				if v, ok := strings.CutPrefix(strings.TrimSpace(line), "starting "); ok && strings.HasSuffix(v, ".0.0") {
					started = append(started, v)
				}
			}
			if len(started) == 0 || started[len(started)-1] != version {
				return fmt.Errorf("started were %v; the console says:\n%s", started, text)
			}
			return nil
		})
		return strings.Join(started, " ")
	}

	put("good.env", "version=1.0.0\n")
	if got := until("1.0.0"); got != "1.0.0" {
		t.Errorf("with no version on trial: %s", got)
	}
	put("trial.env", "version=3.0.0\n")
	if got := until("1.0.0"); got != "3.0.0 3.0.0 3.0.0 1.0.0" {
		t.Errorf("with a version that does not start: %s", got)
	}
	if list := hosttest.Do(t, "", nil, "mdir", "-b", "-i", boot, "::"); strings.Count(list, "/try") != 3 {
		t.Errorf("the tries: %s", list)
	}
	// The power failed while good.env was written, and the version was given up.
	put("good.env", "")
	put("good.new", "version=2.0.0\n")
	if got := until("2.0.0"); got != "2.0.0" {
		t.Errorf("with half of a note: %s", got)
	}
}
