package box

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"preau/replication/outbox"
)

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
