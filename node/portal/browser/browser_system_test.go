//go:build system && linux

package browser_test

import (
	"context"
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

// look has all pages judged, in both languages.
func look(t *testing.T, base string, pages []shown) {
	t.Helper()
	var answer struct{ Judged, Wrong []string }
	node(t, "drive.mjs", map[string]any{"base": base, "pages": pages, "langs": []string{"fr", "en"}}, &answer)
	if want := len(pages) * 2; len(answer.Judged) != want {
		t.Errorf("%d pages were judged, want %d", len(answer.Judged), want)
	}
	for _, what := range answer.Wrong {
		t.Error(what)
	}
}

func TestPupilsPagesCanBeUsedByAll(t *testing.T) {
	t.Parallel()
	base := serve(t, portaltest.New(false).Parts())
	look(t, base, []shown{
		{"/", "home"}, {"/c/", "collections"}, {"/c/Sciences%20de%20la%20vie%20et%20de%20la%20Terre", "collection"},
		{"/find?q=volcan", "find"}, {"/find?q=zzz", "find-nothing"}, {"/find", "find-start"},
		{"/see/r/res-000", "see-pdf"}, {"/see/r/res-001", "see-video"}, {"/see/r/res-004", "see-picture"}, {"/see/r/res-005", "see-away"},
		{"/see/r/res-013", "see-text"}, {"/see/r/res-017", "see-audio"}, {"/see/d/dep-001", "see-deposit"},
		{"/l/KMRTA", "lesson"}, {"/l/", "code"}, {"/l/ZZZZZ", "code-wrong"}, {"/sites", "sites"}, {"/nowhere", "lost"},
	})
}

func TestPagesOfAnEmptyBoxAndACutLine(t *testing.T) {
	t.Parallel()
	w := portaltest.New(true)
	w.Cut(time.Now().Add(-2 * time.Hour))
	look(t, serve(t, w.Parts()), []shown{{"/", "empty-home"}, {"/c/", "empty-collections"}, {"/sites", "empty-sites"}})
	w = portaltest.New(false)
	w.Cut(time.Now().Add(-time.Minute))
	look(t, serve(t, w.Parts()), []shown{{"/", "cut-home"}, {"/see/r/res-005", "cut-see"}, {"/l/KMRTA", "cut-lesson"}})
}

func TestAPupilsStory(t *testing.T) {
	t.Parallel()
	w := portaltest.New(false)
	base := serve(t, w.Parts())
	control := httptest.NewServer(portaltest.Control(w))
	defer control.Close()
	var answer struct{ Steps []string }
	node(t, "story.mjs", map[string]any{"base": base, "control": control.URL}, &answer)
	if len(answer.Steps) < 8 {
		t.Errorf("the story has %d steps only: %s", len(answer.Steps), fmt.Sprint(answer.Steps))
	}
}

// A film in pieces plays under the page's policy, in a browser that has to be
// helped, and what can't be played says so.
func TestAFilmInPiecesPlays(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal("there is no ffmpeg: apt-get install ffmpeg")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	film := []string{
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-f", "hls",
	}
	picture, sound := []string{"-f", "lavfi", "-i", "testsrc=size=320x180:rate=10:duration=6"}, []string{"-f", "lavfi", "-i", "sine=frequency=330:duration=6"}
	for _, args := range [][]string{
		slices.Concat(picture, film, []string{"film.m3u8"}),
		// As a PeerTube of today keeps films: one sound for all sizes of the picture, in
		// a playlist of its own.
		slices.Concat(picture, sound, []string{"-map", "0:v", "-map", "1:a", "-c:a", "aac"}, film, []string{
			"-hls_fmp4_init_filename", "apart-%v-init.mp4", "-hls_segment_filename", "apart-%v-%d.m4s", "-master_pl_name", "apart.m3u8",
			"-var_stream_map", "v:0,agroup:sound a:0,agroup:sound,default:yes", "apart-%v.m3u8",
		}),
	} {
		shoot := exec.CommandContext(ctx, tool, append([]string{"-loglevel", "error"}, args...)...)
		shoot.Dir = dir
		if out, err := shoot.CombinedOutput(); err != nil {
			t.Fatalf("make a film: %v: %s", err, out)
		}
	}
	if list, err := os.ReadFile(filepath.Join(dir, "apart.m3u8")); err != nil || !strings.Contains(string(list), "#EXT-X-MEDIA:TYPE=AUDIO") {
		t.Fatalf("the film has no sound of its own: %v\n%s", err, list)
	}
	parts := portaltest.New(false).Parts()
	parts.Files = http.StripPrefix("/o/tube/", http.FileServer(http.Dir(dir)))
	var answer struct{ Steps []string }
	node(t, "film.mjs", map[string]any{"base": serve(t, parts)}, &answer)
	if len(answer.Steps) != 3 {
		t.Errorf("the film has %d steps: %v", len(answer.Steps), answer.Steps)
	}
}
