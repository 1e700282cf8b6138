package box

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
	http        *http.Client
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
	s.http = &http.Client{
		Transport:     &http.Transport{ExpectContinueTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
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
	s.http.CloseIdleConnections()
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
	resp, err := s.http.Do(req)
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
