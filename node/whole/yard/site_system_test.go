//go:build system && linux

package yard_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// site is a web server of files that never change: /f/NAME/SIZE.
type site struct {
	toRegion, toSchool atomic.Int64 // bytes of bodies

	mu    sync.Mutex
	files map[string]file
	asked map[string]int
}

// file is one, and its SHA-256.
type file struct {
	body []byte
	sum  [32]byte
}

// newSite runs the site behind the line until the test ends.
func newSite(t *testing.T, h *host) *site {
	t.Helper()
	s := &site{files: map[string]file{}, asked: map[string]int{}}
	ln, err := h.Listen(t.Context(), siteAddr+":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the site: %v", err)
		}
	})
	return s
}

// toml is the site for the files of boxes and servers.
func (*site) toml() string {
	return fmt.Sprintf("[[site]]\nname = \"library\"\nupstream = \"http://%s\"\nhosts = [\"*\"]\n", siteAddr)
}

// file is the body at a path, and its SHA-256.
func (s *site) file(path string) ([]byte, [32]byte, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[1] != "f" {
		return nil, [32]byte{}, fmt.Errorf("no file %q", path)
	}
	size, err := strconv.Atoi(parts[3])
	if err != nil || size < 0 || size > 1<<28 {
		return nil, [32]byte{}, fmt.Errorf("no size %q", parts[3])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[path]
	if !ok {
		body := make([]byte, size)
		h := fnv.New64a()
		_, _ = h.Write([]byte(path)) // never fails
		var seed [32]byte
		h.Sum(seed[:0])
		rand.NewChaCha8(seed).Read(body)
		f = file{body, sha256.Sum256(body)}
		s.files[path] = f
	}
	return f.body, f.sum, nil
}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		fmt.Fprintln(w, "the library")
		return
	}
	body, sum, err := s.file(r.URL.Path)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	s.asked[r.URL.Path]++
	s.mu.Unlock()
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.Header().Set("Content-Type", "application/octet-stream")
	to := &s.toRegion
	if !strings.HasPrefix(r.RemoteAddr, "10.72.") {
		to = &s.toSchool
	}
	http.ServeContent(&counted{w, to}, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(body))
}

// counted counts what is written of a body.
type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// path names a file that no other test has asked for.
func path(t *testing.T, name string, size int) string {
	t.Helper()
	return fmt.Sprintf("/f/%s.%s/%d", strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()), name, size)
}
