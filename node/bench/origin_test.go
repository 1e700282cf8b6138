//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// object is something the origin has.
type object struct {
	body
	path         string
	cacheControl string
	asked        atomic.Int64 // requests for it
}

func (o *object) etag() string { return fmt.Sprintf(`"v1-%d-%d"`, o.seed, o.size) }

// origin is the web site behind the line: files with validators and ranges,
// and a switch that makes it answer 503.
type origin struct {
	pattern *pattern
	addr    string
	failing atomic.Bool

	requests    atomic.Int64
	conditional atomic.Int64

	mu      sync.RWMutex
	objects map[string]*object
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{pattern: newPattern(), objects: map[string]*object{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("origin: %v", err)
	}
	o.addr = ln.Addr().String()
	srv := &http.Server{Handler: o}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("origin: %v", err)
		}
	})
	return o
}

// add puts an object at /name.
func (o *origin) add(name string, size int64, cacheControl string) *object {
	o.mu.Lock()
	defer o.mu.Unlock()
	obj := &object{
		body:         body{p: o.pattern, seed: uint64(len(o.objects) + 1), size: size},
		path:         "/" + name,
		cacheControl: cacheControl,
	}
	o.objects[obj.path] = obj
	return obj
}

// forget clears the counters.
func (o *origin) forget() {
	o.requests.Store(0)
	o.conditional.Store(0)
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.requests.Add(1)
	if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "" {
		o.conditional.Add(1)
	}
	if o.failing.Load() {
		http.Error(w, "the origin is out of order", http.StatusServiceUnavailable)
		return
	}
	o.mu.RLock()
	obj := o.objects[r.URL.Path]
	o.mu.RUnlock()
	if obj == nil {
		http.NotFound(w, r)
		return
	}
	obj.asked.Add(1)
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", obj.etag())
	h.Set("Cache-Control", obj.cacheControl)
	http.ServeContent(w, r, "", time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC), io.NewSectionReader(obj, 0, obj.size))
}

// result is what one client saw of one request.
type result struct {
	status  int
	ttfb    time.Duration // until the first body byte, from the start of the request
	total   time.Duration
	n       int64
	ok      bool // every byte there and right
	wrong   bool // bytes that are not the body's, or an end that pretends to be one
	err     error
	headers http.Header
}

// get fetches [from, from+n) of obj at base and compares every byte; n < 0
// means the whole body without a Range field. leaveAt > 0 hangs up after so many bytes.
func get(ctx context.Context, c *http.Client, base string, obj *object, from, n, leaveAt int64) (res result) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+obj.path, nil)
	if err != nil {
		res.err = err
		return res
	}
	want := obj.size
	if n >= 0 {
		want = n
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+n-1))
	}
	began := time.Now()
	defer func() { res.total = time.Since(began) }()
	resp, err := c.Do(req)
	if err != nil {
		res.err = err
		return res
	}
	defer resp.Body.Close()
	res.status, res.headers = resp.StatusCode, resp.Header
	if resp.StatusCode/100 != 2 {
		_, res.err = io.Copy(io.Discard, resp.Body)
		return res
	}
	at := from
	if n >= 0 && resp.StatusCode == http.StatusOK { // the cache ignored the range: legal, and the whole body then counts
		at, want = 0, obj.size
	} else if n >= 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/", from, from+n-1)) {
		res.wrong, res.err = true, fmt.Errorf("asked %s, got %q", req.Header.Get("Range"), resp.Header.Get("Content-Range"))
		return res
	}
	check := &checker{b: obj.body, off: at}
	buf := make([]byte, 64<<10)
	for {
		m, err := resp.Body.Read(buf)
		if m > 0 {
			if res.ttfb == 0 {
				res.ttfb = time.Since(began)
			}
			if _, werr := check.Write(buf[:m]); werr != nil {
				res.wrong, res.err = true, werr
				return res
			}
			res.n = check.n
			if leaveAt > 0 && res.n >= leaveAt {
				return res
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			res.err = err
			return res
		}
	}
	res.ok = res.n == want
	// Fewer bytes behind a proper end of message: the client can't know.
	res.wrong = !res.ok
	return res
}

// newClient makes a device: its own connection, no compression, no retries across devices.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1}}
}
