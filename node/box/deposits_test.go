package box

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/config"
	"preau/replication/outbox"
)

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
		Listen: FromFlags(Flags{Listen: "127.0.0.1:0"}).Listen, Site: oneSite(data, "http://127.0.0.1:1").Site, Deposits: usualDeposits, SignIn: DefaultConfig().SignIn,
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
