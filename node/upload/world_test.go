package upload_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/node/upload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const prefix = "/up/"

// shelf is an outbox that outlives the box.
type shelf struct {
	mu   sync.Mutex
	has  []deposit
	err  error // of Add
	room int64
}

type deposit struct {
	upload.Kept
	upload.Meta
	body []byte
}

func newShelf() *shelf { return &shelf{room: -1} }

func (s *shelf) Add(ctx context.Context, m upload.Meta, length int64, r io.Reader) (string, error) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	if int64(len(body)) != length {
		return "", fmt.Errorf("%d bytes came, want %d", len(body), length)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := deposit{upload.Kept{ID: fmt.Sprint("d-", len(s.has)), SHA256: sha256.Sum256(body)}, m, body}
	s.has = append(s.has, d)
	return d.ID, nil
}

func (s *shelf) Like(_ context.Context, name string, length int64) ([]upload.Kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []upload.Kept
	for _, d := range s.has {
		if d.Filename == name && int64(len(d.body)) == length {
			out = append(out, d.Kept)
		}
	}
	return out, nil
}

func (s *shelf) Room(context.Context) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room
}

func (s *shelf) all() []deposit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]deposit(nil), s.has...)
}

func (s *shelf) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func config(dir string) upload.Config {
	cfg := upload.DefaultConfig(dir, prefix)
	cfg.Reserve, cfg.Checkpoint = 0, 64<<10
	return cfg
}

func open(t *testing.T, cfg upload.Config, box upload.Outbox) *upload.Server {
	t.Helper()
	s, err := upload.New(cfg, box, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.SetFree(func() (int64, error) { return 1 << 40, nil })
	return s
}

func owner(r *http.Request) string { return r.Header.Get("Who") }

// call asks as ada, with the protocol's version, and fields in pairs.
func call(s *upload.Server, method, path string, body io.Reader, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.Header.Set("Tus-Resumable", "1.0.0")
	r.Header.Set("Who", "ada")
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			r.Header.Del(fields[i])
			continue
		}
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler(owner).ServeHTTP(w, r)
	return w
}

func metadata(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return strings.Join(out, ",")
}

// create makes an upload and returns its path.
func create(t *testing.T, s *upload.Server, name string, length int) string {
	t.Helper()
	w := call(s, http.MethodPost, prefix, http.NoBody, "Upload-Length", strconv.Itoa(length), "Upload-Metadata", metadata("filename", name, "title", "La "+name))
	if w.Code != http.StatusCreated {
		t.Fatalf("create: %d %s", w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

// patch sends a piece.
func patch(s *upload.Server, at string, offset int64, piece io.Reader, fields ...string) *httptest.ResponseRecorder {
	fields = append([]string{"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.FormatInt(offset, 10)}, fields...)
	return call(s, http.MethodPatch, at, piece, fields...)
}

// offset asks where to go on.
func offset(t *testing.T, s *upload.Server, at string) int64 {
	t.Helper()
	w := call(s, http.MethodHead, at, http.NoBody)
	n, err := strconv.ParseInt(w.Header().Get("Upload-Offset"), 10, 64)
	if w.Code != http.StatusOK || err != nil {
		t.Fatalf("HEAD: %d, offset %q", w.Code, w.Header().Get("Upload-Offset"))
	}
	return n
}

func noise(seed uint64, n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// only checks that a file is in the outbox once and whole.
func only(t *testing.T, box *shelf, name string, body []byte) {
	t.Helper()
	n := 0
	for _, d := range box.all() {
		if d.Filename != name {
			continue
		}
		n++
		if !bytes.Equal(d.body, body) {
			t.Errorf("%s: %d bytes are not what was sent", name, len(d.body))
		}
	}
	if n != 1 {
		t.Errorf("%s is in the outbox %d times", name, n)
	}
}
