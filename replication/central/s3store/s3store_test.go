package s3store_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/replication/central/s3store"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bucket = "books"

func config(endpoint string) s3store.Config {
	cfg := s3store.DefaultConfig()
	cfg.Endpoint = endpoint
	cfg.Keys = func(context.Context) (s3store.Key, error) { return s3store.Key{ID: "id", Secret: "secret"}, nil }
	return cfg
}

func open(t *testing.T, cfg s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// stocked is a server with a bucket and one object of a MiB.
func stocked(t *testing.T) (*server, []byte) {
	t.Helper()
	srv := newServer(t)
	p := storetest.Bytes(1, 1<<20)
	if err := srv.memory.MakeBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.memory.Put(t.Context(), bucket, "k", bytes.NewReader(p), int64(len(p)), store.Options{}, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	return srv, p
}

func put(ctx context.Context, s store.Store, key string, p []byte, c store.Condition) error {
	_, err := s.Put(ctx, bucket, key, bytes.NewReader(p), int64(len(p)), store.Options{}, c)
	return err
}

func TestS3Store(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return open(t, config(newServer(t).URL))
	})
}

func TestIfMatchTakesTheFormThatTheServerWants(t *testing.T) {
	for _, quoted := range []bool{false, true} {
		for _, size := range []int{100, 2 << 20} {
			srv, old := stocked(t)
			srv.quoted = quoted
			s := open(t, config(srv.URL))
			now := storetest.Bytes(2, size)
			err := put(t.Context(), s, "k", now, store.Condition{ETag: storetest.ETag(old)})
			if quoted && size > 1<<20 {
				// A large body can't be sent twice; the next try is right.
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("quotes wanted, %d bytes: %v, want ErrUnavailable", size, err)
				}
				err = put(t.Context(), s, "k", now, store.Condition{ETag: storetest.ETag(old)})
			}
			if err != nil {
				t.Errorf("quotes wanted %v, %d bytes: %v", quoted, size, err)
			}
			// It is remembered: one PUT, and no more looking.
			srv.meet(nil)
			if err := put(t.Context(), s, "k", old, store.Condition{ETag: storetest.ETag(now)}); err != nil {
				t.Errorf("quotes wanted %v, the second time: %v", quoted, err)
			}
			if n := srv.requests(http.MethodPut); n != 1 {
				t.Errorf("quotes wanted %v: %d PUTs the second time, want 1", quoted, n)
			}
			if err := put(t.Context(), s, "k", old, store.Condition{ETag: storetest.ETag(now)}); !errors.Is(err, store.ErrChanged) {
				t.Errorf("quotes wanted %v, another version: %v, want ErrChanged", quoted, err)
			}
		}
	}
}

func TestErrorsAreSorted(t *testing.T) {
	tests := []struct {
		status int
		code   string
		want   error
		says   string
	}{
		{403, "QuotaExceeded", store.ErrFull, "quota"},
		{507, "InsufficientStorage", store.ErrFull, "quota"},
		{507, "Unheard", store.ErrFull, ""},
		{403, "AccessDenied", store.ErrDenied, "administrator"},
		{403, "InvalidAccessKeyId", store.ErrDenied, "key file"},
		{403, "SignatureDoesNotMatch", store.ErrDenied, "secret key"},
		{400, "ExpiredToken", store.ErrDenied, "expired"},
		{403, "RequestTimeTooSkewed", store.ErrDenied, "clock"},
		{403, "UserSuspended", store.ErrDenied, "suspended"},
		{401, "Unheard", store.ErrDenied, ""},
		{404, "NoSuchBucket", store.ErrNotFound, ""},
		{404, "NoSuchKey", store.ErrNotFound, ""},
		{412, "PreconditionFailed", store.ErrChanged, ""},
		{409, "ConditionalRequestConflict", store.ErrChanged, ""},
		{400, "BadDigest", store.ErrUnavailable, ""},
		{400, "RequestTimeout", store.ErrUnavailable, ""},
		{400, "EntityTooSmall", store.ErrInvalid, ""},
		{400, "InvalidPart", store.ErrInvalid, ""},
		{500, "UnknownError", store.ErrUnavailable, ""},
		{503, "SlowDown", store.ErrUnavailable, ""},
		{429, "TooManyRequests", store.ErrUnavailable, ""},
	}
	srv, p := stocked(t)
	cfg := config(srv.URL)
	cfg.Tries = 1
	s := open(t, cfg)
	for _, tt := range tests {
		srv.meet(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			fail(w, tt.status, tt.code, "as the test has it")
			return true
		})
		err := put(t.Context(), s, "k", p, store.Condition{})
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Put told %d %s: %v, want %v and %q", tt.status, tt.code, err, tt.want, tt.says)
		}
		if _, err := s.List(t.Context(), bucket, "", "", 1); !errors.Is(err, tt.want) {
			t.Errorf("List told %d %s: %v, want %v", tt.status, tt.code, err, tt.want)
		}
		if _, err := s.Begin(t.Context(), bucket, "k", store.Options{}); !errors.Is(err, tt.want) {
			t.Errorf("Begin told %d %s: %v, want %v", tt.status, tt.code, err, tt.want)
		}
	}
}

func TestTriesAreBounded(t *testing.T) {
	srv, p := stocked(t)
	s := open(t, config(srv.URL))
	for _, tt := range []struct {
		what, method string
		want         int
		call         func() error
	}{
		{"Head", http.MethodHead, 3, func() error { _, err := s.Head(t.Context(), bucket, "k"); return err }},
		{"List", http.MethodGet, 3, func() error { _, err := s.List(t.Context(), bucket, "", "", 1); return err }},
		{"a small Put", http.MethodPut, 3, func() error { return put(t.Context(), s, "k", []byte("x"), store.Condition{}) }},
		{"a large Put", http.MethodPut, 1, func() error { return put(t.Context(), s, "k", append(p, 'x'), store.Condition{}) }},
		{"a conditional Put", http.MethodPut, 1, func() error { return put(t.Context(), s, "k", []byte("x"), store.Condition{Absent: true}) }},
	} {
		srv.meet(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			fail(w, http.StatusServiceUnavailable, "SlowDown", "")
			return true
		})
		if err := tt.call(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", tt.what, err)
		}
		if n := srv.requests(tt.method); n != tt.want {
			t.Errorf("%s: tried %d times, want %d", tt.what, n, tt.want)
		}
	}
}

// A server that takes requests and says nothing. What stops in the middle is in
// transport_test.go.
func TestHangingServers(t *testing.T) {
	p := storetest.Bytes(1, 8<<20)
	quick := func(cfg s3store.Config) s3store.Config {
		cfg.Timeouts.Answer, cfg.Timeouts.Complete, cfg.Timeouts.Stall = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
		cfg.Tries = 1
		return cfg
	}
	release := make(chan struct{})
	hang := func(http.ResponseWriter, *http.Request) bool { <-release; return true }
	srv, _ := stocked(t)
	defer close(release)
	s := open(t, quick(config(srv.URL)))
	small := []byte("x")
	calls := map[string]func() error{
		"Head":   func() error { _, err := s.Head(t.Context(), bucket, "k"); return err },
		"List":   func() error { _, err := s.List(t.Context(), bucket, "", "", 1); return err },
		"Delete": func() error { return s.Delete(t.Context(), bucket, "k") },
		// It fits the sockets' buffers: the answer is what does not come.
		"a small Put": func() error { return put(t.Context(), s, "k", small, store.Condition{}) },
		// It does not: a byte is what is not taken.
		"a large Put": func() error { return put(t.Context(), s, "k", p, store.Condition{}) },
		"Get":         func() error { _, _, err := s.Get(t.Context(), bucket, "k", 0, -1, ""); return err },
	}
	for what, call := range calls {
		srv.meet(hang)
		if err := call(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
			t.Errorf("%s of a server that hangs: %v, want ErrUnavailable in time", what, err)
		}
	}
}

func TestCutAnswers(t *testing.T) {
	srv, p := stocked(t)
	s := open(t, config(srv.URL))
	srv.meet(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1048576")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		_, _ = w.Write(p[:5000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	body, _, err := s.Get(t.Context(), bucket, "k", 0, -1, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if len(got) > 5000 || !bytes.Equal(got, p[:len(got)]) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a cut body: %d bytes, %v, want ErrUnavailable", len(got), err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	// The answer to a Put is lost after it was done.
	srv.meet(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			_ = srv.put(httptest.NewRecorder(), r, bucket, "lost")
			panic(http.ErrAbortHandler)
		}
		return false
	})
	if err := put(t.Context(), s, "lost", []byte("x"), store.Condition{Absent: true}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a conditional Put whose answer is lost: %v, want ErrUnavailable", err)
	}
	if _, err := s.Head(t.Context(), bucket, "lost"); err != nil {
		t.Errorf("it was done all the same: %v", err)
	}
}

func TestAnswersThatLie(t *testing.T) {
	srv, p := stocked(t)
	cfg := config(srv.URL)
	cfg.Tries = 1
	s := open(t, cfg)
	say := func(text string, header ...string) {
		srv.meet(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			_, _ = io.WriteString(w, text)
			return true
		})
	}
	modified := time.Now().UTC().Format(http.TimeFormat)
	unavailable := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
	}
	say("", "ETag", `"`+storetest.ETag([]byte("other"))+`"`)
	unavailable("a Put that arrived altered", put(t.Context(), s, "k", p, store.Condition{}))
	list := func(what, text string) {
		t.Helper()
		say(text)
		_, err := s.List(t.Context(), bucket, "a", "a1", 10)
		unavailable(what, err)
	}
	entry := func(key string) string {
		return "<Contents><Key>" + key + "</Key><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"
	}
	list("a listing that is none", "<html>")
	list("a listing that goes back", "<ListBucketResult>"+entry("a0")+"</ListBucketResult>")
	list("a listing that stays", "<ListBucketResult>"+entry("a2")+entry("a2")+"</ListBucketResult>")
	list("a listing of another prefix", "<ListBucketResult>"+entry("b")+"</ListBucketResult>")
	list("a listing of bad keys", "<ListBucketResult>"+entry("a%zz")+"</ListBucketResult>")
	list("an endless listing of nothing", "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")
	// The whole object instead of a range.
	say("abc", "Last-Modified", modified)
	_, _, err := s.Get(t.Context(), bucket, "k", 1, 2, "")
	unavailable("the whole object where a range was asked for", err)
	// Another version than was asked for.
	say("abc", "Last-Modified", modified, "ETag", `"other"`)
	if _, _, err := s.Get(t.Context(), bucket, "k", 0, -1, "wanted"); !errors.Is(err, store.ErrChanged) {
		t.Errorf("another version than was asked for: %v, want ErrChanged", err)
	}
	// Nonsense in a header that nobody needs.
	say("abc", "Last-Modified", modified, "Expires", "never")
	if _, err := s.Head(t.Context(), bucket, "k"); err != nil {
		t.Errorf("an Expires that is no date: %v", err)
	}
}

func TestMetadataOfOtherTools(t *testing.T) {
	srv, _ := stocked(t)
	s := open(t, config(srv.URL))
	srv.meet(func(w http.ResponseWriter, _ *http.Request) bool {
		h := w.Header()
		h.Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		h.Set("X-Amz-Meta-Title", "=?UTF-8?Q?L'=C3=A9t=C3=A9?=")
		h.Set("X-Amz-Meta-Raw", "été")
		h.Set("X-Amz-Meta-Broken", "=?x-unknown?q?a?=")
		return true
	})
	info, err := s.Head(t.Context(), bucket, "k")
	if err != nil || info.Meta["title"] != "L'été" || info.Meta["raw"] != "été" || info.Meta["broken"] != "=?x-unknown?q?a?=" {
		t.Errorf("Head = %q, %v", info.Meta, err)
	}
}

func TestKeysAreAskedForAgain(t *testing.T) {
	srv, _ := stocked(t)
	var id atomic.Value
	id.Store("old")
	cfg := config(srv.URL)
	cfg.Keys = func(context.Context) (s3store.Key, error) {
		k, _ := id.Load().(string)
		if k == "" {
			return s3store.Key{}, os.ErrNotExist
		}
		return s3store.Key{ID: k, Secret: "secret"}, nil
	}
	s := open(t, cfg)
	used := func() string {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return srv.ids[len(srv.ids)-1]
	}
	head := func() error { _, err := s.Head(t.Context(), bucket, "k"); return err }
	if err := head(); err != nil || used() != "old" {
		t.Fatalf("the first key: %v, used %q", err, used())
	}
	id.Store("new")
	srv.meet(func(w http.ResponseWriter, _ *http.Request) bool {
		if used() == "old" {
			fail(w, http.StatusForbidden, "InvalidAccessKeyId", "")
			return true
		}
		return false
	})
	if err := head(); !errors.Is(err, store.ErrDenied) {
		t.Errorf("the old key is refused: %v, want ErrDenied", err)
	}
	if err := head(); err != nil || used() != "new" {
		t.Errorf("after a refusal: %v, used %q, want the new key", err, used())
	}
	id.Store("")
	cfg.Keys = func(context.Context) (s3store.Key, error) { return s3store.Key{}, os.ErrNotExist }
	if err := put(t.Context(), open(t, cfg), "k", []byte("x"), store.Condition{}); !errors.Is(err, store.ErrDenied) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key file that is missing: %v, want ErrDenied", err)
	}
}

func TestTLS(t *testing.T) {
	srv := newServer(t)
	secure := httptest.NewTLSServer(srv)
	defer secure.Close()
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if err := srv.memory.MakeBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	cfg := config(secure.URL)
	cfg.Tries = 1
	err := open(t, cfg).Ready(t.Context(), bucket)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "CA file") {
		t.Errorf("an unknown authority: %v, want ErrUnavailable and what to do", err)
	}
	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(cfg.CAFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	p := storetest.Bytes(1, 2<<20)
	if err := put(t.Context(), s, "k", p, store.Condition{}); err != nil {
		t.Errorf("Put over TLS: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, config("http://"+l.Addr().String())).Ready(t.Context(), bucket); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready: %v, want ErrUnavailable", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	srv, _ := stocked(t)
	cfg := config(srv.URL)
	cfg.Connections = 3
	s := open(t, cfg)
	release, inside := make(chan struct{}), make(chan struct{}, 20)
	srv.meet(func(http.ResponseWriter, *http.Request) bool {
		inside <- struct{}{}
		<-release
		return false
	})
	results := make(chan error, 3)
	for range 3 {
		go func() { results <- s.Ready(t.Context(), bucket) }()
	}
	for range 3 {
		<-inside
	}
	// All connections are taken. Nobody else gets one, and waiting ends.
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := s.Ready(ctx, bucket); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a connection: %v, want DeadlineExceeded", err)
		}
		cancel()
	}
	if n := len(inside); n != 0 {
		t.Errorf("%d requests more reached the server than there are connections", n)
	}
	close(release)
	for range 3 {
		if err := <-results; err != nil {
			t.Errorf("with a connection: %v", err)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for name, change := range map[string]func(*s3store.Config){
		"no endpoint":     func(c *s3store.Config) { c.Endpoint = "" },
		"endpoint's path": func(c *s3store.Config) { c.Endpoint = "http://host/path" },
		"endpoint's kind": func(c *s3store.Config) { c.Endpoint = "ftp://host" },
		"no keys":         func(c *s3store.Config) { c.Keys = nil },
		"no region":       func(c *s3store.Config) { c.Region = "" },
		"no stall":        func(c *s3store.Config) { c.Timeouts.Stall = 0 },
		"no connections":  func(c *s3store.Config) { c.Connections = 0 },
		"tries":           func(c *s3store.Config) { c.Tries = 0 },
		"no CA file":      func(c *s3store.Config) { c.CAFile = "/no/such/file" },
		"CA file":         func(c *s3store.Config) { c.CAFile = os.DevNull },
	} {
		cfg := config("http://127.0.0.1:1")
		change(&cfg)
		if _, err := s3store.New(cfg, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
