package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// raspberryPackages is the Debian of a Raspberry Pi. The board's firmware and
// U-Boot are fetched beside it: they are for the boot partition alone.
const raspberryPackages = "busybox,ca-certificates,cpio,dbus,dosfstools,e2fsprogs,gpg,gpgv,initramfs-tools,iproute2,kmod,linux-image-arm64," +
	"systemd,systemd-container,systemd-repart,systemd-resolved,systemd-sysv,systemd-timesyncd,udev,zstd"

// raspberryKernel has the kernel come from the backports: that of the release
// knows nothing of the chip that has the Pi 5's network card.
const raspberryKernel = `Package: linux-base linux-image-* linux-modules-* linux-base-* linux-binary-*
Pin: release n=` + imageRelease + `-backports
Pin-Priority: 600
`

// raspberryNot is of the appliance's files what belongs to UEFI, to a TPM, or to
// checked partitions, which a Raspberry Pi's image has not.
var raspberryNot = []string{
	"efi/loader", "usr/lib/preau/disk-tpm", "usr/lib/repart.d/10-root-verity.conf", "usr/lib/repart.d/20-root-verity-b.conf", "usr/lib/sysupdate.d",
}

// raspberryFirmware is what the board reads before U-Boot runs, by the name that
// it has there. A Pi 5 has the rest in a chip of its own.
var raspberryFirmware = map[string]string{
	"usr/lib/raspi-firmware/start4.elf":      "start4.elf",
	"usr/lib/raspi-firmware/fixup4.dat":      "fixup4.dat",
	"usr/share/doc/raspi-firmware/copyright": "LICENCE.raspi-firmware",
	"usr/lib/u-boot/rpi_arm64/u-boot.bin":    "u-boot.bin",
	"usr/share/doc/u-boot-rpi/copyright":     "LICENCE.u-boot",
	"broadcom/bcm2711-rpi-4-b.dtb":           "bcm2711-rpi-4-b.dtb",
	"broadcom/bcm2711-rpi-400.dtb":           "bcm2711-rpi-400.dtb",
	"broadcom/bcm2711-rpi-cm4-io.dtb":        "bcm2711-rpi-cm4-io.dtb",
	"broadcom/bcm2712-rpi-5-b.dtb":           "bcm2712-rpi-5-b.dtb",
	"broadcom/bcm2712-d-rpi-5-b.dtb":         "bcm2712d0-rpi-5-b.dtb", // as the firmware calls the later chip
}

// raspberryNoModules are kinds of drivers that a box without sound, pictures and
// radio does not need.
var raspberryNoModules = []string{
	"sound", "drivers/bluetooth", "drivers/iio", "drivers/infiniband", "drivers/media", "drivers/net/wireless", "drivers/staging", "net/bluetooth", "net/mac80211", "net/wireless",
}

// raspberry makes the image for Raspberry Pi 4 and 5 and the files of an update.
// The key is as for the image of x86 machines, and so is kept.
func (j *job) raspberry(ctx context.Context, key, from string, kept bool) error {
	if err := runsARM(); err != nil {
		return err
	}
	w, err := j.workshop(ctx, from)
	if err != nil {
		return err
	}
	defer w.clear()
	tools, work, version := w.tools, w.work, w.version
	debian, err := j.raspberryDebian(ctx, w.cache, w.from, kept)
	if err != nil {
		return err
	}
	fmt.Fprintln(j.say, "putting the program and its settings in place")
	root := filepath.Join(work, "root")
	if err := do(exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", debian, root)); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return j.raspberryProgram(ctx, work, root, key, version) },
		func() error { return j.raspberryBoot(ctx, tools, work, root, version) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Fprintln(j.say, "making the image")
	if err := overlay(filepath.Join(j.root, "images", "raspberry", "repart"), filepath.Join(work, "repart")); err != nil {
		return err
	}
	err = doInTools(ctx, tools, []string{"--bind=" + work + ":/srv/image", fmt.Sprintf("--setenv=SOURCE_DATE_EPOCH=%d", j.epoch.Unix())},
		"systemd-repart", "--empty=create", "--size=auto", "--dry-run=no", "--offline=yes", "--sector-size=512", "--seed=e1f0b7b2-5a9e-4b39-9d0c-9b6b3a1d7f0c",
		"--definitions=/srv/image/repart", "--root=/srv/image/root", "--split=yes", "/srv/image/preau_"+version+".raw")
	if err != nil {
		return err
	}
	return j.raspberryCollect(ctx, tools, work, version, key)
}

// runsARM says whether this machine runs programs for arm64.
func runsARM() error {
	if runtime.GOARCH == "arm64" {
		return nil
	}
	if _, err := os.Stat("/proc/sys/fs/binfmt_misc/qemu-aarch64"); err != nil {
		return errors.New("this machine runs no programs for arm64: install qemu-user-static and binfmt-support" +
			" (where no systemd runs, then also: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64)")
	}
	return nil
}

// raspberryDebian installs Debian for arm64, and puts firmware and U-Boot into
// its folder /efi-parts.
func (j *job) raspberryDebian(ctx context.Context, cache, from string, kept bool) (string, error) {
	dir := filepath.Join(cache, "raspberry-"+imageRelease)
	if _, err := os.Stat(dir); err == nil && kept {
		return dir, nil
	}
	fmt.Fprintln(j.say, "installing Debian for arm64 (some minutes)")
	half, err := os.MkdirTemp(cache, "half-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(half) //nolint:errcheck // it is gone if all went well
	pin := filepath.Join(half, "kernel")
	if err := os.WriteFile(pin, []byte(raspberryKernel), 0o644); err != nil {
		return "", err
	}
	root := filepath.Join(half, "root")
	args := []string{
		"--arch=arm64", "--variant=essential", "--format=directory", "--skip=check/qemu", "--include=" + raspberryPackages,
		"--aptopt=APT::Install-Recommends false", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io",
		"--setup-hook=mkdir -p \"$1/etc/apt/preferences.d\"; cp " + pin + " \"$1/etc/apt/preferences.d/kernel\"",
		// Not installed: they would write to a boot partition that is not there yet.
		`--customize-hook=cd "$1" && mkdir efi-parts && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get download raspi-firmware u-boot-rpi && for p in *.deb; do dpkg-deb -x "$p" efi-parts; rm "$p"; done`,
		imageRelease, root,
	}
	for _, line := range []string{
		from + " " + imageRelease + " main non-free-firmware", from + " " + imageRelease + "-updates main",
		from + "-security " + imageRelease + "-security main", from + " " + imageRelease + "-backports main",
	} {
		args = append(args, "deb "+line)
	}
	c := exec.CommandContext(ctx, "mmdebstrap", args...)
	c.Env = append(os.Environ(), "INITRD=No") // it is made once all is in place
	if err := do(c); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(root, dir)
}

// raspberryProgram lays the package's files and the appliance's own over Debian.
func (j *job) raspberryProgram(ctx context.Context, work, root, key, version string) error {
	if err := j.unpack(ctx, work, "arm64", root); err != nil {
		return err
	}
	own := filepath.Join(work, "own")
	if err := overlay(filepath.Join(j.root, "images", "appliance", "mkosi.extra"), own); err != nil {
		return err
	}
	for _, name := range raspberryNot {
		if err := os.RemoveAll(filepath.Join(own, name)); err != nil {
			return err
		}
	}
	if err := errors.Join(overlay(filepath.Join(j.root, "images", "raspberry", "extra"), own), overlay(own, root)); err != nil {
		return err
	}
	ring, err := publicKey(ctx, key)
	if err != nil {
		return err
	}
	release, err := os.OpenFile(filepath.Join(root, "usr/lib/os-release"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(release, "IMAGE_ID=preau\nIMAGE_VERSION=%s\n", version)
	if err := errors.Join(err, release.Close(),
		os.WriteFile(filepath.Join(root, "usr/lib/systemd/import-pubring.gpg"), ring, 0o644),
		os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("preau\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/machine-id"), nil, 0o444), // made anew at each start
		os.MkdirAll(filepath.Join(root, "efi"), 0o755)); err != nil {
		return err
	}
	// Without one, accounts would have their passwords in a file that all may read.
	if err := os.WriteFile(filepath.Join(root, "etc/shadow"), []byte("root:!*:::::::\n"), 0o640); err != nil {
		return err
	}
	return errors.Join(
		do(exec.CommandContext(ctx, "systemd-sysusers", "--root="+root)),
		do(exec.CommandContext(ctx, "systemctl", "--root="+root, "preset-all")),
	)
}

// doInTools runs a command in the Debian that has the tools, once nothing else
// does: two images may be made at the same time.
func doInTools(ctx context.Context, tools string, options []string, command ...string) error {
	for {
		err := do(inTools(ctx, tools, options, command...))
		if err == nil || !strings.Contains(err.Error(), "currently busy") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(3 * time.Second):
		}
	}
}

// publicKey is the key that updates are to be signed with; without one, none.
func publicKey(ctx context.Context, key string) ([]byte, error) {
	if key == "" {
		return nil, nil
	}
	ring, err := exec.CommandContext(ctx, "gpg", "--batch", "--export", key).Output()
	if err != nil || len(ring) == 0 {
		return nil, fmt.Errorf("GnuPG has no key %s: %w", key, err)
	}
	return ring, nil
}

// raspberryBoot makes what the boot partition has, in /efi, and takes out of the
// system what no start needs.
func (j *job) raspberryBoot(ctx context.Context, tools, work, root, version string) error {
	kernels, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*/vmlinuz"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("the system has the kernels %v, not one: %w", kernels, err)
	}
	modules := filepath.Dir(kernels[0])
	release := filepath.Base(modules)
	for _, name := range raspberryNoModules {
		if err := os.RemoveAll(filepath.Join(modules, "kernel", name)); err != nil {
			return err
		}
	}
	efi := filepath.Join(root, "efi")
	if err := errors.Join(
		doInTools(ctx, tools, []string{"--bind=" + work + ":/srv/image"}, "depmod", "-b", "/srv/image/root", release),
		do(exec.CommandContext(ctx, "chroot", root, "mkinitramfs", "-o", "/efi/preau_"+version+".initrd", release)),
		os.Rename(kernels[0], filepath.Join(efi, "preau_"+version+".vmlinuz")),
	); err != nil {
		return err
	}
	for name, dst := range raspberryFirmware {
		src := filepath.Join(root, "efi-parts", name)
		if strings.HasSuffix(dst, ".dtb") {
			src = filepath.Join(modules, "dtb", name)
		}
		if err := do(exec.CommandContext(ctx, "cp", src, filepath.Join(efi, dst))); err != nil {
			return err
		}
	}
	boot := filepath.Join(j.root, "images", "raspberry", "boot")
	script, err := os.ReadFile(filepath.Join(boot, "boot.cmd"))
	if err != nil {
		return err
	}
	if err := errors.Join(
		do(exec.CommandContext(ctx, "cp", filepath.Join(boot, "config.txt"), efi)),
		os.WriteFile(filepath.Join(efi, "boot.scr"), ubootScript(script, j.epoch), 0o644),
		os.WriteFile(filepath.Join(efi, "good.env"), []byte("version="+version+"\n"), 0o644),
	); err != nil {
		return err
	}
	for _, name := range []string{"efi-parts", "boot", "usr/share/doc", "usr/share/info", "usr/share/bash-completion", "usr/share/zsh", "usr/share/fish", "usr/share/man", "var/lib/apt", "var/lib/dpkg", "var/cache", "var/log"} {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(filepath.Join(modules, "dtb")), os.Mkdir(filepath.Join(root, "boot"), 0o755))
}

// raspberryCollect brings out the image, and the files of an update with their
// sums, signed.
func (j *job) raspberryCollect(ctx context.Context, tools, work, version, key string) error {
	base := "preau_" + version
	update, target, err := j.empty(base + "_arm64")
	if err != nil {
		return err
	}
	fmt.Fprintln(j.say, "packing the image and its update")
	err = doInTools(ctx, tools, []string{"--bind=" + work + ":/srv/image", "--bind=" + j.out + ":/srv/out"}, "sh", "-euc",
		`cd /srv/image; zstd -q -T0 -9 "$0.raw" -o "/srv/out/$0_arm64.img.zst"
xz -T0 -1 -c "$0.root-arm64.raw" >"/srv/out/$0_arm64.update/$0.root-arm64.raw.xz"
xz -T0 -1 -c "root/efi/$0.vmlinuz" >"/srv/out/$0_arm64.update/$0.arm64.vmlinuz.xz"
cp "root/efi/$0.initrd" "/srv/out/$0_arm64.update/$0.arm64.initrd"`, base)
	if err != nil {
		return err
	}
	return j.deliver(ctx, update, target, key)
}
