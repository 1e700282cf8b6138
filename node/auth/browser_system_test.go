//go:build system

package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/node/auth"
	"preau/node/auth/authtest"
	"preau/node/portal/look"
)

// The tools, each at the version that the test was written for.
const (
	playwright = "playwright-core@1.65.1"
	axeCore    = "axe-core@4.14.1"
)

// installed is a folder with packages of npm, fetched once.
func installed(t *testing.T, packages ...string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: apt-get install nodejs npm", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "preau-tests", strings.ReplaceAll(strings.Join(packages, "+"), "@", "-"))
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-") //nolint:usetesting // it is renamed, on that disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(half); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := append([]string{"install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"}, packages...)
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir = half
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install %v: %v\n%s", packages, err, out)
	}
	if err := os.Rename(half, dir); err != nil {
		// Another test was faster.
		if _, there := os.Stat(filepath.Join(dir, "node_modules")); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pictures is where screenshots are kept.
func pictures(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PREAU_SCREENSHOTS"); dir != "" {
		return filepath.Join(dir, "auth")
	}
	return t.ArtifactDir()
}

// The stories of signing in, in a browser that people have; and everybody can
// read every page.
func TestInABrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("there is no Chromium: apt-get install chromium")
	}
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("school")})
	b := newBox(t, p)
	inner := *b.now.Load()
	mux := http.NewServeMux()
	mux.Handle("/style/", look.Assets())
	mux.Handle("/", inner)
	var whole http.Handler = mux
	b.now.Store(&whole)
	code, _ := b.auth.Claim()
	_, badge, err := b.auth.MakeBadge(t.Context(), auth.Person{Name: "Admin"}, "Inès Petit", time.Now().AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	job, err := json.Marshal(map[string]string{
		"modules": filepath.Join(installed(t, playwright, axeCore), "node_modules"), "chromium": chromium, "scratch": t.TempDir(), "pictures": pictures(t),
		"base": b.tls.URL, "provider": p.URL, "claim": code, "badge": auth.BadgePath(badge),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "node", "--no-warnings", filepath.Join("testdata", "browser.mjs"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(job), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, errs.String(), out)
	}
	var said struct {
		Looked int
		Wrong  []string
	}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
	for _, w := range said.Wrong {
		t.Error(w)
	}
	if said.Looked < 45 {
		t.Errorf("looked at %d pages only", said.Looked)
	}
}
