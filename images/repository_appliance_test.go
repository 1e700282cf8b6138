//go:build appliance && linux

package images_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// signed is a repository with both versions, signed with a key of its own. It
// returns the folder that is served.
func signed(t *testing.T) string {
	t.Helper()
	need(t, "aptly=aptly", "gpg=gnupg")
	// The path of the agent's socket must fit into an address, so not t.TempDir.
	keys, err := os.MkdirTemp("", "g") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", keys)
	t.Cleanup(func() {
		c := exec.Command("gpgconf", "--homedir", keys, "--kill", "all") // the test's context has ended
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("end the agent: %v\n%s", err, out)
		}
		if err := os.RemoveAll(keys); err != nil {
			t.Error(err)
		}
	})
	do(t, "", nil, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Region of Lyon <lyon@example.org>", "ed25519", "sign", "never")
	key := ""
	for line := range strings.Lines(do(t, "", nil, "gpg", "--batch", "--with-colons", "--list-secret-keys")) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" && key == "" {
			key = fields[9]
		}
	}
	dir, from := filepath.Join(t.TempDir(), "repository"), packages(t)
	add := func(names ...string) {
		args := []string{"run", "./pack", "repository", "-key", key, "-dir", dir, "-uri", "http://127.0.0.1:8001"}
		for _, name := range names {
			args = append(args, filepath.Join(from, name))
		}
		do(t, "", nil, "go", args...)
	}
	add("preau_1.0.0_amd64.deb", "preau_1.0.0_arm64.deb")
	add("preau_2.0.0_amd64.deb") // a later release beside the first
	return filepath.Join(dir, "public")
}

// TestAHostInstallsFromASignedRepository, over HTTP and from a folder as a stick
// has it, goes back a version, and refuses what was tampered with.
func TestAHostInstallsFromASignedRepository(t *testing.T) {
	public := signed(t)
	h := boot(t)
	h.serve(t, "127.0.0.1:8001", public)
	stick := h.carry(t, public)
	source, err := os.ReadFile(filepath.Join(public, "preau.sources"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(public, "preau.asc"))
	if err != nil {
		t.Fatal(err)
	}
	const list = "/etc/apt/sources.list.d/preau.sources"
	h.write(t, "/etc/apt/keyrings/preau.asc", string(key))
	apt := []string{"apt-get", "-y", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=0"}
	get := func(args ...string) (string, error) { return h.run(t, append(slices.Clip(apt), args...)...) }
	must := func(args ...string) {
		t.Helper()
		h.must(t, append(slices.Clip(apt), args...)...)
	}
	version := func() string {
		return strings.TrimSpace(h.must(t, "dpkg-query", "-W", "-f", "${Version}", "preau"))
	}

	for _, uri := range []string{"http://127.0.0.1:8001", "file://" + stick} {
		h.write(t, list, strings.ReplaceAll(string(source), "http://127.0.0.1:8001", uri))
		must("update")
		must("install", "preau")
		if got := version(); got != "2.0.0" {
			t.Errorf("%s: version %s was installed", uri, got)
		}
		must("install", "--allow-downgrades", "preau=1.0.0")
		if got := version(); got != "1.0.0" {
			t.Errorf("%s: version %s after going back", uri, got)
		}
		must("purge", "preau")
	}

	// A package with one byte more, under an index that is right.
	must("clean")
	h.must(t, "sh", "-c", fmt.Sprintf("for f in $(find %s/pool -name '*.deb'); do echo >>$f; done", stick))
	if out, err := get("install", "preau"); err == nil || h.has(t, "/usr/bin/preau") {
		t.Errorf("a package that was tampered with is installed: %v\n%s", err, out)
	}
	// An index that names another version, under a signature that is right.
	h.must(t, "sh", "-c", fmt.Sprintf("sed -i 's/^Version: 2.0.0/Version: 3.0.0/' %s/dists/stable/main/binary-amd64/Packages && rm -rf %s/dists/stable/main/binary-amd64/by-hash %s/dists/stable/main/binary-amd64/Packages.*  /var/lib/apt/lists/*", stick, stick, stick))
	if out, err := get("update"); err == nil && !strings.Contains(out, "W:") && !strings.Contains(out, "E:") {
		t.Errorf("an index that was tampered with is taken:\n%s", out)
	}
	if out, err := h.run(t, "apt-cache", "policy", "preau"); err == nil && strings.Contains(out, "3.0.0") {
		t.Errorf("a version that nobody signed for can be installed:\n%s", out)
	}
	// A signature by a key that the host does not know.
	h.must(t, "sh", "-c", "rm -rf /var/lib/apt/lists/*")
	h.write(t, "/etc/apt/keyrings/preau.asc", "")
	h.write(t, list, string(source))
	if out, err := get("update"); err == nil && !strings.Contains(out, "W:") && !strings.Contains(out, "E:") {
		t.Errorf("a stranger's repository is taken:\n%s", out)
	}
	if out, err := get("install", "preau"); err == nil {
		t.Errorf("a stranger's package is installed:\n%s", out)
	}
}
