package edge_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/cache/fill"
)

// leave asks for path and goes away after n bytes.
func (w *world) leave(path string, n int64) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.front.URL+path, nil)
	if err != nil {
		w.t.Error(err)
		return
	}
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.CopyN(io.Discard, resp.Body, n); err != nil {
		w.t.Error(err)
	}
}

// idle reports whether no body is being read or fetched.
func (w *world) idle() bool {
	idle := true
	w.store.Fills().Bodies(func(*fill.Body) { idle = false })
	return idle
}

func TestHerdCrossesTheLineOnce(t *testing.T) {
	for name, header := range map[string][]string{
		"strong tag":   {"ETag", `"v"`, "Cache-Control", "max-age=60"},
		"no validator": {"Cache-Control", "max-age=60"},
		"weak tag":     {"ETag", `W/"v"`, "Cache-Control", "max-age=60"},
	} {
		t.Run(name, func(t *testing.T) {
			sizes, class := []int{1, 300 << 10, mib, mib + mib/4}, fewer(40, 6)
			switch {
			case name != "strong tag" && testing.Short():
				sizes = []int{1, mib + mib/4}
			case name != "strong tag":
			case testing.Short():
				class = 25
			default:
				sizes = append(sizes, 8*mib)
			}
			w := newWorld(t)
			for _, size := range sizes {
				data := noise(size, 10)
				w.answer(slowly(data, 2*time.Millisecond, header...))
				before := w.up.ReceivedBytes()
				for _, r := range w.herd(class, func(int) reply { return w.get(fmt.Sprint("/", size)) }) {
					w.want(r, 200, string(data))
				}
				w.wantAsked(1)
				if got, most := w.up.ReceivedBytes()-before, int64(max(size*101/100, size+1000)); got > most {
					t.Errorf("%d bytes crossed the line, at most %d should", got, most)
				}
			}
		})
	}
}

// TestLatecomersFindTheFetch has a class come while an answer is being stored,
// one pupil after the other.
func TestLatecomersFindTheFetch(t *testing.T) {
	w := newWorld(t)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		data := noise(1000+i*10_000, 11)
		began, goOn := make(chan struct{}), make(chan struct{})
		w.answer(func(rw http.ResponseWriter, r *http.Request) {
			close(began)
			<-goOn
			file(data, "ETag", `"v"`, "Cache-Control", "max-age=60")(rw, r)
		})
		path := fmt.Sprint("/", i)
		var class sync.WaitGroup
		class.Go(func() { w.want(w.get(path), 200, string(data)) })
		<-began
		for pupil := range 16 {
			class.Go(func() {
				if pupil == 8 {
					close(goOn)
				}
				w.want(w.get(path), 200, string(data))
				w.want(w.get(path), 200, string(data))
			})
		}
		class.Wait()
		w.wantAsked(1)
	}
}

// TestANewVersionTakesTheOldOnesPlace: when the site turns out to have another
// version in the middle of a fetch, there is no moment at which neither is
// known: who came then would ask the site for what is on its way.
func TestANewVersionTakesTheOldOnesPlace(t *testing.T) {
	w := newWorld(t)
	old, fresh := noise(2*mib, 20), noise(mib, 21)
	var n atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			die(old, mib, "ETag", `"1"`, "Cache-Control", "max-age=60")(rw, r)
			return
		}
		file(fresh, "ETag", `"2"`, "Cache-Control", "max-age=60")(rw, r)
	})
	w.get("/f") // broken off: it has bytes of the old one
	w.want(w.get("/f"), 200, string(fresh))
	err := testutil.GatherAndCompare(w.metrics, strings.NewReader(`
# HELP preau_object_removed_total Objects removed by cause: evicted, replaced, invalidated, purged, changed, unusable, lent (another box keeps it).
# TYPE preau_object_removed_total counter
preau_object_removed_total{cause="replaced"} 1
`), "preau_object_removed_total")
	if err != nil {
		t.Errorf("the old one went before the new one came: %v", err)
	}
	w.wantAsked(2)
}

func TestLeaderLeaves(t *testing.T) {
	data := noise(fewer(6, 2)*mib, 11)
	w := newWorld(t)
	w.answer(slowly(data, 5*time.Millisecond, "ETag", `"v"`, "Cache-Control", "max-age=60"))
	left := make(chan struct{})
	go func() { defer close(left); w.leave("/f", mib) }()
	w.until(func() bool { return len(w.requests()) > 0 }, "never asked")
	for _, r := range w.herd(fewer(10, 6), func(int) reply { return w.get("/f") }) {
		w.want(r, 200, string(data))
	}
	<-left
	w.wantAsked(0)
}

func TestLeaderLeavesBeforeTheAnswer(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	goOn := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		<-goOn
		text("v", &made, "Cache-Control", "max-age=60")(rw, r)
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.front.URL+"/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() { _, err := w.http.Do(req); left <- err }()
	w.until(func() bool { return len(w.requests()) > 0 }, "never asked")
	next := make(chan reply, 1)
	go func() { next <- w.get("/a") }()
	w.waiting(2)
	leave()
	if err := <-left; err == nil {
		t.Error("the leader got an answer: nothing was tested")
	}
	w.waiting(1) // the edge has noticed
	close(goOn)
	w.want(<-next, 200, "v1")
	w.wantAsked(0)
}

func TestAllLeaveAndTheNextGoesOn(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			data := noise(fewer(12, 4)*mib, 12)
			w := newWorld(t)
			// The first fetch gets a third and would then wait for ever, so that
			// it ends for want of readers and for nothing else.
			var n atomic.Int64
			w.answer(func(rw http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 1 {
					rw = &stopping{rw, r.Context(), len(data) / 3}
				}
				file(data, "ETag", `"v"`, "Cache-Control", "max-age=60")(rw, r)
			})
			w.leave("/f", int64(len(data)/4))
			w.until(w.idle, "the fetch never ended")
			if restart {
				w.reopen()
			}
			w.requests()
			w.want(w.get("/f"), 200, string(data))
			asked := w.wantAsked(1)
			if asked[0].Header.Get("Range") == "" || asked[0].Header.Get("If-Range") != `"v"` {
				t.Errorf("did not go on: %v", asked[0].Header)
			}
			// What was on its way when the last one left is lost.
			if total := w.up.ReceivedBytes(); total > int64(len(data))*104/100+mib {
				t.Errorf("in all %d bytes for %d", total, len(data))
			}
		})
	}
}

// stopping sends left bytes and then nothing until its client has gone.
type stopping struct {
	http.ResponseWriter
	client context.Context
	left   int
}

func (s *stopping) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left >= 0 {
		return s.ResponseWriter.Write(p)
	}
	s.ResponseWriter.(http.Flusher).Flush()
	<-s.client.Done()
	return 0, s.client.Err()
}

// die breaks the connection after n bytes of the body.
func die(data []byte, after int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		file(data, header...)(&dying{w, after}, r)
	}
}

type dying struct {
	http.ResponseWriter
	left int
}

func (d *dying) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left > 0 {
		return d.ResponseWriter.Write(p)
	}
	d.ResponseWriter.(http.Flusher).Flush()
	time.Sleep(20 * time.Millisecond)
	conn, _, err := d.ResponseWriter.(http.Hijacker).Hijack()
	if err != nil {
		return 0, err
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset, as of a line that breaks
	_ = conn.Close()
	panic(http.ErrAbortHandler)
}

func TestOriginDiesAndComesBack(t *testing.T) {
	data := noise(fewer(8, 3)*mib, 13)
	w := newWorld(t)
	header := []string{"ETag", `"v"`, "Cache-Control", "max-age=60"}
	var n atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 2 {
			die(data, len(data)*3/8, header...)(rw, r)
			return
		}
		file(data, header...)(rw, r)
	})
	for _, r := range w.herd(fewer(20, 8), func(int) reply { return w.get("/f") }) {
		w.want(r, 200, string(data))
	}
	if got := w.up.ReceivedBytes(); got > int64(len(data))*102/100 {
		t.Errorf("%d bytes crossed the line", got)
		w.wantAsked(3)
	}
}

func TestLineIsCutInTheMiddleAndHealed(t *testing.T) {
	data := noise(fewer(8, 3)*mib, 14)
	w := newWorld(t)
	w.answer(slowly(data, 10*time.Millisecond, "ETag", `"v"`, "Cache-Control", "max-age=60"))
	done := make(chan []reply, 1)
	go func() { done <- w.herd(fewer(10, 5), func(int) reply { return w.get("/f") }) }()
	w.until(func() bool { return w.up.ReceivedBytes() > int64(len(data)/4) }, "never began")
	w.cut()
	time.Sleep(300 * time.Millisecond)
	w.heal()
	for _, r := range <-done {
		w.want(r, 200, string(data))
	}
}

// TestVersionChangesInTheMiddle: nobody may get bytes of two versions.
func TestVersionChangesInTheMiddle(t *testing.T) {
	size := fewer(6, 2) * mib
	old, fresh := noise(size, 15), noise(size, 16)
	shorter := fresh[:size-mib/2]
	tests := map[string]struct {
		next      []byte
		was, will []string
	}{
		"other tag":           {fresh, []string{"ETag", `"1"`}, []string{"ETag", `"2"`}},
		"weak tags":           {fresh, []string{"ETag", `W/"1"`}, []string{"ETag", `W/"2"`}},
		"other length":        {shorter, []string{"ETag", `"1"`}, []string{"ETag", `"1"`}},
		"no validators":       {fresh, nil, nil},
		"same tag by mistake": {shorter, []string{"ETag", `W/"1"`}, []string{"ETag", `W/"1"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cc := []string{"Cache-Control", "max-age=60"}
			var n atomic.Int64
			w.answer(func(rw http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 1 {
					die(old, size/2, append(cc, tt.was...)...)(rw, r)
					return
				}
				file(tt.next, append(cc, tt.will...)...)(rw, r)
			})
			for i, r := range w.herd(fewer(10, 5), func(int) reply { return w.get("/f") }) {
				switch {
				case r.err != nil: // a broken connection is an honest answer
				case r.status == 200 && (bytes.Equal(r.body, tt.next) || bytes.Equal(r.body, old)):
				default:
					t.Errorf("client %d: status %d, %d bytes that are no version", i, r.status, len(r.body))
				}
			}
			w.until(func() bool { r := w.get("/f"); return r.err == nil && bytes.Equal(r.body, tt.next) }, "the new version was never had")
			w.requests()
			w.want(w.get("/f"), 200, string(tt.next), "hit")
			w.wantAsked(0)
		})
	}
}
