//go:build appliance && linux

package images_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// raspberryMade are the versions whose images this run has made, or found.
var raspberryMade = map[string]bool{}

// raspberryImage is the image of a version for Raspberry Pi and the folder of what is
// made with it, signed with the tests' key. A run makes each version once; with
// PREAU_TEST_IMAGE it takes what the run before has made.
func raspberryImage(t *testing.T, version string) (dir, raw string) {
	t.Helper()
	hosttest.Need(t, "mmdebstrap=mmdebstrap", "systemd-nspawn=systemd-container", "dpkg-deb=dpkg", "zstd=zstd", "gpg=gnupg", "mcopy=mtools", "sfdisk=fdisk")
	dir = filepath.Join(hosttest.Cache(t), "raspberry-"+version)
	raw = filepath.Join(dir, "preau_"+version+".raw")
	_, err := os.Stat(raw)
	if err == nil && (raspberryMade[version] || os.Getenv("PREAU_TEST_IMAGE") != "") {
		return dir, raw
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	home, key := updateKey(t)
	args := []string{"run", "./pack", "raspberry", "-version", "v" + version, "-out", dir, "-key", key, "-mirror", hosttest.Mirror(t)}
	if os.Getenv("PREAU_TEST_IMAGE") != "" || len(raspberryMade) > 0 {
		args = append(args, "-kept") // Debian, but not the image
	}
	began := time.Now()
	t.Log(hosttest.Do(t, "", []string{home, hosttest.Epoch}, "go", args...))
	t.Logf("the image of %s was made in %v", version, time.Since(began).Round(time.Second))
	hosttest.Do(t, dir, nil, "zstd", "-q", "-d", "-f", "preau_"+version+"_arm64.img.zst", "-o", raw)
	raspberryMade[version] = true
	return dir, raw
}

// updateKey is a key for tests alone, made once, and where GnuPG has it.
func updateKey(t *testing.T) (home, key string) {
	t.Helper()
	dir := filepath.Join(hosttest.Cache(t), "raspberry-gnupg")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	home = "GNUPGHOME=" + dir
	list := func() string {
		for line := range strings.Lines(hosttest.Do(t, "", []string{home}, "gpg", "--batch", "--with-colons", "--list-keys")) {
			if f := strings.Split(line, ":"); f[0] == "fpr" {
				return f[9]
			}
		}
		return ""
	}
	if key = list(); key == "" {
		hosttest.Do(t, "", []string{home}, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Updates <updates@preau.invalid>", "ed25519", "sign", "never")
		key = list()
	}
	t.Cleanup(func() {
		c := exec.Command("gpgconf", "--kill", "all") // the test's context has ended
		c.Env = append(os.Environ(), home)
		_ = c.Run() // or it has ended by itself
	})
	return home, key
}

// raspberryTools runs a command where the tools are that make images.
func raspberryTools(t *testing.T, dir, script string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return hosttest.Do(t, "", nil, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", filepath.Join(cache, "preau-images", "tools-trixie-1"), "--timezone=off", "--console=pipe",
		"--bind="+dir+":/srv/out", "sh", "-euc", "cd /srv/out; "+script)
}

// partition is one of a disk's, as sfdisk tells it.
type partition struct {
	Node, Type, Name string
	Start, Size      int64 // sectors of 512 bytes
}

func partitions(t *testing.T, disk string) []partition {
	t.Helper()
	// On its other output it says that a disk has more room than its table knows of.
	out, err := exec.CommandContext(t.Context(), "sfdisk", "--json", disk).Output()
	if err != nil {
		t.Fatalf("sfdisk: %v", err)
	}
	var told struct {
		PartitionTable struct{ Partitions []partition }
	}
	if err := json.Unmarshal(out, &told); err != nil {
		t.Fatal(err)
	}
	return told.PartitionTable.Partitions
}

// onBoot is how mtools are told of a disk's first partition.
func onBoot(t *testing.T, disk string) string {
	t.Helper()
	return fmt.Sprintf("%s@@%d", disk, partitions(t, disk)[0].Start*512)
}

// TestARaspberrysImage looks at what was built, not at what it was built from.
func TestARaspberrysImage(t *testing.T) {
	dir, raw := raspberryImage(t, "1.0.0")
	const esp, rootARM64 = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
	parts := partitions(t, raw)
	if len(parts) != 2 || parts[0].Type != esp || parts[0].Name != "preau-esp" || parts[1].Type != rootARM64 || parts[1].Name != "preau_1.0.0" || parts[1].Size != 512<<20/512 {
		t.Fatalf("the partitions: %+v", parts)
	}
	work := t.TempDir()
	for i, name := range []string{"boot.img", "root.img"} {
		hosttest.Do(t, "", nil, "dd", "if="+raw, "of="+filepath.Join(work, name), "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", fmt.Sprintf("skip=%d", parts[i].Start*512), fmt.Sprintf("count=%d", parts[i].Size*512), "status=none")
	}
	t.Log(raspberryTools(t, work, "fsck.vfat -n boot.img; fsck.erofs root.img; fsck.erofs --extract=root root.img >/dev/null; mkdir boot; mcopy -n -s -i boot.img ::/* boot/"))
	boot, root := filepath.Join(work, "boot"), filepath.Join(work, "root")

	for _, name := range []string{"config.txt", "start4.elf", "fixup4.dat", "u-boot.bin", "boot.scr", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb", "preau_1.0.0.vmlinuz", "preau_1.0.0.initrd", "LICENCE.raspi-firmware"} {
		if info, err := os.Stat(filepath.Join(boot, name)); err != nil || info.Size() == 0 {
			t.Errorf("the boot partition: %v %+v", err, info)
		}
	}
	config := settings(t, filepath.Join(boot, "config.txt"))
	if config["kernel"] != "u-boot.bin" || config["arm_64bit"] != "1" {
		t.Errorf("config.txt: %v", config)
	}
	if good := settings(t, filepath.Join(boot, "good.env")); good["version"] != "1.0.0" {
		t.Errorf("good.env: %v", good)
	}
	// The image that booti takes: "ARM\x64" at 56.
	kernel, err := os.ReadFile(filepath.Join(boot, "preau_1.0.0.vmlinuz"))
	if err != nil || len(kernel) < 64 || string(kernel[56:60]) != "ARM\x64" {
		t.Errorf("the kernel is none for arm64: %v", err)
	}
	// A Pi 5's network card and a Pi 4's.
	for dtb, card := range map[string]string{"bcm2711-rpi-4-b.dtb": "brcm,bcm2711-genet-v5", "bcm2712-rpi-5-b.dtb": "raspberrypi,rp1-gem"} {
		if text, err := os.ReadFile(filepath.Join(boot, dtb)); err != nil || !strings.Contains(string(text), card) {
			t.Errorf("%s has no %s: %v", dtb, card, err)
		}
	}
	modules := hosttest.Do(t, "", nil, "find", filepath.Join(root, "usr/lib/modules"), "-name", "*.ko*")
	for _, module := range []string{"/genet.ko", "/macb.ko", "/rp1_pci.ko", "/sdhci-iproc.ko", "/sdhci-brcmstb.ko", "/bcm2835_wdt.ko", "/virtio_net.ko", "/vfat.ko", "/ext4.ko"} {
		if !strings.Contains(modules, module) {
			t.Errorf("there is no module %s", module)
		}
	}
	// Its modules lie in an archive of their own, before the compressed one: Debian's
	// own tool reads both.
	hosttest.Do(t, "", nil, "cp", filepath.Join(boot, "preau_1.0.0.initrd"), filepath.Join(root, "tmp", "initrd"))
	early := hosttest.Do(t, "", nil, "chroot", root, "lsinitramfs", "/tmp/initrd")
	for _, module := range []string{"/erofs.ko", "/sdhci-iproc.ko", "/sdhci-brcmstb.ko", "/virtio_blk.ko", "/pinctrl-brcmstb-bcm2712.ko", "scripts/init-bottom"} {
		if !strings.Contains(early, module) {
			t.Errorf("there is no %s in what starts before the disk is there", module)
		}
	}

	if said := hosttest.Do(t, "", nil, "chroot", root, "/usr/bin/preau", "version"); !strings.Contains(said, "1.0.0") {
		t.Errorf("the program says: %s", said)
	}
	shadow, err := os.ReadFile(filepath.Join(root, "etc/shadow"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(shadow)) {
		if f := strings.Split(line, ":"); len(f) < 2 || !strings.HasPrefix(f[1], "!") && f[1] != "*" {
			t.Errorf("somebody can log in: %s", line)
		}
	}
	for _, name := range []string{"usr/sbin/sshd", "usr/bin/ssh", "usr/bin/apt-get", "usr/lib/repart.d/10-root-verity.conf", "efi/loader"} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			t.Errorf("it has %s", name)
		}
	}
	home, key := updateKey(t)
	trusted := hosttest.Do(t, "", []string{home}, "gpg", "--batch", "--with-colons", "--show-keys", filepath.Join(root, "usr/lib/systemd/import-pubring.gpg"))
	if !strings.Contains(trusted, key) || strings.Count(trusted, "pub:") != 1 {
		t.Errorf("it trusts these keys with its updates: %s", trusted)
	}
	for _, link := range []string{
		"local-fs.target.wants/preau-disk.service", "multi-user.target.wants/preau-provision.service", "multi-user.target.wants/preau-box.service",
		"boot-complete.target.requires/preau-healthy.service", "timers.target.wants/systemd-sysupdate.timer",
		"preau-box.service.wants/preau-settings.service", "multi-user.target.wants/preau-pass.path", "timers.target.wants/preau-settings.timer", "multi-user.target.wants/systemd-networkd.service",
	} {
		if _, err := os.Lstat(filepath.Join(root, "etc/systemd/system", link)); err != nil {
			t.Errorf("a unit is not enabled: %v", err)
		}
	}
	for _, unit := range []string{"getty.target", "getty@.service", "serial-getty@.service", "debug-shell.service"} {
		if to, err := os.Readlink(filepath.Join(root, "etc/systemd/system", unit)); err != nil || to != "/dev/null" {
			t.Errorf("%s is not masked: %q, %v", unit, to, err)
		}
	}
	if fstab, err := os.ReadFile(filepath.Join(root, "etc/fstab")); err != nil || !strings.HasPrefix(string(fstab), "/dev/disk/by-preau/preau-esp /efi vfat ") {
		t.Errorf("fstab: %s %v", fstab, err)
	}
	if watchdog := settings(t, filepath.Join(root, "usr/lib/systemd/system.conf.d/preau.conf")); watchdog["RuntimeWatchdogSec"] != "14s" {
		t.Errorf("the watchdog: %v", watchdog)
	}
	hosttest.Do(t, "", nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root="+root, "preau-disk.service", "preau-provision.service", "preau-box.service", "preau-healthy.service", "preau-settings.service", "preau-settings.timer", "preau-pass.path", "preau-pass.service", "preau-network.path", "preau-stick@sda1.service")

	update := filepath.Join(dir, "preau_1.0.0_arm64.update")
	sums, err := os.ReadFile(filepath.Join(update, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if _, err := hex.DecodeString(sum); err != nil || digest(t, filepath.Join(update, name)) != sum {
			t.Errorf("the sum of %s is not %s", name, sum)
		}
		names = append(names, name)
	}
	hosttest.Do(t, update, []string{home}, "gpg", "--batch", "--verify", "SHA256SUMS.gpg", "SHA256SUMS")
	slices.Sort(names)
	if want := []string{"preau_1.0.0.arm64.initrd", "preau_1.0.0.arm64.vmlinuz.xz", "preau_1.0.0.root-arm64.raw.xz"}; !slices.Equal(names, want) {
		t.Errorf("an update has %v", names)
	}
	for _, file := range []string{filepath.Join(dir, "preau_1.0.0_arm64.img.zst"), filepath.Join(boot, "preau_1.0.0.initrd"), filepath.Join(boot, "preau_1.0.0.vmlinuz"), filepath.Join(update, "preau_1.0.0.root-arm64.raw.xz")} {
		if info, err := os.Stat(file); err == nil {
			t.Logf("%s has %d MiB", filepath.Base(file), info.Size()>>20)
		}
	}
}
