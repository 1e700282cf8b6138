//go:build appliance && linux

package images_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// imageFolder keeps what the image's tests build; one folder, made anew by each
// run unless PREAU_TEST_IMAGE says that what is there will do.
func imageFolder(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "preau-tests", "image")
}

// applianceImage builds the appliance's image and unpacks it. It gives the folder
// with the raw image and the update.
func applianceImage(t *testing.T) (dir, raw string) {
	t.Helper()
	need(t, "mmdebstrap=mmdebstrap", "systemd-nspawn=systemd-container", "dpkg-deb=dpkg", "zstd=zstd", "gpg=gnupg")
	dir = imageFolder(t)
	raw = filepath.Join(dir, "preau_1.0.0.raw")
	if os.Getenv("PREAU_TEST_IMAGE") != "" {
		if _, err := os.Stat(raw); err == nil {
			return dir, raw
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "./pack", "image", "-version", "v1.0.0", "-out", dir}
	if m := os.Getenv("PREAU_TEST_MIRROR"); m != "" {
		args = append(args, "-mirror", m)
	}
	began := time.Now()
	t.Log(do(t, "", []string{epoch}, "go", args...))
	t.Logf("the image was made in %v", time.Since(began).Round(time.Second))
	do(t, dir, nil, "zstd", "-q", "-d", "-f", "preau_1.0.0_amd64.img.zst", "-o", raw)
	return dir, raw
}

// insideOf unpacks the system of an image.
func insideOf(t *testing.T, dir string) string {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(dir, "preau_1.0.0_amd64.update", "preau_1.0.0.root-x86-64.*.raw.xz"))
	if err != nil || len(parts) != 1 {
		t.Fatalf("the update has %v, %v", parts, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	// Not every kernel can mount it.
	do(t, work, nil, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", filepath.Join(cache, "preau-images", "tools-trixie-1"), "--timezone=off", "--console=pipe",
		"--bind="+work+":/srv/out", "--bind-ro="+parts[0]+":/srv/root.raw.xz", "sh", "-euc", "xz -dc /srv/root.raw.xz >/srv/out/root.raw; fsck.erofs --extract=/srv/out/root /srv/out/root.raw; rm /srv/out/root.raw")
	return filepath.Join(work, "root")
}

// TestTheImageLetsNobodyInAndIsSmall looks at what was built, not at what it was
// built from: packages bring units and accounts of their own.
func TestTheImageLetsNobodyInAndIsSmall(t *testing.T) {
	dir, _ := applianceImage(t)
	if info, err := os.Stat(filepath.Join(dir, "preau_1.0.0_amd64.img.zst")); err != nil || info.Size() > 350<<20 {
		t.Errorf("the image: %+v, %v", info, err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, "preau_1.0.0_amd64.update", "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(sums), "\n"); n != 3 {
		t.Errorf("an update has %d files:\n%s", n, sums)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if _, err := hex.DecodeString(sum); err != nil || digest(t, filepath.Join(dir, "preau_1.0.0_amd64.update", name)) != sum {
			t.Errorf("the sum of %s is not %s", name, sum)
		}
	}

	root := insideOf(t, dir)
	shadow, err := os.ReadFile(filepath.Join(root, "etc/shadow"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(shadow)) {
		if f := strings.Split(line, ":"); len(f) < 2 || !strings.HasPrefix(f[1], "!") && f[1] != "*" {
			t.Errorf("somebody can log in: %s", line)
		}
	}
	for _, name := range []string{"usr/sbin/sshd", "usr/bin/ssh", "usr/sbin/telnetd", "etc/ssh/sshd_config"} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			t.Errorf("it has %s", name)
		}
	}
	// Without a key nothing is an update: not even what Debian's keys have signed.
	if info, err := os.Stat(filepath.Join(root, "usr/lib/systemd/import-pubring.gpg")); err != nil || info.Size() != 0 {
		t.Errorf("it trusts keys that it was not given: %+v, %v", info, err)
	}
	for _, link := range []string{
		"local-fs.target.wants/preau-disk.service", "multi-user.target.wants/preau-provision.service", "multi-user.target.wants/preau-box.service",
		"boot-complete.target.requires/preau-healthy.service", "timers.target.wants/systemd-sysupdate.timer",
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
	for _, name := range []string{"usr/bin/preau", "usr/lib/systemd/systemd-bless-boot", "usr/bin/systemd-cryptsetup", "usr/lib/systemd/systemd-sysupdate", "usr/bin/gpg"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	do(t, "", nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root="+root, "preau-disk.service", "preau-provision.service", "preau-box.service", "preau-healthy.service", "preau-network.path", "preau-stick@sda1.service")
}
