package edge_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

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
			size := mib
			if name == "strong tag" && !testing.Short() {
				size = 8 * mib
			}
			data := noise(size, 10)
			w := newWorld(t)
			w.answer(slowly(data, 2*time.Millisecond, header...))
			for _, r := range w.herd(40, func(int) reply { return w.get("/f") }) {
				w.want(r, 200, string(data))
			}
			w.wantAsked(1)
			if got, most := w.up.ReceivedBytes(), int64(len(data))*101/100; got > most {
				t.Errorf("%d bytes crossed the line, at most %d should", got, most)
			}
		})
	}
}

func TestLeaderLeaves(t *testing.T) {
	data := noise(6*mib, 11)
	w := newWorld(t)
	w.answer(slowly(data, 5*time.Millisecond, "ETag", `"v"`, "Cache-Control", "max-age=60"))
	left := make(chan struct{})
	go func() { defer close(left); w.leave("/f", mib) }()
	w.until(func() bool { return len(w.requests()) > 0 }, "never asked")
	for _, r := range w.herd(10, func(int) reply { return w.get("/f") }) {
		w.want(r, 200, string(data))
	}
	<-left
	w.wantAsked(0)
}

func TestLeaderLeavesBeforeTheAnswer(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(150 * time.Millisecond)
		text("v", &made, "Cache-Control", "max-age=60")(rw, r)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.front.URL+"/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() { _, err := w.http.Do(req); left <- err }()
	w.until(func() bool { return len(w.requests()) > 0 }, "never asked")
	r := w.get("/a")
	w.want(r, 200, "v1")
	if err := <-left; err == nil {
		t.Error("the leader got an answer in time: nothing was tested")
	}
	w.wantAsked(0)
}

func TestAllLeaveAndTheNextGoesOn(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			data := noise(12*mib, 12)
			w := newWorld(t)
			w.answer(slowly(data, 5*time.Millisecond, "ETag", `"v"`, "Cache-Control", "max-age=60"))
			w.leave("/f", 3*mib)
			w.until(w.idle, "the fetch never ended")
			spent := w.up.ReceivedBytes()
			if spent > 8*mib {
				t.Errorf("%d bytes fetched for nobody", spent)
			}
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
	data := noise(8*mib, 13)
	w := newWorld(t)
	header := []string{"ETag", `"v"`, "Cache-Control", "max-age=60"}
	var n atomic.Int64
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 2 {
			die(data, 3*mib, header...)(rw, r)
			return
		}
		file(data, header...)(rw, r)
	})
	for _, r := range w.herd(20, func(int) reply { return w.get("/f") }) {
		w.want(r, 200, string(data))
	}
	if got := w.up.ReceivedBytes(); got > int64(len(data))*102/100 {
		t.Errorf("%d bytes crossed the line", got)
		w.wantAsked(3)
	}
}

func TestLineIsCutInTheMiddleAndHealed(t *testing.T) {
	data := noise(8*mib, 14)
	w := newWorld(t)
	w.answer(slowly(data, 10*time.Millisecond, "ETag", `"v"`, "Cache-Control", "max-age=60"))
	done := make(chan []reply, 1)
	go func() { done <- w.herd(10, func(int) reply { return w.get("/f") }) }()
	w.until(func() bool { return w.up.ReceivedBytes() > 2*mib }, "never began")
	w.cut()
	time.Sleep(300 * time.Millisecond)
	w.heal()
	for _, r := range <-done {
		w.want(r, 200, string(data))
	}
}

// TestVersionChangesInTheMiddle: nobody may get bytes of two versions.
func TestVersionChangesInTheMiddle(t *testing.T) {
	old, fresh := noise(6*mib, 15), noise(6*mib, 16)
	shorter := fresh[:5*mib]
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
					die(old, 3*mib, append(cc, tt.was...)...)(rw, r)
					return
				}
				file(tt.next, append(cc, tt.will...)...)(rw, r)
			})
			for i, r := range w.herd(10, func(int) reply { return w.get("/f") }) {
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
