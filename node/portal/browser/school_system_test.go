//go:build system && linux

package browser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/node/webtest"
)

// school is a box as a school has it: enrolled in a region that has a centre, before
// a site, with people who sign in at a provider. All but the site are processes of
// their own; the centre's buckets are a folder.
type school struct {
	dir, preau, base, admin, provider string

	box, region, centre, accounts *machine
	buckets                       string
	site                          *site
}

// site is a web site on the other side of the line.
type site struct {
	address string
	pages   http.Handler
	mu      sync.Mutex
	server  *http.Server
	over    chan struct{}
}

func (s *site) up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.server, s.over = &http.Server{Handler: s.pages, ReadHeaderTimeout: time.Minute}, make(chan struct{})
	go func(server *http.Server, over chan struct{}) {
		_ = server.Serve(l) // until it is closed
		close(over)
	}(s.server, s.over)
	return nil
}

func (s *site) down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return nil
	}
	err := s.server.Close()
	<-s.over
	s.server = nil
	return err
}

// article names the page of the site that is in the course.
const article = "Comment naît un volcan"

func sitePages() http.Handler {
	mux := http.NewServeMux()
	page := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "max-age=3600")
			io.WriteString(w, `<!doctype html><html lang="fr"><meta name="viewport" content="width=device-width"><title>`+article+`</title>`+body)
		})
	}
	page("/volcan.html", `<h1>`+article+`</h1><p>La lave est une roche fondue.</p><p><img src="volcan.svg" alt="Un volcan" width="320" height="200"></p><p><a href="suite.html">La suite</a></p>`)
	page("/suite.html", `<h1>La suite</h1><p>Les cendres retombent.</p>`)
	page("/{$}", `<h1>Le blog de sciences</h1><p><a href="volcan.html">`+article+`</a></p>`)
	mux.HandleFunc("GET /volcan.svg", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		w.Header().Set("Cache-Control", "max-age=3600")
		io.WriteString(w, drawing)
	})
	return mux
}

const drawing = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 200"><rect width="320" height="200" fill="#cfe8f3"/><path d="M20 200 130 60h60l110 140z" fill="#6b4a3a"/><path d="M130 60q30 22 60 0l-14 70-12-30-10 46-12-52-6 26z" fill="#d6481d"/><path d="M160 58q-22-24 0-46 22 22 0 46z" fill="#8d9aa3"/></svg>`

// worksheet is a PDF of one page, with that line on it.
func worksheet(line string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var at []int
	text := fmt.Sprintf("BT /F1 24 Tf 72 760 Td (%s) Tj ET", line)
	for i, obj := range []string{
		"<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
		fmt.Sprintf("<</Length %d>>stream\n%s\nendstream", len(text), text), "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
	} {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj%s\nendobj\n", i+1, obj)
	}
	from := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(at)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(at)+1, from)
	return b.Bytes()
}

// command runs a command of preau to its end.
func (s *school) command(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.preau, args...).Output()
	if err != nil {
		exit := new(exec.ExitError)
		errors.As(err, &exit)
		t.Fatalf("preau %v: %v\n%s%s", args, err, exit.Stderr, out)
	}
	return out
}

func (s *school) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openSchool starts everything, and waits until the box has what the region has
// published.
func openSchool(t *testing.T) *school {
	t.Helper()
	s := &school{dir: t.TempDir(), preau: binary(t), admin: freeAddress(t)}
	door, region, provider, centre := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	s.base, s.provider = "http://"+door, "http://"+provider
	s.site = &site{address: freeAddress(t), pages: sitePages()}
	if err := s.site.up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.site.down(); err != nil {
			t.Error(err)
		}
	})
	script, err := filepath.Abs("../../auth/testdata/provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	s.accounts = start(t, "provider", "node", "--no-warnings", script, webtest.Installed(t, webtest.OIDCProvider), s.provider, s.base)

	server, data := filepath.Join(s.dir, "server"), filepath.Join(s.dir, "box")
	s.command(t, "region", "init", "--data", server, "--listen", region, "--name", "Académie de Lyon", "--server", "s1", "--json")
	s.region = start(t, "region", s.preau, "region", "run", "--data", server, "--admin", "127.0.0.1:0", "--budget", "64MiB", "--central", centre)
	operator := filepath.Join(server, "operator")
	invite := func(whom ...string) string {
		var token struct{ Token string }
		soon(t, func() error {
			out, err := exec.CommandContext(t.Context(), s.preau, append([]string{"region", "token", "--as", operator, "--json"}, whom...)...).Output()
			if err != nil {
				return errors.Join(err, s.region.alive())
			}
			return json.Unmarshal(out, &token)
		})
		return token.Token
	}
	s.command(t, "enrol", "--token", invite("--school", "0690001A"), "--data", data, "--name", "tilleuls", "--json")
	gateway := filepath.Join(s.dir, "centre")
	s.buckets = filepath.Join(s.dir, "buckets")
	s.command(t, "central", "enrol", "--token", invite("--central"), "--data", gateway)
	s.centre = start(t, "centre", s.preau, "central", "run", "--data", gateway, "--directory", s.buckets, "--bucket", "lessons", "--listen", centre, "--admin", "127.0.0.1:0")
	s.publish(t, operator)

	config := s.file(t, "box.toml", fmt.Appendf(nil, `data = %q
budget = "256MiB"
[admin]
listen = %q
[neighbours]
enabled = false
[portal]
title = "École des Tilleuls"
[sign_in]
issuer = %q
client_id = "box"
client_secret_file = %q
acr = ["urn:example:mfa"]
amr = []
[[listen]]
address = %q
[[site]]
name = "blog"
upstream = "http://%s"
hosts = ["blog.example.org"]
`, data, s.admin, s.provider, s.file(t, "secret", []byte("a secret of the box, long enough\n")), door, s.site.address))
	s.box = start(t, "box", s.preau, "box", "--config", config)
	soon(t, func() error { return errors.Join(s.hasAll(t.Context()), s.box.alive()) })
	return s
}

// publish gives the region something to show.
func (s *school) publish(t *testing.T, operator string) {
	t.Helper()
	tool, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal("there is no ffmpeg: apt-get install ffmpeg")
	}
	film, sound := filepath.Join(s.dir, "volcan.mp4"), filepath.Join(s.dir, "dictee.ogg")
	out, err := exec.CommandContext(t.Context(), tool, "-loglevel", "error", "-f", "lavfi", "-i", "gradients=size=640x360:rate=10:duration=6:c0=#3b1410:c1=#d6481d:c2=#f2b134:n=3:seed=7",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10", "-movflags", "+faststart", film, "-f", "lavfi", "-i", "sine=frequency=330:duration=3", "-map", "1:a", sound).CombinedOutput()
	if err != nil {
		t.Fatalf("make a film: %v: %s", err, out)
	}
	for _, f := range []struct{ path, collection, called, title, about string }{
		{film, "svt", "Sciences de la vie et de la Terre", "Un volcan se réveille", "Six minutes au bord du cratère."},
		{s.file(t, "plaques.pdf", worksheet("Les plaques tectoniques")), "svt", "Sciences de la vie et de la Terre", "Les plaques tectoniques", "Schémas à compléter."},
		{sound, "francais", "Français", "La dictée du lundi", "À écouter deux fois."},
		{s.file(t, "poeme.txt", []byte("Le vent se lève,\nil faut tenter de lire.\n")), "francais", "Français", "Poème de la semaine", "À apprendre pour vendredi."},
	} {
		s.command(t, "publish", f.path, "--collection", f.collection, "--collection-title", f.called, "--title", f.title, "--description", f.about, "--language", "fr", "--licence", "CC-BY-4.0", "--as", operator, "--json")
	}
}

// published is how many files publish makes.
const published = 4

// hasAll is nil once the box holds all of what was published.
func (s *school) hasAll(ctx context.Context) error {
	list := struct {
		Items []struct {
			Path      string
			Bytes     int64
			HeldBytes int64 `json:"held_bytes"`
		}
	}{}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/r/", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return err
	}
	held := 0
	for _, it := range list.Items {
		if it.HeldBytes == it.Bytes {
			held++
		}
	}
	if held != published {
		return fmt.Errorf("the box has %d of %d: %+v", held, published, list)
	}
	return nil
}

// inCentre is nil if the ministry's bucket has what teachers added, once each and
// byte for byte. A bucket that is a folder keeps an object's metadata after its
// bytes.
func (s *school) inCentre(files map[string][]byte) error {
	found := map[string]int{}
	err := filepath.WalkDir(filepath.Join(s.buckets, "buckets", "preau-deposits"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		got, err := os.ReadFile(path)
		for name, want := range files {
			if bytes.HasPrefix(got, want) {
				found[name]++
			}
		}
		return err
	})
	for name := range files {
		if found[name] != 1 {
			err = errors.Join(err, fmt.Errorf("%s is in the centre %d times", name, found[name]), s.centre.alive())
		}
	}
	return err
}

// line cuts the line and mends it, as a script says.
func (s *school) line(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	do := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	mux.HandleFunc("POST /cut", func(w http.ResponseWriter, _ *http.Request) {
		s.region.kill()
		s.accounts.kill()
		do(w, s.site.down())
	})
	mux.HandleFunc("POST /mend", func(w http.ResponseWriter, _ *http.Request) {
		do(w, errors.Join(s.site.up(), s.region.run(), s.accounts.run()))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	over := make(chan struct{})
	go func() {
		_ = server.Serve(l) // until it is closed
		close(over)
	}()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-over
	})
	return "http://" + l.Addr().String()
}

// claim is the code on the box's console.
func (s *school) claim(t *testing.T, args ...string) string {
	t.Helper()
	var c struct{ Code string }
	if err := json.Unmarshal(s.command(t, append([]string{"claim", "--box", "http://" + s.admin, "--json"}, args...)...), &c); err != nil || c.Code == "" {
		t.Fatalf("the claim code: %v", err)
	}
	return strings.TrimSpace(c.Code)
}
