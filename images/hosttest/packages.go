//go:build linux

package hosttest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// packed are the packages that this process has made.
var packed struct {
	sync.Mutex
	dir string
}

// packagesEnv names a folder with the packages.
const packagesEnv = "PREAU_TEST_PACKAGES"

// Packages are a folder with the packages of versions 1.0.0 (amd64 and arm64, as they
// are released) and 2.0.0 (this machine's). PREAU_TEST_PACKAGES names one that is there
// already; else they are made, once for all tests of the process.
func Packages(t *testing.T) string {
	t.Helper()
	return must(t)(packages(t.Context(), "amd64,arm64", "xz"))
}

// Prepare makes what hosts begin with and what takes the internet: the tree, and of
// the packages those of this machine, quickly packed. It returns the packages'
// folder. A process that is in a network of its own has it called before.
func Prepare(ctx context.Context) (dir string, err error) {
	if _, err := tree(ctx); err != nil {
		return "", err
	}
	return packages(ctx, runtime.GOARCH, "gzip")
}

func packages(ctx context.Context, archs, compression string) (string, error) {
	if missing := Missing("dpkg-deb=dpkg"); len(missing) > 0 {
		return "", errors.New(missing[0])
	}
	if dir := os.Getenv(packagesEnv); dir != "" {
		return dir, nil
	}
	packed.Lock()
	defer packed.Unlock()
	if packed.dir != "" {
		return packed.dir, nil
	}
	top, err := cache()
	if err != nil {
		return "", err
	}
	// A folder for each test program, made anew by each run: nothing is left lying about
	// by many, and none takes another's away.
	dir := filepath.Join(top, "packages", filepath.Base(os.Args[0]))
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"deb", "-version", "v1.0.0", "-arch", archs, "-compression", compression, "-out", dir},
		{"deb", "-version", "v2.0.0", "-arch", runtime.GOARCH, "-compression", "gzip", "-out", dir},
	} {
		if _, err := pack(ctx, nil, args...); err != nil {
			return "", err
		}
	}
	packed.dir = dir
	return dir, nil
}

// sources is the project's folder.
func sources(ctx context.Context) (string, error) {
	mod, err := do(ctx, "", nil, "go", "env", "GOMOD")
	return filepath.Dir(strings.TrimSpace(mod)), err
}

// Pack runs the command images/pack.
func Pack(t *testing.T, env []string, args ...string) string {
	t.Helper()
	return must(t)(pack(t.Context(), env, args...))
}

func pack(ctx context.Context, env []string, args ...string) (string, error) {
	dir, err := sources(ctx)
	if err != nil {
		return "", err
	}
	return do(ctx, dir, append([]string{Epoch}, env...), "go", append([]string{"run", "./images/pack"}, args...)...)
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
