//go:build appliance && linux

package images_test

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/images/hosttest"
)

// imageFolder keeps what the image's tests build; one folder, made anew by each
// run unless PREAU_TEST_IMAGE says that what is there will do.
func imageFolder(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "preau-tests", "image")
	if !imagesBegun && os.Getenv("PREAU_TEST_IMAGE") == "" {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	imagesBegun = true
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// imagesBegun: this run has its folder. No two of these tests run at a time.
var imagesBegun bool

// signer is the fingerprint of a key that is thrown away, in a ring of its own.
// Another name is another key.
func signer(t *testing.T, name string) (ring, key string) {
	t.Helper()
	ring = filepath.Join(imageFolder(t), "ring-"+name)
	env := []string{"GNUPGHOME=" + ring}
	t.Cleanup(func() {
		// GnuPG's agent would wait for the next.
		_ = exec.Command("gpgconf", "--homedir", ring, "--kill", "gpg-agent").Run() // or there is none
	})
	if _, err := os.Stat(ring); err != nil {
		if err := os.Mkdir(ring, 0o700); err != nil {
			t.Fatal(err)
		}
		do(t, "", env, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
	}
	for line := range strings.Lines(do(t, "", env, "gpg", "--batch", "--list-keys", "--with-colons")) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && len(f) > 9 {
			return ring, f[9]
		}
	}
	t.Fatalf("the ring %s has no key", ring)
	return "", ""
}

// applianceImage builds the appliance's image and unpacks it. It gives the folder
// with the raw image and the update.
func applianceImage(t *testing.T) (dir, raw string) {
	t.Helper()
	dir = imageFolder(t)
	raw = filepath.Join(dir, "preau_1.0.0.raw")
	if _, err := os.Stat(raw); err == nil {
		return dir, raw
	}
	versionOf(t, "1.0.0", "..")
	do(t, dir, nil, "zstd", "-q", "-d", "-f", "preau_1.0.0_amd64.img.zst", "-o", raw)
	return dir, raw
}

// versionOf builds a version of the image, and gives the folder of its update.
func versionOf(t *testing.T, version, source string) string {
	t.Helper()
	need(t, "mmdebstrap=mmdebstrap", "systemd-nspawn=systemd-container", "dpkg-deb=dpkg", "zstd=zstd", "gpg=gnupg")
	dir := imageFolder(t)
	update := filepath.Join(dir, "preau_"+version+"_amd64.update")
	if _, err := os.Stat(filepath.Join(update, "SHA256SUMS.gpg")); err == nil {
		return update
	}
	ring, key := signer(t, "update")
	// What was installed for one is taken for the next: the versions differ in what
	// is ours.
	args := []string{"run", "./images/pack", "image", "-version", "v" + version, "-out", dir, "-key", key, "-kept", "-mirror", hosttest.Mirror(t)}
	began := time.Now()
	t.Log(do(t, source, []string{epoch, "GNUPGHOME=" + ring}, "go", args...))
	t.Logf("the image was made in %v", time.Since(began).Round(time.Second))
	return update
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
	// Nothing else is an update: not even what Debian's keys have signed.
	ring, key := signer(t, "update")
	trusted := do(t, "", []string{"GNUPGHOME=" + ring}, "gpg", "--batch", "--show-keys", "--with-colons", filepath.Join(root, "usr/lib/systemd/import-pubring.gpg"))
	if n := strings.Count("\n"+trusted, "\npub:"); n != 1 || !strings.Contains(trusted, key) {
		t.Errorf("it trusts %d keys, and should trust %s alone:\n%s", n, key, trusted)
	}
	for _, link := range []string{
		"local-fs.target.wants/preau-disk.service", "multi-user.target.wants/preau-provision.service", "multi-user.target.wants/preau-box.service",
		"boot-complete.target.requires/preau-healthy.service", "timers.target.wants/systemd-sysupdate.timer",
		"preau-box.service.wants/preau-settings.service", "multi-user.target.wants/preau-pass.path", "timers.target.wants/preau-settings.timer",
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
	for _, name := range []string{"usr/bin/preau", "usr/lib/systemd/systemd-bless-boot", "usr/bin/systemd-cryptsetup", "usr/lib/systemd/systemd-sysupdate", "usr/bin/gpg", "usr/bin/gpgv"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	do(t, "", nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root="+root, "preau-disk.service", "preau-provision.service", "preau-box.service", "preau-healthy.service", "preau-settings.service", "preau-settings.timer", "preau-pass.path", "preau-pass.service", "preau-network.path", "preau-stick@sda1.service")
}
