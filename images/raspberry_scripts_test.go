//go:build appliance && linux

package images_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"preau/images/hosttest"
)

// bootFolder stands for a board's boot partition, with a system of a version that
// runs, and a box that is well.
type bootFolder struct{ dir, version string }

func (b bootFolder) has(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "efi", name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a script of the image with its folders in dir.
func (b bootFolder) run(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("raspberry/extra/usr/lib/preau", name))
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("=/efi", "="+b.dir+"/efi", "/usr/lib/os-release", b.dir+"/os-release", "/run/preau", b.dir).Replace(string(text))
	file := filepath.Join(b.dir, name)
	for path, text := range map[string]string{file: script, filepath.Join(b.dir, "os-release"): "IMAGE_VERSION=" + b.version + "\n", filepath.Join(b.dir, "preau"): "#!/bin/sh\nexit 0\n"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "sh", file)
	c.Env = append(os.Environ(), "PATH="+b.dir+":"+os.Getenv("PATH"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// files are the folder's, with the texts of short ones.
func (b bootFolder) files(t *testing.T) string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(b.dir, "efi"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "preau_") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(b.dir, "efi", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f.Name()+" "+strings.TrimSpace(string(text)))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// TestAVersionIsTriedOnceItIsWholeAndMadeGoodOnceItIsWell is the life of versions on
// a boot partition.
func TestAVersionIsTriedOnceItIsWholeAndMadeGoodOnceItIsWell(t *testing.T) {
	hosttest.Need(t, "systemd-analyze=systemd")
	b := bootFolder{dir: t.TempDir(), version: "9.0.0"}
	if err := os.Mkdir(filepath.Join(b.dir, "efi"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := func(when, files string) {
		t.Helper()
		if got := b.files(t); got != files {
			t.Fatalf("%s: %s\nand not %s", when, got, files)
		}
	}
	b.has(t, "good.env", "version=9.0.0\n")
	for _, name := range []string{"preau_9.0.0.vmlinuz", "preau_9.0.0.initrd", "preau_8.0.0.vmlinuz", "preau_8.0.0.initrd", "preau_10.0.0.vmlinuz"} {
		b.has(t, name, "")
	}
	b.run(t, "trial")
	want("an older version, and half of a newer one", "good.env version=9.0.0")
	b.has(t, "preau_10.0.0.initrd", "")
	b.has(t, "try1", "x")
	b.run(t, "trial")
	want("a newer version, and tries of one before", "good.env version=9.0.0, trial.env version=10.0.0")
	b.run(t, "healthy")
	want("a start of the old version", "good.env version=9.0.0, trial.env version=10.0.0")

	for _, try := range []string{"try1", "try2", "try3"} {
		b.has(t, try, "x")
	}
	b.run(t, "healthy")
	b.run(t, "trial")
	want("a version that was given up", "good.env version=9.0.0, trial.env version=10.0.0, try1 x, try2 x, try3 x")
	if told, err := os.ReadFile(filepath.Join(b.dir, "given-up")); err != nil || string(told) != "10.0.0\n" {
		t.Errorf("people are told of %q, %v", told, err)
	}

	b.has(t, "preau_10.0.1.vmlinuz", "")
	b.has(t, "preau_10.0.1.initrd", "")
	b.run(t, "trial")
	want("the version after the one that was given up", "good.env version=9.0.0, trial.env version=10.0.1")
	b.version = "10.0.1"
	b.has(t, "try1", "x")
	b.run(t, "healthy")
	want("once it is well", "good.env version=10.0.1")
	b.run(t, "trial")
	want("with nothing newer", "good.env version=10.0.1")
}
