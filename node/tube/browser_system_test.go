//go:build system

package tube_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"preau/cache/profile/platformtest"
	"preau/node/wanline"
	"preau/node/webtest"
)

const (
	filmSeconds = 72
	inBrowser   = 3 // of the class; the others are players of our own
)

// needs fails unless a tool is there.
func needs(t *testing.T, tool, pack string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", tool, pack)
	}
	return path
}

// realFilm is one that ffmpeg makes: H.264 and AAC in a fragmented MP4, with a
// constant rate, as PeerTube has its renditions.
func realFilm(t *testing.T) (data []byte, starts []int) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	length := strconv.Itoa(filmSeconds)
	cmd := exec.CommandContext(ctx, needs(t, "ffmpeg", "ffmpeg"), "-loglevel", "error",
		"-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration="+length, "-f", "lavfi", "-i", "sine=frequency=330:sample_rate=44100:duration="+length,
		"-c:v", "libx264", "-profile:v", "main", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-b:v", "560k", "-minrate", "560k", "-maxrate", "560k", "-bufsize", "560k",
		"-x264-params", "nal-hrd=cbr", "-g", "40", "-keyint_min", "40", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k",
		"-f", "hls", "-hls_time", "4", "-hls_segment_type", "fmp4", "-hls_flags", "single_file", "-hls_playlist_type", "vod", "film.m3u8")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	list, err := os.ReadFile(filepath.Join(dir, "film.m3u8"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#EXT-X-BYTERANGE:(\d+)@(\d+)$`).FindAllSubmatch(list, -1) {
		n, err1 := strconv.Atoi(string(m[1]))
		from, err2 := strconv.Atoi(string(m[2]))
		if err1 != nil || err2 != nil || len(starts) > 0 && starts[len(starts)-1] != from {
			t.Fatalf("ffmpeg's playlist has %s", m[0])
		}
		if len(starts) == 0 {
			starts = append(starts, from)
		}
		starts = append(starts, from+n)
	}
	if data, err = os.ReadFile(filepath.Join(dir, "film.m4s")); err != nil {
		t.Fatal(err)
	}
	if len(starts) != filmSeconds/4+1 || starts[len(starts)-1] != len(data) {
		t.Fatalf("%d fragments up to byte %d of %d", len(starts)-1, starts[len(starts)-1], len(data))
	}
	return data, starts
}

// box is the program, before a site that it reaches by a slow line.
type box struct {
	t                  *testing.T
	dir, listen, admin string
	log                buffer
	cmd                *exec.Cmd
	ended              chan error
	http               *http.Client
}

func startBox(t *testing.T, upstream, more string) *box {
	t.Helper()
	b := &box{t: t, dir: t.TempDir(), listen: freeAddress(t), admin: freeAddress(t), ended: make(chan error, 1)}
	program := os.Getenv("PREAU_TEST_BINARY")
	if program == "" {
		program = filepath.Join(t.TempDir(), "preau")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "preau/cmd/preau").CombinedOutput(); err != nil {
			t.Fatalf("build the program: %v\n%s", err, out)
		}
	}
	config := filepath.Join(t.TempDir(), "box.toml")
	text := fmt.Sprintf("data = %q\nbudget = \"256MiB\"\n[log]\nlevel = \"debug\"\n[admin]\nlisten = %q\n[neighbours]\nenabled = false\n[[listen]]\naddress = %q\n"+
		"[[site]]\nname = \"tube\"\nupstream = %q\nhosts = []\nprofile = \"peertube\"\n%s\n", b.dir, b.admin, b.listen, upstream, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.CommandContext(context.Background(), program, "box", "--config", config) // stop ends it
	b.cmd.Stdout, b.cmd.Stderr = &b.log, &b.log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { b.ended <- b.cmd.Wait() }()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: pupils}
	b.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(b.stop)
	t.Cleanup(transport.CloseIdleConnections)
	for end := time.Now().Add(time.Minute); ; rest(50 * time.Millisecond) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.listen)
		if err == nil {
			_ = c.Close() // it listens
			return b
		}
		select {
		case err := <-b.ended:
			b.ended <- err
			t.Fatalf("the box ended: %v\n%s", err, b.log.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("the box does not listen:\n%s", b.log.String())
		}
	}
}

func (b *box) stop() {
	if b.cmd == nil {
		return
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil && b.cmd.ProcessState == nil {
		b.t.Error(err)
	}
	if err := <-b.ended; err != nil {
		b.t.Errorf("the box: %v\n%s", err, b.log.String())
	}
	b.cmd = nil
}

// get asks the box as a device does.
func (b *box) get(target string, header ...string) *answer {
	a := &answer{header: http.Header{}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.listen+"/o/tube"+target, http.NoBody)
	if err != nil {
		b.t.Error(err)
		return a
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	if err != nil {
		a.broken = true
		return a
	}
	defer func() { _ = resp.Body.Close() }() // read whole
	a.status, a.header = resp.StatusCode, resp.Header
	if _, err := io.Copy(&a.body, resp.Body); err != nil {
		a.broken = true
	}
	return a
}

func (b *box) told(path string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.admin+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read whole
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %d, %v", path, resp.StatusCode, err)
	}
	return string(text)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // it was only asked for its number
	return ln.Addr().String()
}

// stage is a platform with a real film, behind a line of so many times the film's
// rate; 0 is for no bound.
type stage struct {
	tube *platformtest.PeerTube
	film *film
	line *wanline.Line
}

func newStage(t *testing.T, faster float64, delay time.Duration) *stage {
	t.Helper()
	st := &stage{tube: platformtest.NewPeerTube(true)}
	data, starts := realFilm(t)
	id := st.tube.UUID("public")
	st.film = &film{
		folder: "/static/streaming-playlists/hls/" + id + "/", name: st.tube.Files(id) + "-480-fragmented.mp4", data: data, starts: starts, each: 4 * time.Second,
	}
	st.film.master, st.film.list = st.film.folder+st.tube.Files(id)+"-master.m3u8", st.film.folder+st.tube.Files(id)+"-480.m3u8"
	st.tube.Add(platformtest.Video{UUID: id, Heights: []int{480, 720}, Captions: []string{"fr"}, Data: func(string) ([]byte, []int) { return data, starts }})
	srv := httptest.NewServer(st.tube)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	rate := int64(float64(len(data)*8) / filmSeconds * faster)
	if st.line, err = wanline.New(wanline.Config{Listen: "127.0.0.1:0", Target: u.Host, BitsPerSecond: rate, Delay: delay, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- st.line.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return st
}

// A class of 35 watches a film, some of it in Chromium with hls.js, and everybody
// goes back to what they missed. The class mode is on: all get one rendition.
func TestAClassWatchesInABrowser(t *testing.T) {
	chromium, modules := webtest.Chromium(t), webtest.Modules(t, webtest.Playwright, webtest.HLS)
	st := newStage(t, 1.3, 15*time.Millisecond)
	b := startBox(t, "http://"+st.line.Addr(), `rendition = "480p"`)
	pages := http.NewServeMux()
	pages.HandleFunc("GET /play.html", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("testdata", "play.html"))
	})
	pages.HandleFunc("GET /hls.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(modules, "hls.js", "dist", "hls.min.js"))
	})
	front := httptest.NewServer(pages)
	t.Cleanup(front.Close)

	c := &class{t: t, get: b.get, f: st.film}
	var all sync.WaitGroup
	for i := inBrowser; i < pupils; i++ {
		p := &player{c: c, name: i, dice: rand.New(rand.NewPCG(uint64(i), 3)), where: func(p *player) time.Duration {
			return time.Duration(p.dice.Int64N(int64(p.c.reach()) + 1))
		}}
		all.Go(func() {
			rest(time.Duration(i) * 100 * time.Millisecond)
			p.watch(st.film.length()+10*time.Second, 4)
		})
	}
	addresses := make([]string, inBrowser)
	for i := range addresses {
		q := url.Values{"film": {"http://" + b.listen + "/o/tube" + st.film.master}, "seeks": {[]string{"25:0.1,50:0.6", "30:0.5", "20:0.8,40:0,60:0.9"}[i]}}
		addresses[i] = front.URL + "/play.html?" + q.Encode()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var said []struct {
		Stalls, Errors []string
		Seeks, Height  int
		WasSettled     bool
		Ended          bool
		At, Length     float64
	}
	job := map[string]any{"modules": modules, "chromium": chromium, "scratch": t.TempDir(), "pages": addresses, "patience": 6 * 60_000}
	besides, err := webtest.Script(ctx, filepath.Join("testdata", "play.mjs"), job, &said)
	all.Wait()
	if err != nil || len(said) != inBrowser {
		t.Fatalf("%d pages: %v", len(said), err)
	}
	for i, page := range said {
		t.Logf("page %d: %d seeks, at %.1f of %.1f seconds, %d stalls, errors %q", i, page.Seeks, page.At, page.Length, len(page.Stalls), page.Errors)
		if !page.Ended || !page.WasSettled || page.Seeks == 0 || page.Height != 180 {
			t.Errorf("page %d did not play the film: %+v\n%s", i, page, besides)
		}
		for _, stall := range page.Stalls {
			t.Errorf("page %d stalled %s", i, stall)
		}
	}
	if len(c.stalls) > 0 {
		t.Errorf("stalls:\n%s", strings.Join(c.stalls, "\n"))
	}
	share := float64(st.line.Received()) / float64(len(st.film.data))
	t.Logf("the line of %d kbit/s carried %.4f of the film for %d pages and %d players with %d seeks", st.line.Rate()/1000, share, inBrowser, pupils-inBrowser, c.seeks)
	if share > 1.02 {
		t.Errorf("the line carried %.4f of the film", share)
	}
	for _, e := range st.tube.Requests() {
		if strings.Contains(e.Path, "-720") {
			t.Errorf("the site was asked for %s, of a rendition that nobody is offered", e.Path)
		}
	}
	if m := b.told("/metrics"); !strings.Contains(m, `preau_edge_fragments_total{result="verified",site="tube"} `+strconv.Itoa(filmSeconds/4)+"\n") {
		t.Error("not each fragment was verified once")
	}
}

// What opens a private video is in nothing that a box leaves or tells.
func TestABoxKeepsNoTokens(t *testing.T) {
	st := newStage(t, 0, 0)
	b := startBox(t, "http://"+st.line.Addr(), "")
	s := &school{t: t, tube: st.tube}
	served := 0
	for _, user := range []string{platformtest.Ann, platformtest.Bob} {
		for _, place := range st.tube.Places(user) {
			for _, way := range st.tube.Ways(user) {
				sep := "?"
				if strings.Contains(place, "?") {
					sep = "&"
				}
				if way.Query == "" {
					sep = ""
				}
				var header []string
				for name, values := range way.Header {
					header = append(header, name, values[0])
				}
				if a := b.get(place+sep+way.Query, header...); strings.Contains(place, "/private/") && a.status == http.StatusOK {
					served++
				}
			}
		}
	}
	if served < 10 {
		t.Fatalf("only %d answers were of private videos", served)
	}
	told := b.told("/metrics") + b.told("/status")
	b.stop()
	look := func(where string, text []byte) {
		for _, secret := range append(opens(s), st.tube.UUID("private"), st.tube.Files(st.tube.UUID("private")), "videoFileToken=") {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds %q", where, secret)
			}
		}
	}
	look("what the box tells", []byte(told))
	look("the log", []byte(b.log.String()))
	files(t, b.dir, look)
	for _, id := range []string{st.tube.UUID("unlisted"), st.tube.Files(st.tube.UUID("unlisted"))} {
		if strings.Contains(told+b.log.String(), id) {
			t.Errorf("an unlisted video is told of: %s", id)
		}
	}
}
