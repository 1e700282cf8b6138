package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"preau/images/mirror"
)

// imageTools is what makes the appliance's image, in a Debian of its own: this
// machine's may be older. A change of the list is a change of the number.
const (
	imageToolsNumber = "1"
	imageRelease     = "trixie"
	imageTools       = "mkosi,systemd-repart,systemd-container,systemd-boot,systemd-boot-efi,systemd-ukify,mtools,dosfstools,e2fsprogs,erofs-utils,ca-certificates,zstd,xz-utils,cpio,kmod,debian-archive-keyring,cryptsetup-bin,bubblewrap,uidmap"
	// unsaid stands for the mirror in mkosi's sources.
	unsaid = "http://mirror.invalid/debian"
)

// mostImage is what an image may have, as it is carried: it goes over schools'
// lines.
const mostImage = 350 << 20

// image makes the appliance's image for x86 machines and the files of an update.
// Whoever has the key can update boxes that have this image; without a key there
// is nobody, and such an image is for trials. So is one that is made with kept:
// what was installed for it is taken from the image before, and not up to date.
func (j *job) image(ctx context.Context, key, from string, kept bool) error {
	w, err := j.workshop(ctx, from)
	if err != nil {
		return err
	}
	defer w.clear()
	version, work := w.version, w.work
	fmt.Fprintln(j.say, "putting the program and its settings in place")
	if err := j.stageImage(ctx, work, key, w.from); err != nil {
		return err
	}
	fmt.Fprintln(j.say, "installing Debian and making the image (some minutes)")
	packages := filepath.Join(w.cache, "packages")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		return err
	}
	binds := []string{"--bind=" + work + ":/srv/image", "--bind=" + packages + ":/srv/packages"}
	args := []string{"mkosi", "--directory=/srv/image", "--image-version=" + version, fmt.Sprintf("--source-date-epoch=%d", j.epoch.Unix()), "--package-cache-dir=/srv/packages"}
	if kept {
		installed := filepath.Join(w.cache, "installed")
		if err := os.MkdirAll(installed, 0o755); err != nil {
			return err
		}
		binds, args = append(binds, "--bind="+installed+":/srv/installed"), append(args, "--incremental=yes", "--cache-dir=/srv/installed")
	}
	c := inTools(ctx, w.tools, binds, append(args, "--force", "build")...)
	log := &bytes.Buffer{}
	c.Stdout, c.Stderr = log, log
	if err := c.Run(); err != nil {
		return fmt.Errorf("mkosi: %w\n%s", err, log)
	}
	return j.collect(ctx, w.tools, work, version, key)
}

// workshop is what an image is made in.
type workshop struct {
	from    string // where Debian comes from
	version string // of the image
	cache   string // what is kept for the next image
	tools   string // the Debian that has the tools
	work    string // for this image alone
}

// workshop makes one ready. Whoever has it clears it.
func (j *job) workshop(ctx context.Context, from string) (w workshop, err error) {
	if os.Geteuid() != 0 {
		return w, errors.New("an image is made in a system of its own, with systemd-nspawn, which needs root")
	}
	if w.from = from; from == "" {
		if w.from, err = mirror.Own(ctx); err != nil {
			return w, fmt.Errorf("-mirror: %w", err)
		}
	}
	version, err := debVersion(j.version, j.epoch)
	if err != nil {
		return w, err
	}
	w.version = imageVersion(version)
	cache, err := os.UserCacheDir()
	if err != nil {
		return w, err
	}
	w.cache = filepath.Join(cache, "preau-images")
	if w.tools, err = j.imageTools(ctx, w.cache, w.from); err != nil {
		return w, err
	}
	w.work, err = os.MkdirTemp(w.cache, "work-") // beside the tools: it is large
	return w, err
}

// clear removes what was for one image alone.
func (w workshop) clear() {
	os.RemoveAll(w.work) //nolint:errcheck // what is left of it is in the cache
}

// imageVersion is a version as the names of partitions and kernels may have it:
// the boot loader counts behind a +, and a partition's name has 36 characters.
func imageVersion(version string) string {
	version = strings.ReplaceAll(version, "+dirty", ".d")
	version = tagged(version)
	return version[:min(len(version), 36-len("preau_"))]
}

// imageTools makes the Debian that has the tools, once.
func (j *job) imageTools(ctx context.Context, cache, from string) (string, error) {
	dir := filepath.Join(cache, "tools-"+imageRelease+"-"+imageToolsNumber)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fmt.Fprintln(j.say, "making a Debian with the tools, once")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	half, err := os.MkdirTemp(cache, "half-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(half) //nolint:errcheck // it is gone if all went well
	root := filepath.Join(half, "root")
	if err := do(exec.CommandContext(ctx, "mmdebstrap", "--variant=apt", "--include="+imageTools, imageRelease, root, from)); err != nil {
		return "", err
	}
	return dir, os.Rename(root, dir)
}

// inTools is a command in the Debian that has the tools.
func inTools(ctx context.Context, tools string, options []string, command ...string) *exec.Cmd {
	args := append([]string{"--quiet", "--register=no", "--keep-unit", "-D", tools, "--capability=all", "--system-call-filter=@mount @keyring bpf",
		"--resolv-conf=copy-host", "--timezone=off", "--console=pipe"}, options...)
	return exec.CommandContext(ctx, "systemd-nspawn", append(args, command...)...)
}

// stageImage lays out what mkosi reads: the configuration, and the package's
// files below what is the appliance's own.
func (j *job) stageImage(ctx context.Context, work, key, from string) error {
	extra := filepath.Join(work, "mkosi.extra")
	if err := j.unpack(ctx, work, "amd64", extra); err != nil {
		return err
	}
	if err := overlay(filepath.Join(j.root, "images", "appliance"), work); err != nil {
		return err
	}
	sources := filepath.Join(work, "mkosi.sandbox", "etc", "apt", "sources.list.d", "mkosi.sources")
	text, err := os.ReadFile(sources)
	if err != nil {
		return err
	}
	if err := os.WriteFile(sources, bytes.ReplaceAll(text, []byte(unsaid), []byte(from)), 0o644); err != nil {
		return err
	}
	// Instead of Debian's keyring, whose keys have no business here.
	ring, err := publicKey(ctx, key)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(extra, "usr", "lib", "systemd", "import-pubring.gpg"), ring, 0o644)
}

// unpack makes the package for one architecture, and lays out its files.
func (j *job) unpack(ctx context.Context, work, arch, to string) error {
	debs := *j
	debs.out, debs.archs, debs.say = filepath.Join(work, "deb"), []string{arch}, io.Discard
	if err := os.Mkdir(debs.out, 0o755); err != nil {
		return err
	}
	if err := debs.debs(ctx, "gzip"); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(debs.out, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("%d packages were made, not one: %w", len(packages), err)
	}
	return do(exec.CommandContext(ctx, "dpkg-deb", "-x", packages[0], to))
}

// overlay copies a folder over another, with modes that no umask changes.
func overlay(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			leads, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(leads, target)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := os.WriteFile(target, text, mode); err != nil {
			return err
		}
		return os.Chmod(target, mode)
	})
}

// collect brings out what was made: the image, and the files of an update with
// their sums, signed.
func (j *job) collect(ctx context.Context, tools, work, version, key string) error {
	base := "preau_" + version
	update, target, err := j.empty(base + "_amd64")
	if err != nil {
		return err
	}
	fmt.Fprintln(j.say, "packing the image and its update")
	parts, err := filepath.Glob(filepath.Join(work, "mkosi.output", base+".root-*.raw"))
	if err != nil || len(parts) != 2 {
		return fmt.Errorf("mkosi made %d partitions for updates, not two: %w", len(parts), err)
	}
	c := inTools(ctx, tools, []string{"--bind=" + work + ":/srv/image", "--bind=" + j.out + ":/srv/out"}, "sh", "-euc",
		`cd /srv/image/mkosi.output; zstd -q -T0 -9 "$0.raw" -o "/srv/out/$0_amd64.img.zst"
for p in "$0".root-*.raw; do xz -T0 -1 -c "$p" >"/srv/out/$0_amd64.update/$p.xz"; done
cp "$0.efi" "/srv/out/$0_amd64.update/"`, base)
	if err := do(c); err != nil {
		return err
	}
	return j.deliver(ctx, update, target, key)
}

// empty makes the folder of an update, and says where the image goes.
func (j *job) empty(base string) (update, target string, err error) {
	update, target = filepath.Join(j.out, base+".update"), filepath.Join(j.out, base+".img.zst")
	return update, target, errors.Join(os.RemoveAll(update), os.RemoveAll(target), os.Mkdir(update, 0o755))
}

// deliver signs an update, and says where it and the image are.
func (j *job) deliver(ctx context.Context, update, target, key string) error {
	if err := sums(ctx, update, key); err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	if info.Size() > mostImage {
		return fmt.Errorf("%s has %d MiB, and may have %d: leave something out", target, info.Size()>>20, mostImage>>20)
	}
	fmt.Fprintf(j.say, "%s (%d MiB)\n%s\n", target, info.Size()>>20, update)
	if key == "" {
		fmt.Fprintln(j.say, "without -key: boxes with this image take no update")
	}
	return nil
}

// sums writes SHA256SUMS for a folder's files, and its signature if there is a key.
func sums(ctx context.Context, dir, key string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines []string
	for _, f := range list {
		sum, err := sumOf(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, sum+"  "+f.Name()+"\n")
	}
	slices.Sort(lines)
	file := filepath.Join(dir, "SHA256SUMS")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil || key == "" {
		return err
	}
	return do(exec.CommandContext(ctx, "gpg", "--batch", "--yes", "--local-user", key, "--output", file+".gpg", "--detach-sign", file))
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}
