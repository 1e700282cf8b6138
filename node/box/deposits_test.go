package box

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/config"
	"preau/replication/outbox"
)

// school is a folder of deposits behind a door and behind an admin face.
type school struct {
	*deposits
	door, admin *httptest.Server
	token       string
	t           *testing.T
}

func openSchool(t *testing.T, data string, cfg Deposits) *school {
	t.Helper()
	d := newDeposits(cfg, data, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	s := &school{deposits: d, t: t, door: httptest.NewServer(d.handler(false)), admin: httptest.NewServer(d.handler(true))}
	raw, err := os.ReadFile(filepath.Join(data, "deposits", "token"))
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(raw))
	t.Cleanup(s.close)
	return s
}

func (s *school) close() {
	s.t.Helper()
	if err := s.deposits.close(); err != nil { // first, as requests may be waiting
		s.t.Error(err)
	}
	s.door.Close()
	s.admin.Close()
}

var usualDeposits = Deposits{Enabled: true, Budget: 256 * config.MiB}

type got struct {
	status int
	header http.Header
	body   []byte
}

func (s *school) do(req *http.Request, err error) got {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header, body}
}

func (s *school) get(path string, fields ...string) got {
	s.t.Helper()
	return s.ask(http.MethodGet, path, nil, fields...)
}

// ask makes a request at the door, with fields as name and value in turn.
func (s *school) ask(method, path string, body io.Reader, fields ...string) got {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.door.URL+path, body)
	for i := 0; err == nil && i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return s.do(req, err)
}

func (s *school) put(path string, content []byte, fields ...string) listedDeposit {
	s.t.Helper()
	a := s.ask(http.MethodPut, path, bytes.NewReader(content), append(fields, "Authorization", "Bearer "+s.token)...)
	if a.status != http.StatusCreated {
		s.t.Fatalf("PUT %s: %d %s", path, a.status, a.body)
	}
	d := s.read(a)
	if at := a.header.Get("Location"); at != d.Path {
		s.t.Errorf("Location %q, path %q", at, d.Path)
	}
	return d
}

func (s *school) read(a got) listedDeposit {
	s.t.Helper()
	var d listedDeposit
	var plain struct {
		SHA256 string `json:"sha256"`
		ID     string `json:"id"`
	}
	var known map[string]any
	if err := json.Unmarshal(a.body, &known); err != nil {
		s.t.Fatalf("%v: %s", err, a.body)
	}
	if err := json.Unmarshal(a.body, &plain); err != nil {
		s.t.Fatal(err)
	}
	text := func(key string) string { v, _ := known[key].(string); return v }
	d.ID, d.Path, d.Filename, d.Title = plain.ID, text("path"), text("filename"), text("title")
	d.Description, d.Collection, d.ContentType = text("description"), text("collection"), text("content_type")
	d.State, d.Waiting = outbox.State(text("state")), text("waiting")
	d.Bucket, d.Key = text("bucket"), text("key")
	if raw, err := hex.DecodeString(plain.SHA256); err == nil {
		copy(d.SHA256[:], raw)
	}
	return d
}

func (s *school) listed() int {
	s.t.Helper()
	var l struct {
		Deposits []json.RawMessage `json:"deposits"`
	}
	a := s.get("/d/")
	if err := json.Unmarshal(a.body, &l); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("%d %v: %s", a.status, err, a.body)
	}
	return len(l.Deposits)
}

func noiseOf(n int, seed uint64) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

func TestADepositIsThereAtOnceAndAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := openSchool(t, dir, usualDeposits)
	s.why = func() string { return "no line" }
	content := noiseOf(3<<20+17, 1)
	d := s.put("/d/L%27%C3%A9t%C3%A9%20%C3%A0%20la%20mer.pdf", content,
		"Preau-Title", "UTF-8''L%27%C3%A9t%C3%A9", "Preau-Description", "100 % vrai", "Preau-Collection", "g%C3%A9o")
	if d.Filename != "L'été à la mer.pdf" || d.Title != "L'été" || d.Description != "100 % vrai" || d.Collection != "géo" || d.ContentType != "application/pdf" {
		t.Errorf("%+v", d)
	}
	if d.State != outbox.OnBox || d.Waiting != "no line" || d.SHA256 != sha256.Sum256(content) {
		t.Errorf("%+v", d)
	}
	empty := s.put("/d/rien.txt?title=Vide", nil)
	if empty.Title != "Vide" {
		t.Errorf("title %q", empty.Title)
	}
	for range 2 {
		a := s.get(d.Path)
		if a.status != http.StatusOK || !bytes.Equal(a.body, content) {
			t.Fatalf("%d, %d bytes", a.status, len(a.body))
		}
		etag := `"` + d.SHA256.String() + `"`
		if a.header.Get("Etag") != etag || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("fields %v", a.header)
		}
		if got := a.header.Get("Content-Disposition"); got != `inline; filename="L'_t_ _ la mer.pdf"; filename*=UTF-8''L%27%C3%A9t%C3%A9%20%C3%A0%20la%20mer.pdf` {
			t.Errorf("disposition %s", got)
		}
		a = s.get(d.Path, "Range", "bytes=1048570-1048590", "If-Range", etag)
		if a.status != http.StatusPartialContent || !bytes.Equal(a.body, content[1048570:1048591]) {
			t.Errorf("range: %d, %d bytes", a.status, len(a.body))
		}
		if a = s.get(d.Path, "Range", "bytes=99999999-"); a.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("beyond the end: %d", a.status)
		}
		if a = s.get(d.Path, "If-None-Match", etag); a.status != http.StatusNotModified {
			t.Errorf("not modified: %d", a.status)
		}
		if a = s.ask(http.MethodHead, d.Path, nil); a.status != http.StatusOK || a.header.Get("Content-Length") != fmt.Sprint(len(content)) {
			t.Errorf("HEAD: %d %v", a.status, a.header)
		}
		if a = s.get(empty.Path); a.status != http.StatusOK || len(a.body) != 0 {
			t.Errorf("empty: %d %q", a.status, a.body)
		}
		if a = s.get("/d/" + d.ID + "/other.pdf"); a.status != http.StatusFound || a.header.Get("Location") != d.Path {
			t.Errorf("another name: %d %v", a.status, a.header)
		}
		if n := s.listed(); n != 2 {
			t.Errorf("%d are listed", n)
		}
		s.close()
		token := s.token
		if s = openSchool(t, dir, usualDeposits); s.token != token {
			t.Error("a restart has changed the token")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "deposits", "token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token: %v %v", info.Mode(), err)
	}
}

func TestOnlyThoseWithTheTokenAdd(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	for name, fields := range map[string][]string{
		"nothing":     nil,
		"wrong token": {"Authorization", "Bearer " + s.token + "x"},
		"empty":       {"Authorization", "Bearer "},
		"other kind":  {"Authorization", "Basic " + s.token},
		"of a page":   {"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"},
	} {
		a := s.ask(http.MethodPut, "/d/a.txt", strings.NewReader("a"), append(fields, "Accept-Language", "en")...)
		if a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" || !strings.Contains(string(a.body), "deposits/token") {
			t.Errorf("%s: PUT %d %s", name, a.status, a.body)
		}
		a = s.ask(http.MethodPost, "/d/", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\na\r\n--x--\r\n"),
			append(fields, "Content-Type", "multipart/form-data; boundary=x")...)
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s: POST %d %s", name, a.status, a.body)
		}
	}
	if n := s.listed(); n != 0 {
		t.Errorf("%d were kept", n)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.admin.URL+"/d/a.txt", strings.NewReader("a"))
	if a := s.do(req, err); a.status != http.StatusCreated {
		t.Errorf("admin: %d %s", a.status, a.body)
	}
	off := openSchool(t, t.TempDir(), Deposits{Budget: 256 * config.MiB})
	if a := off.ask(http.MethodPut, "/d/a", strings.NewReader("a"), "Authorization", "Bearer "+off.token); a.status != http.StatusForbidden {
		t.Errorf("turned off: %d %s", a.status, a.body)
	}
}

func TestAForm(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	content := noiseOf(1<<20+5, 2)
	send := func(fill func(w *multipart.Writer)) got {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		fill(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return s.ask(http.MethodPost, "/d/", &b, "Content-Type", w.FormDataContentType(), "Authorization", "Bearer "+s.token)
	}
	a := send(func(w *multipart.Writer) {
		_ = w.WriteField("title", "Été")
		_ = w.WriteField("collection", "cours")
		f, _ := w.CreateFormFile("file", "élève.bin")
		_, _ = f.Write(content)
	})
	d := s.read(a)
	if a.status != http.StatusCreated || d.Filename != "élève.bin" || d.Title != "Été" || d.Collection != "cours" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := s.get(d.Path); !bytes.Equal(a.body, content) {
		t.Error("other bytes")
	}
	if a := send(func(w *multipart.Writer) { _ = w.WriteField("title", "no file") }); a.status != http.StatusBadRequest {
		t.Errorf("no file: %d", a.status)
	}
	if a := send(func(w *multipart.Writer) { _ = w.WriteField("title", strings.Repeat("x", maxField+1)) }); a.status != http.StatusBadRequest {
		t.Errorf("long field: %d", a.status)
	}
	whole := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut\"\r\n\r\nabc"
	a = s.ask(http.MethodPost, "/d/", strings.NewReader(whole), "Content-Type", "multipart/form-data; boundary=x", "Authorization", "Bearer "+s.token)
	if a.status == http.StatusCreated || s.listed() != 1 {
		t.Errorf("a form that was cut is kept: %d %s", a.status, a.body)
	}
}

func TestWhatCantBeAdded(t *testing.T) {
	s := openSchool(t, t.TempDir(), Deposits{Enabled: true, Budget: 64 * config.MiB})
	token := []string{"Authorization", "Bearer " + s.token, "Accept-Language", "fr"}
	for name, tt := range map[string]struct {
		method, path string
		fields       []string
		size         int64
		want         int
	}{
		"folder":          {"PUT", "/d/a%2Fb", nil, 1, 400},
		"path":            {"PUT", "/d/a/b", nil, 1, 400},
		"dots":            {"PUT", "/d/%2E%2E", nil, 1, 400},
		"not UTF-8":       {"PUT", "/d/%FF", nil, 1, 400},
		"control":         {"PUT", "/d/a%0Ab", nil, 1, 400},
		"part":            {"PUT", "/d/a", []string{"Content-Range", "bytes 0-0/5"}, 1, 400},
		"encoded":         {"PUT", "/d/a", []string{"Content-Encoding", "gzip"}, 1, 415},
		"bad title":       {"PUT", "/d/a?title=%FF", nil, 1, 400},
		"too large":       {"PUT", "/d/a", nil, outbox.MaxSize + 1, 413},
		"beyond budget":   {"PUT", "/d/a", nil, 65 << 20, 507},
		"no such method":  {"DELETE", "/d/a", nil, 0, 405},
		"form to nowhere": {"POST", "/d/", nil, 1, 400},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, s.door.URL+tt.path, io.LimitReader(zeros{}, tt.size))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = tt.size
			req.Header.Set("Expect", "100-continue") // nothing large crosses
			fields := append(token, tt.fields...)
			for i := 0; i < len(fields); i += 2 {
				req.Header.Set(fields[i], fields[i+1])
			}
			client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var f struct{ Code, Detail string }
			if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Code == "" || f.Detail == "" {
				t.Errorf("%v: %+v", err, f)
			}
			if resp.StatusCode != tt.want {
				t.Errorf("%d %+v, want %d", resp.StatusCode, f, tt.want)
			}
		})
	}
	if n := s.listed(); n != 0 {
		t.Errorf("%d were kept", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What comes in short, or stands still, was never there.
func TestACutUploadIsNotSeen(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	s.stall = 100 * time.Millisecond
	for name, head := range map[string]string{
		"length":  "PUT /d/a.txt HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer " + s.token + "\r\nContent-Length: 3000000\r\n\r\nabc",
		"chunked": "PUT /d/b.txt HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer " + s.token + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		for _, closes := range []bool{true, false} {
			conn, err := net.Dial("tcp", s.door.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			if closes {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			switch {
			case err != nil && !closes:
				t.Errorf("%s: no answer to an upload that stands still: %v", name, err)
			case err == nil && resp.StatusCode != http.StatusRequestTimeout:
				t.Errorf("%s, closes %v: %d", name, closes, resp.StatusCode)
			}
			_ = conn.Close()
		}
	}
	if n := s.listed(); n != 0 {
		t.Errorf("%d are listed", n)
	}
}

func TestWhatWasAddedDoesNotRunAsTheBox(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	for kind, want := range map[string]string{
		"text/html": "sandbox", "image/svg+xml": "sandbox", "application/xhtml+xml": "sandbox", "text/xsl": "sandbox",
		"text/javascript": "sandbox", "image/png": "", "application/pdf": "", "video/mp4": "",
	} {
		d := s.put("/d/f", []byte("<script>"), "Content-Type", kind)
		a := s.get(d.Path)
		if got := a.header.Get("Content-Security-Policy"); got != want || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: policy %q, want %q", kind, got, want)
		}
	}
	s.put("/d/%3Cscript%3E.html", []byte("x"), "Preau-Title", "<script>alert(1)</script>")
	a := s.get("/d/", "Accept", "text/html", "Accept-Language", "fr")
	if a.status != 200 || bytes.Contains(a.body, []byte("<script>")) || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if !bytes.Contains(a.body, []byte("Fichiers déposés")) || !bytes.Contains(a.body, []byte(`lang="fr"`)) {
		t.Errorf("not in French: %s", a.body)
	}
	if a = s.get("/d/", "Accept", "text/html", "Accept-Language", "en-GB"); !bytes.Contains(a.body, []byte("Files added in this school")) {
		t.Errorf("not in English: %s", a.body)
	}
}

func TestWaitingForNews(t *testing.T) {
	s := openSchool(t, t.TempDir(), usualDeposits)
	d := s.put("/d/a.txt", []byte("a"))
	box := s.opened.Load()
	if a := s.read(s.get("/d/" + d.ID + "?wait=1ms")); a.State != outbox.OnBox {
		t.Errorf("state %s", a.State)
	}
	news := make(chan got, 1)
	go func() { news <- s.get("/d/" + d.ID + "?wait=1m&state=box") }()
	if err := box.Learn(d.ID, outbox.InCentral, "bucket", "school/a.txt", "etag", ""); err != nil {
		t.Fatal(err)
	}
	if a := s.read(<-news); a.State != outbox.InCentral || a.Bucket != "bucket" || a.Key != "school/a.txt" {
		t.Errorf("%+v", a)
	}
	if a := s.get("/d/d-none"); a.status != http.StatusNotFound {
		t.Errorf("unknown: %d", a.status)
	}
	if a := s.get("/d/" + d.ID + "?wait=soon"); a.status != http.StatusBadRequest {
		t.Errorf("bad time: %d", a.status)
	}
}

// What the centre keeps makes room for what it does not.
func TestRoomIsMade(t *testing.T) {
	s := openSchool(t, t.TempDir(), Deposits{Enabled: true, Budget: 64 * config.MiB})
	box := s.opened.Load()
	first := s.put("/d/first", noiseOf(40<<20, 3))
	token := []string{"Authorization", "Bearer " + s.token}
	second := noiseOf(40<<20, 4)
	if a := s.ask(http.MethodPut, "/d/second", bytes.NewReader(second), append(token, "Expect", "100-continue")...); a.status != http.StatusInsufficientStorage {
		t.Fatalf("%d %s: the only copy of the first must stay", a.status, a.body)
	}
	if err := box.Learn(first.ID, outbox.InCentral, "b", "k", "", ""); err != nil {
		t.Fatal(err)
	}
	d := s.put("/d/second", second)
	if a := s.get(d.Path); !bytes.Equal(a.body, second) {
		t.Error("other bytes")
	}
	if a := s.get(first.Path); a.status != http.StatusGone {
		t.Errorf("what was given up: %d", a.status)
	}
}

// A folder that can't be opened is a reason, not an end.
func TestADamagedFolderKeepsNobodyFromServing(t *testing.T) {
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "deposits"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "deposits", "blocks"), []byte("no folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	box := begin(t, Config{
		Data: data, Budget: 64 * config.MiB, Log: DefaultConfig().Log, Admin: Admin{Listen: "127.0.0.1:0"},
		Listen: FromFlags(Flags{Listen: "127.0.0.1:0"}).Listen, Site: oneSite(data, "http://127.0.0.1:1").Site, Deposits: usualDeposits,
	})
	resp, err := http.Get(box.url("/d/")) //nolint:forbidigo // the test has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s", resp.Status)
	}
	box.stop(t)
}

// TestKilledWhileDepositsComeIn kills a box again and again while files are
// added. Whatever it has acknowledged is there afterwards, byte for byte.
func TestKilledWhileDepositsComeIn(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	rng := newRand(t)
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), "http://127.0.0.1:1")
	cfg.Deposits.Budget = 4 * config.GiB
	type kept struct {
		path string
		sum  [sha256.Size]byte
	}
	var mu sync.Mutex
	var all []kept
	var box *process
	check := func() {
		t.Helper()
		for _, k := range all {
			resp, err := http.Get(box.url(k.path)) //nolint:forbidigo // the test has a limit
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			_, err = io.Copy(h, resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || [sha256.Size]byte(h.Sum(nil)) != k.sum {
				t.Errorf("%s was acknowledged and is not there: %s, %v", k.path, resp.Status, err)
			}
		}
	}
	for round := range rounds {
		box = begin(t, cfg)
		check()
		ctx, stop := context.WithCancel(t.Context())
		before := len(all)
		enough := make(chan struct{})
		var once sync.Once
		var wg sync.WaitGroup
		for range 4 {
			rng := rand.New(rand.NewPCG(rng.Uint64(), 1))
			wg.Go(func() {
				for ctx.Err() == nil {
					content := noiseOf(rng.IntN(900<<10), rng.Uint64())
					req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+box.Admin+"/d/f.bin", bytes.NewReader(content))
					if err != nil {
						t.Error(err)
						return
					}
					resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // ctx is its limit
					if err != nil {
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusCreated {
						continue
					}
					mu.Lock()
					all = append(all, kept{resp.Header.Get("Location"), sha256.Sum256(content)})
					if len(all) >= before+6 {
						once.Do(func() { close(enough) })
					}
					mu.Unlock()
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(2 * time.Minute):
			t.Error("six files were not kept in two minutes")
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond) // anywhere in one
		box.kill(t)
		stop()
		wg.Wait()
		t.Logf("round %d: %d kept so far", round, len(all))
	}
	box = begin(t, cfg)
	check()
	box.stop(t)
}

func TestDepositsAreNotOfASitesName(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "the site's own "+r.URL.Path) }))
	defer site.Close()
	cfg := oneSite(filepath.Join(t.TempDir(), "data"), site.URL)
	cfg.Site[0].Hosts = []string{"library.example.org"}
	box := begin(t, cfg)
	get := func(host string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, box.url("/d/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req) //nolint:forbidigo // the test has a limit
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := get("library.example.org"); got != "the site's own /d/" {
		t.Errorf("under the site's name: %q", got)
	}
	if got := get("box.school.example"); !strings.Contains(got, `"deposits"`) {
		t.Errorf("under the box's name: %q", got)
	}
	resp, err := http.Get("http://" + box.Admin + "/d/") //nolint:forbidigo // the test has a limit
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("admin: %s", resp.Status)
	}
	box.stop(t)
}
