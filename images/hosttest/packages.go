//go:build linux

package hosttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// packed are the packages that this process has made.
var packed struct {
	sync.Mutex
	dir string
}

// Packages are a folder with the packages of versions 1.0.0 (amd64 and arm64, as they
// are released) and 2.0.0 (amd64). PREAU_TEST_PACKAGES names one that is there
// already; else they are made, once for all tests of the process.
func Packages(t *testing.T) string {
	t.Helper()
	Need(t, "dpkg-deb=dpkg")
	if dir := os.Getenv("PREAU_TEST_PACKAGES"); dir != "" {
		return dir
	}
	packed.Lock()
	defer packed.Unlock()
	if packed.dir != "" {
		return packed.dir
	}
	// A folder for each test program, made anew by each run: nothing is left lying about
	// by many, and none takes another's away.
	dir := filepath.Join(Cache(t), "packages", filepath.Base(os.Args[0]))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	Pack(t, nil, "deb", "-version", "v1.0.0", "-arch", "amd64,arm64", "-compression", "xz", "-out", dir)
	Pack(t, nil, "deb", "-version", "v2.0.0", "-arch", "amd64", "-compression", "gzip", "-out", dir)
	packed.dir = dir
	return dir
}

// sources is the project's folder.
func sources(t *testing.T) string {
	t.Helper()
	return filepath.Dir(strings.TrimSpace(Do(t, "", nil, "go", "env", "GOMOD")))
}

// Pack runs the command images/pack.
func Pack(t *testing.T, env []string, args ...string) string {
	t.Helper()
	return Do(t, sources(t), append([]string{Epoch}, env...), "go", append([]string{"run", "./images/pack"}, args...)...)
}

// Repository is a repository of the packages, signed with a key of its own, as hosts
// find it at uri. It returns the folder that is served.
func Repository(t *testing.T, uri string) string {
	t.Helper()
	Need(t, "aptly=aptly", "gpg=gnupg")
	from := Packages(t)
	// The path of the agent's socket must fit into an address, so not t.TempDir.
	keys, err := os.MkdirTemp("", "g") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"GNUPGHOME=" + keys}
	t.Cleanup(func() {
		if out, err := exec.Command("gpgconf", "--homedir", keys, "--kill", "all").CombinedOutput(); err != nil { //nolint:noctx // the test's context has ended
			t.Errorf("end the agent: %v\n%s", err, out)
		}
		if err := os.RemoveAll(keys); err != nil {
			t.Error(err)
		}
	})
	Do(t, "", env, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Region of Lyon <lyon@example.org>", "ed25519", "sign", "never")
	key := ""
	for line := range strings.Lines(Do(t, "", env, "gpg", "--batch", "--with-colons", "--list-secret-keys")) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" && key == "" {
			key = fields[9]
		}
	}
	dir := filepath.Join(t.TempDir(), "repository")
	// A release, and then a later one beside it.
	for _, version := range []string{"1.0.0", "2.0.0"} {
		found, err := filepath.Glob(filepath.Join(from, "preau_"+version+"_*.deb"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s has no package of version %s, %v", from, version, err)
		}
		Pack(t, env, append([]string{"repository", "-key", key, "-dir", dir, "-uri", uri}, found...)...)
	}
	return filepath.Join(dir, "public")
}
