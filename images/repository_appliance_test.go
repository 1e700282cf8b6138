//go:build appliance && linux

package images_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"preau/images/hosttest"
)

// TestAHostInstallsFromASignedRepository, over HTTP and from a folder as a stick
// has it, goes back a version, and refuses what was tampered with.
func TestAHostInstallsFromASignedRepository(t *testing.T) {
	public := hosttest.Repository(t, "http://127.0.0.1:8001")
	h := boot(t)
	h.Serve(t, "127.0.0.1:8001", public)
	stick := h.Carry(t, public)
	source, err := os.ReadFile(filepath.Join(public, "preau.sources"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(public, "preau.asc"))
	if err != nil {
		t.Fatal(err)
	}
	const list = "/etc/apt/sources.list.d/preau.sources"
	h.Write(t, "/etc/apt/keyrings/preau.asc", string(key))
	apt := []string{"apt-get", "-y", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=0"}
	get := func(args ...string) (string, error) { return h.Run(t, append(slices.Clip(apt), args...)...) }
	must := func(args ...string) {
		t.Helper()
		h.Must(t, append(slices.Clip(apt), args...)...)
	}
	version := func() string {
		return strings.TrimSpace(h.Must(t, "dpkg-query", "-W", "-f", "${Version}", "preau"))
	}

	for _, uri := range []string{"http://127.0.0.1:8001", "file://" + stick} {
		h.Write(t, list, strings.ReplaceAll(string(source), "http://127.0.0.1:8001", uri))
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
	h.Must(t, "sh", "-c", fmt.Sprintf("for f in $(find %s/pool -name '*.deb'); do echo >>$f; done", stick))
	if out, err := get("install", "preau"); err == nil || h.Has(t, "/usr/bin/preau") {
		t.Errorf("a package that was tampered with is installed: %v\n%s", err, out)
	}
	// An index that names another version, under a signature that is right.
	h.Must(t, "sh", "-c", fmt.Sprintf("sed -i 's/^Version: 2.0.0/Version: 3.0.0/' %s/dists/stable/main/binary-amd64/Packages && rm -rf %s/dists/stable/main/binary-amd64/by-hash %s/dists/stable/main/binary-amd64/Packages.*  /var/lib/apt/lists/*", stick, stick, stick))
	if out, err := get("update"); err == nil && !strings.Contains(out, "W:") && !strings.Contains(out, "E:") {
		t.Errorf("an index that was tampered with is taken:\n%s", out)
	}
	if out, err := h.Run(t, "apt-cache", "policy", "preau"); err == nil && strings.Contains(out, "3.0.0") {
		t.Errorf("a version that nobody signed for can be installed:\n%s", out)
	}
	// A signature by a key that the host does not know.
	h.Must(t, "sh", "-c", "rm -rf /var/lib/apt/lists/*")
	h.Write(t, "/etc/apt/keyrings/preau.asc", "")
	h.Write(t, list, string(source))
	if out, err := get("update"); err == nil && !strings.Contains(out, "W:") && !strings.Contains(out, "E:") {
		t.Errorf("a stranger's repository is taken:\n%s", out)
	}
	if out, err := get("install", "preau"); err == nil {
		t.Errorf("a stranger's package is installed:\n%s", out)
	}
}
