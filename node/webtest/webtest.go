// Package webtest drives a real browser in tests: Chromium, by scripts for Node.js,
// with packages of npm that are fetched once and kept for the next run.
//
// It is for tests only, knows no page of ours, and judges nothing: what is looked
// at, and what is wrong, scripts say in JSON.
package webtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The packages, each at the version that the tests were written for.
const (
	Playwright   = "playwright-core@1.65.1"
	AxeCore      = "axe-core@4.14.1"
	HLS          = "hls.js@1.7.4"
	OIDCProvider = "oidc-provider@9.13.3"
	Lighthouse   = "lighthouse@12.8.2"
)

// picturesEnv names the folder in which pictures of pages are kept.
const picturesEnv = "PREAU_SCREENSHOTS"

// fetching is held by who fetches packages: tests run at the same time.
var fetching sync.Mutex

// Installed is a folder with packages of npm, and all that they need, in its
// node_modules.
func Installed(t *testing.T, packages ...string) string {
	t.Helper()
	fetching.Lock()
	defer fetching.Unlock()
	need(t, "node", "nodejs")
	npm := need(t, "npm", "npm")
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "preau-tests", strings.ReplaceAll(strings.Join(packages, "+"), "@", "-"))
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	// By its last name only once it is whole.
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-") //nolint:usetesting // it is renamed, on that disk
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half) //nolint:errcheck // what is left of it is in a cache
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, append([]string{"install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"}, packages...)...)
	cmd.Dir = half
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install %v: %v\n%s", packages, err, out)
	}
	if err := os.Rename(half, dir); err != nil {
		// The test of another package was faster.
		if _, there := os.Stat(filepath.Join(dir, "node_modules")); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Modules is the node_modules of Installed.
func Modules(t *testing.T, packages ...string) string {
	t.Helper()
	return filepath.Join(Installed(t, packages...), "node_modules")
}

// need fails unless a tool is there.
func need(t *testing.T, tool, debian string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", tool, debian)
	}
	return path
}

// Chromium is the browser's program.
func Chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium: apt-get install chromium")
	return ""
}

// Pictures is where screenshots of pages of one kind are kept, and whether they are
// wanted: without anybody who looks at them, they are artifacts of the test.
func Pictures(t *testing.T, kind string) (dir string, wanted bool) {
	t.Helper()
	if dir := os.Getenv(picturesEnv); dir != "" {
		return filepath.Join(dir, kind), true
	}
	return t.ArtifactDir(), false
}

// Script runs a script until ctx ends, with job as JSON on its standard input, and
// reads its output into answer. It returns what it said besides.
func Script(ctx context.Context, file string, job, answer any) (said string, err error) {
	in, err := json.Marshal(job)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "node", "--no-warnings", file)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errs
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, answer)
	}
	if err != nil {
		return errs.String(), fmt.Errorf("%s: %w\n%s\n%.3000s", file, err, errs.String(), out)
	}
	return errs.String(), nil
}
