package edge_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw answers with bytes of its own making and closes the connection.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}

// TestOddOrigins: whatever an origin sends, a client gets the right body or an
// error, and so does the one after it.
func TestOddOrigins(t *testing.T) {
	body := string(noise(3000, 20))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, body)
	_ = z.Close()
	const ok = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v\"\r\n"
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	tests := map[string]struct {
		answer string
		header []string
		status int // 0: an error or a broken body
		want   string
		stored bool
	}{
		"length too long":       {ok + length(4000) + "\r\n" + body, nil, 0, "", false},
		"length too short":      {ok + length(2000) + "\r\n" + body, nil, 200, body[:2000], true},
		"close delimited":       {ok + "Connection: close\r\n\r\n" + body, nil, 200, body, true},
		"http 1.0":              {strings.Replace(ok, "1.1", "1.0", 1) + "\r\n" + body, nil, 200, body, true},
		"chunked":               {ok + "Transfer-Encoding: chunked\r\n\r\nbb8\r\n" + body + "\r\n0\r\n\r\n", nil, 200, body, true},
		"chunks cut off":        {ok + "Transfer-Encoding: chunked\r\n\r\nbb8\r\n" + body + "\r\n", nil, 0, "", false},
		"weak gzip":             {strings.Replace(ok, `"v"`, `W/"v"`, 1) + "Content-Encoding: gzip\r\n" + length(zipped.Len()) + "\r\n" + zipped.String(), nil, 200, zipped.String(), true},
		"empty":                 {ok + length(0) + "\r\n", nil, 200, "", true},
		"no content":            {strings.Replace(ok, "200 OK", "204 No Content", 1) + "\r\n", nil, 204, "", true},
		"not found":             {strings.Replace(ok, "200 OK", "404 Not Found", 1) + length(4) + "\r\nnone", nil, 404, "none", true},
		"gone for good":         {strings.Replace(ok, "200 OK", "301 Moved Permanently", 1) + "Location: /there\r\n" + length(0) + "\r\n", nil, 301, "", true},
		"no status":             {"hello\r\n\r\n", nil, 502, "*", false},
		"nothing":               {"", nil, 502, "*", false},
		"huge header":           {ok + "X-Big: " + strings.Repeat("x", 70_000) + "\r\n" + length(4) + "\r\nbody", nil, 200, "body", false},
		"part nobody asked for": {strings.Replace(ok, "200 OK", "206 Partial Content", 1) + "Content-Range: bytes 0-2999/3000\r\n" + length(3000) + "\r\n" + body, nil, 200, body, true},
		"weak part unasked":     {"HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: bytes 0-99/3000\r\n" + length(100) + "\r\n" + body[:100], nil, 206, body[:100], false},
		"whole for a part":      {ok + length(3000) + "\r\n" + body, []string{"Range", "bytes=100-199"}, 206, body[100:200], true},
		"other part":            {strings.Replace(ok, "200 OK", "206 Partial Content", 1) + "Content-Range: bytes 500-599/3000\r\n" + length(100) + "\r\n" + body[500:600], []string{"Range", "bytes=100-199"}, 206, body[500:600], false}, // as its Content-Range says
		"two lengths":           {ok + length(3000) + length(2999) + "\r\n" + body, nil, 502, "*", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := time.Minute
			if tt.status == 0 { // what is missing never comes
				patience = 50 * time.Millisecond
			}
			w := newPatientWorld(t, patience)
			w.answer(raw(tt.answer))
			for i, from := range []string{"first", "second"} {
				r := w.get("/f", tt.header...)
				if tt.status == 0 {
					if r.err == nil && r.status < 500 {
						t.Errorf("%s: status %d and %d bytes without an error", from, r.status, len(r.body))
					}
					continue
				}
				w.want(r, tt.status, tt.want)
				if hit := strings.Contains(r.cache(), "; hit"); i == 1 && hit != tt.stored {
					t.Errorf("hit %v, want %v: %s", hit, tt.stored, r.cache())
				}
			}
		})
	}
}

// TestWrongContentRange: an origin whose parts are not what their Content-Range
// says must not spoil the whole.
func TestPartsThatRunOver(t *testing.T) {
	data := noise(3*mib, 21)
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("ETag", `"v"`)
		h.Set("Cache-Control", "max-age=60")
		if rng := r.Header.Get("Range"); rng != "" {
			var from, to int
			if n, _ := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); n < 2 {
				to = len(data) - 1
			}
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
			rw.WriteHeader(206)
			_, _ = rw.Write(data[from : to+1])
			_, _ = rw.Write(make([]byte, 1000)) // chunked: nothing says that it ends sooner
			return
		}
		file(data, "ETag", `"v"`)(rw, r)
	})
	// The first is relayed, as its length is not said; the rest is fetched anew.
	w.get("/f", "Range", "bytes=1500000-1600000")
	w.leave("/f", 1000)
	w.want(w.get("/f", "Range", "bytes=2500000-2600000"), 206, string(data[2500000:2600001]))
	w.want(w.get("/f"), 200, string(data))
}
