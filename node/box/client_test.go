package box

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// outcome is what a client can say of an answer.
type outcome int

const (
	right   outcome = iota // every byte, and a proper end
	refused                // an error that says so: 502, 503 or 504
	broken                 // no answer, or one that broke off or stood still; what came was right
	wrong                  // bytes that are not the body's, or an end that pretends to be one
)

func (o outcome) String() string {
	return [...]string{"right", "refused", "broken", "wrong"}[o]
}

// answer is what a client got.
type answer struct {
	outcome
	path   string
	why    error
	status string // Cache-Status
	took   time.Duration
}

// clients are devices that check all they get.
type clients struct {
	o     *origin
	http  *http.Client
	still time.Duration // how long an answer may stand still
}

func newClients(t *testing.T, o *origin, still time.Duration) *clients {
	t.Helper()
	// A connection that was opened and never used would hold up a box that is
	// to stop, so each is used once.
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	return &clients{o: o, http: &http.Client{Transport: tr}, still: still}
}

// get asks box for path, for the bytes [from, to) of it if to is not 0, and
// compares every byte.
func (c *clients) get(ctx context.Context, box *process, path string, from, to int64) answer {
	began := time.Now()
	out, why, status := c.ask(ctx, box.url(path), path, from, to)
	return answer{outcome: out, path: path, why: why, status: status, took: time.Since(began)}
}

func (c *clients) ask(ctx context.Context, url, path string, from, to int64) (_ outcome, why error, status string) { //nolint:staticcheck // why is the outcome's, no failure of ask
	want, ok := c.o.body(path)
	if !ok {
		return wrong, fmt.Errorf("no such path: %s", path), ""
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.still, func() { cancel(errors.New("it stood still")) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return wrong, err, ""
	}
	expect := http.StatusOK
	if to > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
		expect = http.StatusPartialContent
	} else {
		to = want.size
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return broken, err, ""
	}
	defer resp.Body.Close()
	status = resp.Header.Get("Cache-Status")
	switch resp.StatusCode {
	case expect:
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return refused, errors.New(resp.Status), status
	default:
		return wrong, fmt.Errorf("status %s", resp.Status), status
	}
	if n := resp.ContentLength; n >= 0 && n != to-from {
		return wrong, fmt.Errorf("Content-Length %d of %d", n, to-from), status
	}
	buf, ref := make([]byte, 64<<10), make([]byte, 64<<10)
	at := from
	for {
		n, err := resp.Body.Read(buf)
		watch.Reset(c.still)
		if m, _ := want.ReadAt(ref[:n], at); m < n || !bytes.Equal(buf[:n], ref[:n]) {
			return wrong, fmt.Errorf("%d bytes at %d are not the body's", n, at), status
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF) && at == to:
			return right, nil, status
		case errors.Is(err, io.EOF):
			return wrong, fmt.Errorf("the body ends at %d of %d as if that was all", at, to), status
		case err != nil:
			return broken, err, status
		}
	}
}

// all asks for every path, many at a time, and returns what came.
func (c *clients) all(ctx context.Context, box *process, paths []string) []answer {
	answers := make([]answer, len(paths))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				answers[i] = c.get(ctx, box, paths[i], 0, 0)
			}
		})
	}
	for i := range paths {
		next <- i
	}
	close(next)
	wg.Wait()
	return answers
}

// mustAll asks for every path and fails the test unless all are right.
func (c *clients) mustAll(t *testing.T, box *process, paths []string, when string) {
	t.Helper()
	answers := c.all(t.Context(), box, paths)
	box.alive(t)
	for _, a := range answers {
		if a.outcome != right {
			t.Errorf("%s: %s is %v after %v: %v (%s)", when, a.path, a.outcome, a.took.Round(time.Millisecond), a.why, a.status)
		}
	}
}

// neverWrong asks for every path and fails the test if any answer is wrong. It
// tells how many were right.
func (c *clients) neverWrong(t *testing.T, box *process, paths []string, when string) (good int) {
	t.Helper()
	answers := c.all(t.Context(), box, paths)
	box.alive(t)
	for _, a := range answers {
		switch a.outcome {
		case wrong:
			t.Errorf("%s: %s is WRONG: %v (%s)", when, a.path, a.why, a.status)
		case right:
			good++
		}
	}
	return good
}

func TestClientsSeeWhatIsWrong(t *testing.T) {
	o := newOrigin(t, 0)
	const size = 3 << 20
	good := path(size, "a")
	body, _ := o.body(good)
	if body.sum() == [sha256.Size]byte{} {
		t.Error("no sum")
	}
	for name, tt := range map[string]struct {
		write func(w http.ResponseWriter)
		want  outcome
	}{
		"right":            {func(w http.ResponseWriter) { _, _ = io.Copy(w, io.NewSectionReader(body, 0, size)) }, right},
		"too short":        {func(w http.ResponseWriter) { _, _ = io.Copy(w, io.NewSectionReader(body, 0, size-1)) }, wrong},
		"from elsewhere":   {func(w http.ResponseWriter) { _, _ = io.Copy(w, io.NewSectionReader(body, 1, size)) }, wrong},
		"another status":   {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, wrong},
		"a gateway's word": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) }, refused},
		"broken off": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = io.Copy(w, io.NewSectionReader(body, 0, size/2))
			panic(http.ErrAbortHandler)
		}, broken},
		"one bit": {func(w http.ResponseWriter) {
			p := make([]byte, size)
			_, _ = body.ReadAt(p, 0)
			p[2<<20] ^= 4
			_, _ = w.Write(p)
		}, wrong},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tt.write(w) }))
			got, why, _ := newClients(t, o, time.Minute).ask(t.Context(), srv+good, good, 0, 0)
			if got != tt.want {
				t.Errorf("got %v (%v), want %v", got, why, tt.want)
			}
		})
	}
}

// newServer serves h and returns its address.
func newServer(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}
