package demo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/node/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plainBox forwards and keeps nothing but a mark in its folder: enough of a
// box to see that the demonstration needs no particular one.
type plainBox struct {
	ln  net.Listener
	srv *http.Server
	tr  *http.Transport
	lan atomic.Int64
}

func newPlainBox(_ context.Context, listen, upstream, data string, _ *slog.Logger) (demo.Box, error) {
	u, err := url.Parse(upstream)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o750); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(data, "mark"), nil, 0o600); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	b := &plainBox{ln: ln, tr: &http.Transport{MaxConnsPerHost: 50}}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.Transport = b.tr
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	proxy.ModifyResponse = func(r *http.Response) error { b.lan.Add(max(r.ContentLength, 0)); return nil }
	b.srv = &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	return b, nil
}

func (b *plainBox) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- b.srv.Serve(b.ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		err := b.srv.Close()
		<-ended
		b.tr.CloseIdleConnections()
		return err
	}
}

func (b *plainBox) Addr() string { return b.ln.Addr().String() }

func (b *plainBox) Snapshot() demo.Snapshot {
	return demo.Snapshot{LANBytes: b.lan.Load(), BudgetBytes: 1 << 30,
		Sites: []demo.Site{{Name: "library", Up: true}}, Held: []demo.Held{{Path: "/", Type: "text/html"}}}
}

// log is a terminal that can be read while it is written.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type running struct {
	page, box string
	out       *log
	stop      func() error
	client    *http.Client
}

// start runs a demonstration on free ports until the test ends.
func start(t *testing.T, change func(*demo.Config)) *running {
	t.Helper()
	cfg := demo.DefaultConfig()
	cfg.Page, cfg.Box, cfg.Rate, cfg.Delay, cfg.Lang = "127.0.0.1:0", "127.0.0.1:0", 0, 0, "en"
	cfg.NewBox = newPlainBox
	if change != nil {
		change(&cfg)
	}
	r := &running{out: new(log)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- demo.Run(ctx, cfg, r.out) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	tr := new(http.Transport)
	r.client = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	addr := regexp.MustCompile(`(?m)^  (?:Page|Library|Bibliothèque) +(http://[\d.:]+)`)
	await(t, "the welcome", func() bool { return len(addr.FindAllString(r.out.String(), -1)) == 2 })
	m := addr.FindAllStringSubmatch(r.out.String(), -1)
	r.page, r.box = m[0][1], m[1][1]
	return r
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("still waiting for %s", what)
		}
	}
}

// portal is where the box shows its own pages.
func (r *running) portal() string { return strings.Replace(r.box, "127.0.0.1", "preau.localhost", 1) }

func (r *running) get(t *testing.T, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	if req.URL.Hostname() == "preau.localhost" { // as browsers do; a machine's resolver need not know it
		req.URL.Host, req.Host = "127.0.0.1:"+req.URL.Port(), req.URL.Host
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func (r *running) post(t *testing.T, path, form string, fields ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.page+path, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// follow reads the page's events until one is as wanted.
func (r *running) follow(t *testing.T, what string, want func(demo.State) bool) demo.State {
	t.Helper()
	return r.watch(t, time.Minute, what, want)
}

// watch is follow for what takes its time.
func (r *running) watch(t *testing.T, limit time.Duration, what string, want func(demo.State) bool) demo.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.page+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("events are %q", got)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var st demo.State
		if err := json.Unmarshal([]byte(data), &st); err != nil {
			t.Fatal(err)
		}
		if want(st) {
			return st
		}
	}
	t.Fatalf("the events ended before %s: %v", what, lines.Err())
	return demo.State{}
}

func TestThePageSpeaksBothLanguagesAndLoadsNothingFromOutside(t *testing.T) {
	r := start(t, nil)
	for _, tt := range []struct{ path, accept, lang, word string }{
		{"/", "fr-FR,fr;q=0.9", "fr", "Couper la ligne"},
		{"/", "de, en;q=0.5", "en", "Cut the line"},
		{"/", "", "en", "Cut the line"},
		{"/?lang=fr", "en", "fr", "Couper la ligne"},
		{"/?lang=xx", "fr", "fr", "Couper la ligne"},
	} {
		res, body := r.get(t, r.page+tt.path, "Accept-Language", tt.accept)
		if res.StatusCode != 200 || res.Header.Get("Content-Language") != tt.lang || !strings.Contains(body, tt.word) || !strings.Contains(body, `<html lang="`+tt.lang+`"`) {
			t.Errorf("%s for %q: status %d in %q", tt.path, tt.accept, res.StatusCode, res.Header.Get("Content-Language"))
		}
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %q", csp)
		}
		if regexp.MustCompile(`(?i)\sstyle=|\son[a-z]+=|<style|javascript:`).MatchString(body) {
			t.Error("the page has a style or a script of its own in it")
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(body, -1) {
			u := m[1]
			if strings.HasPrefix(u, "#") || strings.HasPrefix(u, r.box+"/") || strings.HasPrefix(u, r.portal()+"/") {
				continue
			}
			if !strings.HasPrefix(u, "/") {
				t.Errorf("the page names %s", u)
				continue
			}
			if res, _ := r.get(t, r.page+u); res.StatusCode != 200 {
				t.Errorf("%s: status %d", u, res.StatusCode)
			}
		}
	}
	if res, _ := r.get(t, r.page+"/page/index.html"); res.StatusCode != 404 {
		t.Error("the template is served as it is")
	}
}

func TestAClassDownloadsAndThePageSeesIt(t *testing.T) {
	r := start(t, nil)
	if code := r.post(t, "/class", "path=/sheets/eau.pdf"); code != http.StatusNoContent {
		t.Fatalf("status %d", code)
	}
	st := r.follow(t, "the class's end", func(st demo.State) bool { return st.Class != nil && !st.Class.Running })
	c := st.Class
	if c.Report.OKCount != 35 || len(c.Devices) != 35 || c.Error != "" || c.Report.WANBytes == nil {
		t.Fatalf("class %+v, report %+v", c, c.Report)
	}
	if *c.Report.WANBytes < 35*c.Report.Size { // this box keeps nothing
		t.Errorf("line %d for 35 times %d", *c.Report.WANBytes, c.Report.Size)
	}
	await(t, "the terminal's line", func() bool { return strings.Contains(r.out.String(), "35 of 35 right") })
	for form, want := range map[string]int{"path=/nowhere": 400, "": 400} {
		if code := r.post(t, "/class", form); code != want {
			t.Errorf("%q: status %d, want %d", form, code, want)
		}
	}
}

func TestOneClassAtATime(t *testing.T) {
	r := start(t, func(c *demo.Config) { c.Rate = 1_000_000 })
	if code := r.post(t, "/class", "path=/packs/lesson-12.bin"); code != http.StatusNoContent {
		t.Fatalf("status %d", code)
	}
	if code := r.post(t, "/class", "path=/sheets/eau.pdf"); code != http.StatusConflict {
		t.Errorf("a second class: status %d", code)
	}
	if code := r.post(t, "/empty", ""); code != http.StatusConflict {
		t.Errorf("emptying under a class: status %d", code)
	}
	if err := r.stop(); err != nil { // in the middle of it
		t.Error(err)
	}
}

func TestTheLineIsCutAndRestored(t *testing.T) {
	r := start(t, nil)
	if res, body := r.get(t, r.box+"/fr/poem"); res.StatusCode != 200 || !strings.Contains(body, "préau") {
		t.Fatalf("status %d", res.StatusCode)
	}
	r.post(t, "/line", "do=refuse")
	st := r.follow(t, "the cut", func(st demo.State) bool { return st.Line.Mode == "refuse" })
	if res, _ := r.get(t, r.box+"/fr/poem"); res.StatusCode != http.StatusBadGateway {
		t.Errorf("with the line %s a box that keeps nothing answers %d", st.Line.Mode, res.StatusCode)
	}
	r.post(t, "/line", "do=heal")
	r.follow(t, "the repair", func(st demo.State) bool { return st.Line.Mode == "up" })
	if res, _ := r.get(t, r.box+"/fr/poem"); res.StatusCode != 200 {
		t.Errorf("after the repair: %d", res.StatusCode)
	}
	r.post(t, "/line", "do=rate&rate=8000000")
	r.follow(t, "the rate", func(st demo.State) bool { return st.Line.Rate == 8_000_000 })
	r.post(t, "/line", "do=silent")
	r.follow(t, "the second cut", func(st demo.State) bool { return st.Line.Mode == "silent" })
	for _, bad := range []string{"do=rate&rate=1", "do=rate&rate=x", "do=dance", ""} {
		if code := r.post(t, "/line", bad); code != http.StatusBadRequest {
			t.Errorf("%q: status %d", bad, code)
		}
	}
	for _, want := range []string{"connections are refused", "restored", "8.0 Mbit/s", "bytes vanish"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("the terminal does not say %q:\n%s", want, r.out)
		}
	}
}

func TestOtherSitesCannotPressTheButtons(t *testing.T) {
	r := start(t, nil)
	for _, path := range []string{"/line", "/class", "/empty"} {
		if code := r.post(t, path, "do=silent", "Sec-Fetch-Site", "cross-site"); code != http.StatusForbidden {
			t.Errorf("%s from another site: status %d", path, code)
		}
	}
	if code := r.post(t, "/line", "do=heal&lang=fr", "Accept", "text/html"); code != http.StatusSeeOther {
		t.Errorf("a browser without scripts gets status %d, want the page again", code)
	}
}

func TestEmptyingPutsANewBoxOnTheSameAddress(t *testing.T) {
	data := t.TempDir()
	r := start(t, func(c *demo.Config) { c.Data = data })
	r.get(t, r.box+"/sheets/eau.pdf")
	before := r.follow(t, "bytes", func(st demo.State) bool { return st.Box.LANBytes > 0 })
	for n := 1; n <= 2; n++ {
		if code := r.post(t, "/empty", ""); code != http.StatusNoContent {
			t.Fatalf("status %d", code)
		}
		left, err := filepath.Glob(filepath.Join(data, "*", "mark"))
		if err != nil || len(left) != 1 || left[0] != filepath.Join(data, fmt.Sprintf("box-%d", n), "mark") {
			t.Errorf("folders %v, %v", left, err)
		}
	}
	st := r.follow(t, "the new box", func(st demo.State) bool { return st.Emptied == 2 })
	if st.Box.LANBytes < before.Box.LANBytes {
		t.Errorf("delivered bytes went from %d to %d", before.Box.LANBytes, st.Box.LANBytes)
	}
	r.client.CloseIdleConnections()
	if res, _ := r.get(t, r.box+"/"); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r := start(t, func(c *demo.Config) { c.Lang = "fr" })
	if list, err := os.ReadDir(tmp); err != nil || len(list) != 1 {
		t.Fatalf("%v %v, want one folder while it runs", list, err)
	}
	r.follow(t, "a first event", func(demo.State) bool { return true })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(tmp); err != nil || len(list) != 0 {
		t.Errorf("%v %v are left", list, err)
	}
	if !strings.Contains(r.out.String(), "Au revoir") {
		t.Errorf("no goodbye:\n%s", r.out)
	}
	for _, u := range []string{r.page, r.box} {
		if c, err := net.Dial("tcp", strings.TrimPrefix(u, "http://")); err == nil {
			c.Close()
			t.Errorf("%s still listens", u)
		}
	}
}

func TestATakenPortIsSaidAndAnotherUsed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := start(t, func(c *demo.Config) { c.Page, c.Box = ln.Addr().String(), ln.Addr().String() })
	if strings.Count(r.out.String(), ln.Addr().String()+" is taken") != 2 {
		t.Errorf("said:\n%s", r.out)
	}
	if res, _ := r.get(t, r.page); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestABoxThatFailsEndsTheDemonstration(t *testing.T) {
	broken := errors.New("no such disk")
	cfg := demo.DefaultConfig()
	cfg.Page, cfg.Box, cfg.Data = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.NewBox = func(context.Context, string, string, string, *slog.Logger) (demo.Box, error) { return nil, broken }
	if err := demo.Run(t.Context(), cfg, io.Discard); !errors.Is(err, broken) {
		t.Errorf("a box that cannot be made: %v", err)
	}
	cfg.NewBox = func(ctx context.Context, listen, up, data string, log *slog.Logger) (demo.Box, error) {
		b, err := newPlainBox(ctx, listen, up, data, log)
		if err != nil {
			return nil, err
		}
		return failing{b, broken}, nil
	}
	if err := demo.Run(t.Context(), cfg, io.Discard); !errors.Is(err, broken) {
		t.Errorf("a box that fails: %v", err)
	}
}

type failing struct {
	demo.Box
	err error
}

func (f failing) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	stop()
	return errors.Join(f.err, f.Box.Run(ctx))
}

func TestNonsenseIsRefused(t *testing.T) {
	for want, change := range map[string]func(*demo.Config){
		"page address": func(c *demo.Config) { c.Page = "8080" },
		"this machine": func(c *demo.Config) { c.Box = "0.0.0.0:8081" },
		"no box":       func(c *demo.Config) { c.NewBox = nil },
		"bit/s":        func(c *demo.Config) { c.Rate = -1 },
		"language":     func(c *demo.Config) { c.Lang = "de" },
	} {
		cfg := demo.DefaultConfig()
		cfg.NewBox, cfg.Lang = newPlainBox, "en"
		change(&cfg)
		if err := demo.Run(t.Context(), cfg, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something about %q", err, want)
		}
	}
}

func TestTheTerminalsLanguage(t *testing.T) {
	for env, want := range map[string]string{"LANG=fr_FR.UTF-8": "fr", "LANG=en_GB": "en", "LANG=de": "en", "LC_ALL=fr": "fr", "": "en"} {
		name, value, _ := strings.Cut(env, "=")
		got := demo.Lang(func(k string) string {
			if k == name {
				return value
			}
			return ""
		})
		if got != want {
			t.Errorf("%q: %s, want %s", env, got, want)
		}
	}
}
