package upload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"preau/node/upload"
)

// client is a device that sends a file over connections that break.
type client struct {
	t    *testing.T
	http *http.Client
	base func() string
}

func (c *client) do(method, at string, body io.Reader, fields ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base()+at, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Tus-Resumable", "1.0.0")
	r.Header.Set("Who", "ada")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.http.Do(r)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

func (c *client) offset(at string) int64 {
	c.t.Helper()
	for range 100 {
		resp, err := c.do(http.MethodHead, at, nil)
		if err != nil || resp.StatusCode == http.StatusLocked {
			continue
		}
		n, err := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
		if err != nil {
			c.t.Fatalf("HEAD: %d %v", resp.StatusCode, resp.Header)
		}
		return n
	}
	c.t.Fatal("the box does not answer")
	return 0
}

func (c *client) patch(at string, from int64, body io.Reader) (*http.Response, error) {
	return c.do(http.MethodPatch, at, body, "Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.FormatInt(from, 10))
}

var errCut = errors.New("the connection is cut")

// breaking is a body that breaks off.
type breaking struct {
	r    io.Reader
	left int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errCut
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// A file goes over a connection that is cut twenty times, to a box that is killed
// three times: its process is gone, and what it had not written is lost.
func TestAFileComesThroughTwentyCutsAndThreeKills(t *testing.T) {
	t.Parallel()
	size := 12 << 20
	if testing.Short() {
		size = 2 << 20
	}
	body, box, cfg := noise(21, size), newShelf(), config(t.TempDir())
	rng := rand.New(rand.NewPCG(5, uint64(size)))
	var now atomic.Pointer[upload.Server]
	var dead atomic.Bool
	boot := func() {
		s := open(t, cfg, box)
		s.SetStep(func(string) error {
			if dead.Load() && now.Load() == s {
				return errKilled
			}
			return nil
		})
		now.Store(s)
		dead.Store(false)
	}
	boot()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.Load().Handler(owner).ServeHTTP(w, r) }))
	defer server.Close()
	c := &client{t, server.Client(), func() string { return server.URL }}
	resp, err := c.do(http.MethodPost, prefix, nil, "Upload-Length", strconv.Itoa(size), "Upload-Metadata", metadata("filename", "film.mp4"))
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatal(resp, err)
	}
	at := resp.Header.Get("Location")
	for cuts := 0; ; cuts++ {
		from := c.offset(at)
		if from == int64(size) {
			break
		}
		rest := body[from:]
		if cuts < 20 {
			_, _ = c.patch(at, from, &breaking{bytes.NewReader(rest), rng.IntN(size/15) + 1})
			if cuts%7 == 6 { // in between: the cut piece may still be being counted
				dead.Store(true)
				boot()
			}
			continue
		}
		switch resp, err = c.patch(at, from, bytes.NewReader(rest)); {
		case err == nil && resp.StatusCode == http.StatusConflict && cuts < 100:
			// Of the piece that was cut last more was counted meanwhile.
		case err != nil || resp.StatusCode != http.StatusNoContent:
			t.Fatal(resp, err)
		}
	}
	upload.HandOn(now.Load(), t.Context())
	only(t, box, "film.mp4", body)
}

// A device whose connection died without a word comes back over another: it is
// not kept waiting for the dead one.
func TestWhoComesBackCutsOffItsOwnDeadConnection(t *testing.T) {
	box := newShelf()
	s := open(t, config(t.TempDir()), box)
	server := httptest.NewServer(s.Handler(owner))
	defer server.Close()
	c := &client{t, server.Client(), func() string { return server.URL }}
	body := noise(8, 300<<10)
	resp, err := c.do(http.MethodPost, prefix, nil, "Upload-Length", strconv.Itoa(len(body)), "Upload-Metadata", metadata("filename", "a"))
	if err != nil {
		t.Fatal(err)
	}
	at := resp.Header.Get("Location")
	changed, stop := s.Watch()
	defer stop()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "PATCH " + at + " HTTP/1.1\r\nHost: box\r\nWho: ada\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), body[:200<<10]...)); err != nil {
		t.Fatal(err)
	}
	for s.List("ada")[0].Offset == 0 { // until the dead one is being read
		<-changed
	}
	from := c.offset(at)
	if from == 0 || from > 200<<10 {
		t.Errorf("the offset is %d", from)
	}
	if resp, err := c.patch(at, from, bytes.NewReader(body[from:])); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%+v %v", resp, err)
	}
	upload.HandOn(s, t.Context())
	only(t, box, "a", body)
}

func TestWhoSendsNothingIsEndedAndWhatCameCounts(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Stall = 50 * time.Millisecond
	s := open(t, cfg, newShelf())
	server := httptest.NewServer(s.Handler(owner))
	defer server.Close()
	c := &client{t, server.Client(), func() string { return server.URL }}
	resp, err := c.do(http.MethodPost, prefix, nil, "Upload-Length", "100", "Upload-Metadata", metadata("filename", "a"))
	if err != nil {
		t.Fatal(err)
	}
	at := resp.Header.Get("Location")
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write([]byte("0123456789")) }()
	// Its answer may come or be lost with the connection.
	_, _ = c.patch(at, 0, r)
	if n := c.offset(at); n != 10 {
		t.Errorf("the offset is %d", n)
	}
}

// slowAnswer is a client that takes its time to hear the answer.
type slowAnswer struct{ *httptest.ResponseRecorder }

func (s slowAnswer) WriteHeader(status int) {
	<-time.After(time.Second)
	s.ResponseRecorder.WriteHeader(status)
}

func TestWhatIsWholeDoesNotWaitForTheNextRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newShelf()
		s := open(t, config(t.TempDir()), box)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		at := create(t, s, "film.mp4", 3)
		r := httptest.NewRequest(http.MethodPatch, at, strings.NewReader("abc"))
		for name, value := range map[string]string{"Tus-Resumable": "1.0.0", "Who": "ada", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"} {
			r.Header.Set(name, value)
		}
		s.Handler(owner).ServeHTTP(slowAnswer{httptest.NewRecorder()}, r)
		<-time.After(time.Second)
		only(t, box, "film.mp4", []byte("abc"))
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestRunHandsOnWhatIsWholeAndForgetsWhatIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, cfg := newShelf(), config(t.TempDir())
		cfg.Expiry = 6 * time.Hour
		run := func(s *upload.Server, d time.Duration) {
			ctx, stop := context.WithTimeout(t.Context(), d)
			defer stop()
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		}
		s := open(t, cfg, box)
		whole, left, lively := create(t, s, "whole", 3), create(t, s, "left", 10), create(t, s, "lively", 10)
		patch(s, whole, 0, bytes.NewReader([]byte("abc")))
		patch(s, left, 0, bytes.NewReader([]byte("abc")))
		box.set(upload.ErrNoRoom)
		for n := range 4 { // the box is started anew now and then
			run(s, 2*time.Hour+time.Minute)
			patch(s, lively, int64(n), bytes.NewReader([]byte{'x'}))
			s = open(t, cfg, box)
		}
		for at, want := range map[string]int{left: 404, lively: 200, whole: 200} {
			if w := call(s, http.MethodHead, at, http.NoBody); w.Code != want {
				t.Errorf("%s after eight hours: %d, want %d", at, w.Code, want)
			}
		}
		// What is whole waits for room as long as it takes.
		box.set(nil)
		changed, stop := s.Watch()
		defer stop()
		run(s, 2*time.Hour)
		only(t, box, "whole", []byte("abc"))
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
		run(s, 7*time.Hour)
		if w := call(s, http.MethodHead, whole, http.NoBody); w.Code != http.StatusNotFound {
			t.Errorf("what became of it is known for ever: %d", w.Code)
		}
	})
}
