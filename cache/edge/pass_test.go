package edge_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"preau/cache/edge"
	"preau/cache/upstream"
)

func TestMethodsPass(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		rw.Header().Set("X-Echo", "yes")
		_, _ = fmt.Fprintf(rw, "%s %s", r.Method, b)
	})
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "PROPFIND", "OPTIONS", "REPORT", "MADEUP"} {
		w.want(w.do(m, "/a", strings.NewReader("in")), 200, m+" in", "fwd=method")
		w.want(w.do(m, "/a", nil), 200, m+" ", "fwd=method")
	}
	w.want(w.do("GET", "/a", strings.NewReader("in")), 200, "GET in", "fwd=request")
	w.want(w.get("/a", "If-Match", `"x"`), 200, "GET ", "fwd=request")
}

// TestUploadStreamsBothWays echoes much: the first byte must be back before
// the last is sent.
func TestUploadStreamsBothWays(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).EnableFullDuplex()
		rw.WriteHeader(200)
		rw.(http.Flusher).Flush()
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Body.Read(buf)
			_, _ = rw.Write(buf[:n])
			rw.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	})
	data := noise(fewer(20, 4)*mib, 30)
	out, in := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.front.URL+"/echo", out)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	go func() {
		_, _ = in.Write(data[:1000])
		select {
		case <-first:
		case <-time.After(time.Minute):
			_ = in.CloseWithError(fmt.Errorf("nothing came back"))
			return
		}
		_, _ = in.Write(data[1000:])
		_ = in.Close()
	}()
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	sum := sha256.New()
	if _, err := io.CopyN(sum, resp.Body, 1000); err != nil {
		t.Fatal(err)
	}
	close(first)
	if n, err := io.Copy(sum, resp.Body); err != nil || n != int64(len(data)-1000) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if want := sha256.Sum256(data); string(sum.Sum(nil)) != string(want[:]) {
		t.Error("the echo differs")
	}
}

func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		conn, buf, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		for {
			line, err := buf.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "you said "+line)
		}
	})
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%v, %v", resp, err)
	}
	for _, s := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, s)
		if got, err := br.ReadString('\n'); got != "you said "+s {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestEventsArriveOneByOne(t *testing.T) {
	for name, accept := range map[string]string{"said": "text/event-stream", "unsaid": "*/*"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			next, left := make(chan int), make(chan struct{})
			w.answer(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				rw.Header().Set("Cache-Control", "no-cache")
				rw.(http.Flusher).Flush()
				for {
					select {
					case i := <-next:
						_, _ = fmt.Fprintf(rw, "data: %d\n\n", i)
						rw.(http.Flusher).Flush()
					case <-r.Context().Done():
						close(left)
						return
					}
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.front.URL+"/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			resp, err := w.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(resp.Body)
			for i := range 3 {
				next <- i
				if line, err := br.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("%q, %v", line, err)
				}
				_, _ = br.ReadString('\n')
			}
			_ = resp.Body.Close()
			cancel()
			select {
			case <-left: // the site learns that nobody listens
			case <-time.After(time.Minute):
				t.Error("the stream goes on though its client left")
			}
		})
	}
}

func TestLongPollIsNotCut(t *testing.T) {
	w := newWorld(t, func(_ *edge.Site, uc *upstream.Config) { uc.SilenceAfter = 50 * time.Millisecond })
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		// It is long for whoever asks when the line has been found alive twice.
		n := w.probes.Load()
		w.until(func() bool { return w.probes.Load() >= n+2 }, "the line was not looked at")
		_, _ = io.WriteString(rw, "at last")
	})
	replies := w.herd(2, func(i int) reply {
		if i == 0 {
			return w.get("/poll")
		}
		return w.do(http.MethodPost, "/poll", strings.NewReader("x"))
	})
	for _, r := range replies {
		w.want(r, 200, "at last")
	}
}

func TestTrailers(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(rw, "body")
		rw.Header().Set("X-Sum", "42")
	})
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		if r := w.do(m, "/a", nil); r.trail.Get("X-Sum") != "42" || string(r.body) != "body" {
			t.Errorf("%s: trailers %v, body %q", m, r.trail, r.body)
		}
	}
}

func TestEarlyHints(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(rw, "page")
	})
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		var hints []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
			return nil
		}}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), m, w.front.URL+"/a", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload" || resp.StatusCode != 200 {
			t.Errorf("%s: hints %q, status %d", m, hints, resp.StatusCode)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = rw.Write(b)
	})
	w.http.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour // longer than the request may take
	w.want(w.do(http.MethodPut, "/a", strings.NewReader("hello"), "Expect", "100-continue"), 200, "hello")
}
