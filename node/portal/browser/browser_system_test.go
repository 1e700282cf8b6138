//go:build system

package browser_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/portal"
	"preau/node/portal/portaltest"
)

// The tools, each at the version that the tests were written for.
const (
	playwright = "playwright-core@1.65.1"
	axeCore    = "axe-core@4.14.1"
)

//go:embed drive.mjs
var drive []byte

//go:embed story.mjs
var story []byte

//go:embed film.mjs
var film []byte

// modules is a folder with the tools, fetched once.
func modules(ctx context.Context, t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"node", "npm", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: apt-get install nodejs npm tar", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	root := filepath.Join(cache, "preau-tests", "browser")
	for _, spec := range []string{playwright, axeCore} {
		name, version, _ := strings.Cut(spec, "@")
		dir := filepath.Join(root, "node_modules", name)
		var has struct{ Version string }
		if raw, err := os.ReadFile(filepath.Join(dir, "package.json")); err == nil && json.Unmarshal(raw, &has) == nil && has.Version == version {
			continue
		}
		scratch := t.TempDir()
		pack := exec.CommandContext(ctx, "npm", "pack", "--silent", spec)
		pack.Dir = scratch
		out, err := pack.Output()
		if err != nil {
			t.Fatalf("npm pack %s: %v", spec, err)
		}
		lines := strings.Fields(string(out))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		archive := filepath.Join(scratch, lines[len(lines)-1])
		if out, err := exec.CommandContext(ctx, "tar", "-xzf", archive, "-C", dir, "--strip-components=1").CombinedOutput(); err != nil {
			t.Fatalf("unpack %s: %v: %s", archive, err, out)
		}
	}
	return filepath.Join(root, "node_modules")
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium: apt-get install chromium")
	return ""
}

// pictures is where screenshots are kept.
func pictures(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PREAU_SCREENSHOTS"); dir != "" {
		return filepath.Join(dir, "portal")
	}
	return t.ArtifactDir()
}

// serve runs a portal over a world.
func serve(t *testing.T, parts portal.Parts) string {
	t.Helper()
	p, err := portal.New(portal.Config{Enabled: true, Title: "École des Tilleuls", Most: 1000}, parts, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	s := httptest.NewServer(p)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	portaltest.Ready(t, p)
	return s.URL
}

type shown struct {
	Path string `json:"path"`
	Name string `json:"name"`
}

type size struct {
	Name    string  `json:"name"`
	Width   int     `json:"width"`
	Height  int     `json:"height"`
	Scale   float64 `json:"scale,omitempty"`
	Touch   bool    `json:"touch,omitempty"`
	Axe     bool    `json:"axe"`
	Picture bool    `json:"picture"`
}

var (
	desktop = size{Name: "desktop", Width: 1280, Height: 800, Axe: true, Picture: true}
	phone   = size{Name: "phone", Width: 390, Height: 844, Touch: true, Axe: true, Picture: true}
	// A desktop at 200 %, and the narrowest that has to do (WCAG 1.4.10).
	zoomed = size{Name: "zoomed", Width: 640, Height: 400, Scale: 2}
	narrow = size{Name: "narrow", Width: 320, Height: 640}
)

// run gives a job to a script in node and reads what it says.
func run(t *testing.T, script []byte, job map[string]any, answer any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	job["modules"], job["chromium"], job["scratch"], job["pictures"] = modules(ctx, t), chromium(t), t.TempDir(), pictures(t)
	file := filepath.Join(t.TempDir(), "script.mjs")
	if err := os.WriteFile(file, script, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", file)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the script failed: %v\n%s", err, errs.Bytes())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// look has all pages looked at, on all screens, in both languages.
func look(t *testing.T, base string, pages []shown, sizes ...size) {
	t.Helper()
	var answer struct {
		Looked int
		Wrong  []string
	}
	sizes = slices.Clone(sizes)
	for i := range sizes { // pictures take as long as all else
		sizes[i].Picture = sizes[i].Picture && os.Getenv("PREAU_SCREENSHOTS") != ""
	}
	run(t, drive, map[string]any{"base": base, "pages": pages, "sizes": sizes, "themes": []string{"light", "dark"}, "langs": []string{"fr", "en"}}, &answer)
	looks := 0 // both themes where colours are judged
	for _, s := range sizes {
		looks++
		if s.Axe {
			looks++
		}
	}
	if want := len(pages) * 2 * looks; answer.Looked != want {
		t.Errorf("%d pages were looked at, want %d", answer.Looked, want)
	}
	for _, what := range answer.Wrong {
		t.Error(what)
	}
}

func TestPupilsPagesCanBeUsedByAll(t *testing.T) {
	base := serve(t, portaltest.New(false).Parts())
	look(t, base, []shown{
		{"/", "home"}, {"/c/", "collections"}, {"/c/Sciences%20de%20la%20vie%20et%20de%20la%20Terre", "collection"},
		{"/find?q=volcan", "find"}, {"/find?q=zzz", "find-nothing"}, {"/find", "find-start"},
		{"/see/r/res-000", "see-pdf"}, {"/see/r/res-001", "see-video"}, {"/see/r/res-004", "see-picture"}, {"/see/r/res-005", "see-away"},
		{"/see/r/res-013", "see-text"}, {"/see/r/res-017", "see-audio"}, {"/see/d/dep-001", "see-deposit"},
		{"/l/KMRTA", "lesson"}, {"/l/", "code"}, {"/l/ZZZZZ", "code-wrong"}, {"/sites", "sites"}, {"/nowhere", "lost"},
	}, desktop, phone, zoomed, narrow)
}

func TestPagesOfAnEmptyBoxAndACutLine(t *testing.T) {
	w := portaltest.New(true)
	w.Cut(time.Now().Add(-2 * time.Hour))
	look(t, serve(t, w.Parts()), []shown{{"/", "empty-home"}, {"/c/", "empty-collections"}, {"/sites", "empty-sites"}}, desktop, phone)
	w = portaltest.New(false)
	w.Cut(time.Now().Add(-time.Minute))
	look(t, serve(t, w.Parts()), []shown{{"/", "cut-home"}, {"/see/r/res-005", "cut-see"}, {"/l/KMRTA", "cut-lesson"}}, desktop, phone, narrow)
}

func TestAPupilsStory(t *testing.T) {
	w := portaltest.New(false)
	base := serve(t, w.Parts())
	control := httptest.NewServer(portaltest.Control(w))
	defer control.Close()
	var answer struct{ Steps []string }
	run(t, story, map[string]any{"base": base, "control": control.URL}, &answer)
	if len(answer.Steps) < 8 {
		t.Errorf("the story has %d steps only: %s", len(answer.Steps), fmt.Sprint(answer.Steps))
	}
}

// A film in pieces plays under the page's policy, in a browser that has to be
// helped, and what can't be played says so.
func TestAFilmInPiecesPlays(t *testing.T) {
	tool, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal("there is no ffmpeg: apt-get install ffmpeg")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	shoot := exec.CommandContext(ctx, tool, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=10:duration=6", "-c:v", "libx264", "-preset", "ultrafast",
		"-pix_fmt", "yuv420p", "-g", "10", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-f", "hls", "film.m3u8")
	shoot.Dir = dir
	if out, err := shoot.CombinedOutput(); err != nil {
		t.Fatalf("make a film: %v: %s", err, out)
	}
	parts := portaltest.New(false).Parts()
	parts.Files = http.StripPrefix("/o/tube/", http.FileServer(http.Dir(dir)))
	var answer struct{ Steps []string }
	run(t, film, map[string]any{"base": serve(t, parts)}, &answer)
	if len(answer.Steps) != 2 {
		t.Errorf("the film has %d steps: %v", len(answer.Steps), answer.Steps)
	}
}
