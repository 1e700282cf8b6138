//go:build system

package teach_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"preau/node/portal/teach"
	"preau/node/webtest"
)

// drive runs the script and reads what it says.
func drive(t *testing.T, job map[string]any) (answer struct {
	Looked int      `json:"looked"`
	Wrong  []string `json:"wrong"`
}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	job["modules"], job["chromium"], job["scratch"] = webtest.Modules(t, webtest.Playwright, webtest.AxeCore), webtest.Chromium(t), t.TempDir()
	job["pictures"], _ = webtest.Pictures(t, "teach")
	if _, err := webtest.Script(ctx, "story.mjs", job, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestPagesInABrowser(t *testing.T) {
	w := newWorld(t)
	l := w.story(t)
	w.files.has = []teach.File{
		{ID: "d-1", Title: "Carte du relief", Filename: "carte.pdf", ContentType: "application/pdf", Path: "/see/d/d-1", Bytes: 4_300_000, At: time.Now(), State: teach.OnBox},
		{ID: "d-2", Title: "La dictée", Filename: "dictee.mp3", ContentType: "audio/mpeg", Path: "/see/d/d-2", Bytes: 2_100_000, At: time.Now(), State: teach.Safe},
	}
	w.ask(http.MethodPost, teach.UploadPrefix, nil, "Tus-Resumable", "1.0.0", "Upload-Length", "900000000", "Upload-Metadata", "filename ZmlsbS5tcDQ=")
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	got := drive(t, map[string]any{
		"story": "pages", "base": server.URL,
		"pages": []map[string]string{
			{"path": "/teach/", "name": "list"}, {"path": "/teach/new?with=published:atlas", "name": "new"}, {"path": "/teach/files", "name": "files"}, {"path": "/teach/l/" + l.ID, "name": "lesson"},
			{"path": "/teach/l/" + l.ID + "/edit", "name": "edit"}, {"path": "/teach/l/" + l.ID + "/show", "name": "show"}, {"path": "/teach/l/" + l.ID + "/delete", "name": "delete"},
		},
	})
	if got.Looked != 7*2*2*2 {
		t.Errorf("%d pages were looked at", got.Looked)
	}
	for _, what := range got.Wrong {
		t.Error(what)
	}
}

// slow reads a body as over a slow line, and counts what was read.
type slow struct {
	io.ReadCloser
	n *atomic.Int64
}

func (s slow) Read(p []byte) (int, error) {
	pause := time.NewTimer(8 * time.Millisecond)
	<-pause.C
	n, err := s.ReadCloser.Read(p[:min(len(p), 64<<10)])
	s.n.Add(int64(n))
	return n, err
}

// A teacher sends a file, loads the page again in the middle, chooses the file
// again, and it goes on from where it was.
func TestAFileIsSentFromABrowserThroughAReload(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.uploads.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var received atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			r.Body = slow{r.Body, &received}
		}
		w.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	const size = 40 << 20
	body := make([]byte, size)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "Le film_de-la classe.mp4")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	got := drive(t, map[string]any{"story": "upload", "base": server.URL, "file": file})
	for _, what := range got.Wrong {
		t.Error(what)
	}
	w.files.mu.Lock()
	defer w.files.mu.Unlock()
	if len(w.files.has) != 1 || w.files.sums["d-0"] != sha256.Sum256(body) {
		t.Fatalf("%+v", w.files.has)
	}
	if m := w.files.said[0]; m.Title != "Le film de la classe" || m.Licence != "CC BY 4.0" || m.Filename != "Le film_de-la classe.mp4" {
		t.Errorf("%+v", m)
	}
	if n := received.Load(); n > size+16<<20 {
		t.Errorf("%d bytes came for %d", n, size)
	}
}
