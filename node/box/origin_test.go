package box

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// period is how long the bytes of a body take to come again: a prime just
// above a block, so that no two blocks of a body are alike.
const period = 1<<20 + 7

// origin is a web site that has every path /SIZE/NAME: bytes that follow from
// the path, with a strong validator and ranges.
type origin struct {
	pattern []byte // two periods

	addr string
	srv  *http.Server
	wg   sync.WaitGroup

	// bytesPerSecond is what the site sends to all at most. It is the site that is
	// slow and not a line behind it, whose buffers would hold megabytes that were
	// sent and had not come when a box was killed.
	bytesPerSecond int64

	breakOneIn atomic.Int64 // one answer in so many breaks off in its middle; 0: none
	answers    atomic.Int64

	mu   sync.Mutex
	sent map[string]int64 // body bytes by path
	free time.Time        // when all that was let go is sent
}

// newOrigin starts an origin that sends so many bytes per second at most; 0 for
// no limit.
func newOrigin(t *testing.T, bytesPerSecond int64) *origin {
	t.Helper()
	o := &origin{pattern: make([]byte, 2*period), bytesPerSecond: bytesPerSecond, sent: map[string]int64{}}
	rng := rand.NewChaCha8(sha256.Sum256([]byte("a site")))
	_, _ = rng.Read(o.pattern[:period]) // never fails
	copy(o.pattern[period:], o.pattern)
	o.serve(t, here()+":0")
	t.Cleanup(func() {
		_ = o.srv.Close() // what is cut off then is nobody's any more
		o.wg.Wait()
	})
	return o
}

// here is an address of this machine that only this process listens on, so that
// a site that is down for a while gets its port back: no other process is given
// it, and no connection begins there. Linux has many such addresses.
func here() string {
	own := fmt.Sprintf("127.86.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	ln, err := net.Listen("tcp", own+":0")
	if err != nil {
		return "127.0.0.1"
	}
	_ = ln.Close() // nothing was accepted
	return own
}

func (o *origin) serve(t *testing.T, addr string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	o.addr = ln.Addr().String()
	srv := &http.Server{Handler: o, ReadHeaderTimeout: time.Minute}
	o.srv = srv
	o.wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("origin: %v", err)
		}
	})
}

func (o *origin) url() string { return "http://" + o.addr }

// down makes the site refuse connections.
func (o *origin) down() {
	_ = o.srv.Close() // its connections break, which is the point
}

func (o *origin) up(t *testing.T) {
	t.Helper()
	o.serve(t, o.addr)
}

// path names a body of size bytes.
func path(size int64, name any) string { return fmt.Sprintf("/%d/%v", size, name) }

// body is what a path leads to.
func (o *origin) body(path string) (content, bool) {
	field, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	size, err := strconv.ParseInt(field, 10, 64)
	if err != nil || size < 0 {
		return content{}, false
	}
	sum := sha256.Sum256([]byte(path))
	seed := int64(sum[0]) | int64(sum[1])<<8 | int64(sum[2])<<16 | int64(sum[3])<<24
	return content{o.pattern, seed % period, size}, true
}

// content is the bytes of a body.
type content struct {
	pattern []byte
	from    int64
	size    int64
}

func (c content) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < c.size {
		at := (c.from + off) % period
		m := copy(p[n:min(int64(len(p)), int64(n)+c.size-off)], c.pattern[at:at+period])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c content) sum() [sha256.Size]byte {
	h := sha256.New()
	_, _ = io.Copy(h, io.NewSectionReader(c, 0, c.size)) // neither can fail
	return [sha256.Size]byte(h.Sum(nil))
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := o.body(r.URL.Path)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", fmt.Sprintf(`"%d-%d"`, c.from, c.size))
	h.Set("Cache-Control", "max-age=86400")
	counting := &counter{ResponseWriter: w, ctx: r.Context(), o: o, path: r.URL.Path, left: -1, piece: 256 << 10}
	if o.bytesPerSecond > 0 {
		counting.piece = 32 << 10
	}
	if n := o.breakOneIn.Load(); n > 0 && o.answers.Add(1)%n == 0 {
		counting.left = c.size / 2
	}
	http.ServeContent(counting, r, "", time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC), io.NewSectionReader(c, 0, c.size))
	counting.flush()
}

// counter counts the bytes of a body, and breaks it off when left is used up.
// It writes in large pieces.
type counter struct {
	http.ResponseWriter
	ctx   context.Context
	o     *origin
	path  string
	left  int64 // -1: never
	piece int
	buf   []byte
	err   error
}

func (c *counter) Write(p []byte) (int, error) {
	if c.buf = append(c.buf, p...); len(c.buf) >= c.piece {
		c.flush()
	}
	return len(p), c.err
}

func (c *counter) flush() {
	if c.left >= 0 {
		if c.left -= int64(len(c.buf)); c.left < 0 {
			panic(http.ErrAbortHandler)
		}
	}
	if c.err == nil {
		c.err = c.o.pace(c.ctx, len(c.buf))
	}
	if len(c.buf) > 0 && c.err == nil {
		var n int
		n, c.err = c.ResponseWriter.Write(c.buf)
		c.o.mu.Lock()
		c.o.sent[c.path] += int64(n)
		c.o.mu.Unlock()
	}
	c.buf = c.buf[:0]
}

// pace waits until n more bytes may go.
func (o *origin) pace(ctx context.Context, n int) error {
	if o.bytesPerSecond == 0 {
		return nil
	}
	o.mu.Lock()
	if now := time.Now(); o.free.Before(now) {
		o.free = now
	}
	o.free = o.free.Add(time.Duration(int64(n) * int64(time.Second) / o.bytesPerSecond))
	wait := time.Until(o.free)
	o.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// sentBytes is what has been sent of each path so far.
func (o *origin) sentBytes() map[string]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make(map[string]int64, len(o.sent))
	maps.Copy(out, o.sent)
	return out
}
