package edge_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

const mib = 1 << 20

// slowly sends in pieces, so that the fill is under way for a while.
func slowly(data []byte, pause time.Duration, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		file(data, header...)(&slowWriter{w, pause}, r)
	}
}

type slowWriter struct {
	http.ResponseWriter
	pause time.Duration
}

func (s *slowWriter) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p)
	s.ResponseWriter.(http.Flusher).Flush()
	time.Sleep(s.pause)
	return n, err
}

func TestRanges(t *testing.T) {
	border := fewer(2, 1) * mib
	data := noise(border+123, 1)
	n := len(data)
	var states = map[string]func(w *world) http.HandlerFunc{
		"complete": func(_ *world) http.HandlerFunc { return file(data, "ETag", `"v"`, "Cache-Control", "max-age=60") },
		"running": func(_ *world) http.HandlerFunc {
			return slowly(data, time.Millisecond, "ETag", `"v"`, "Cache-Control", "max-age=60")
		},
		"cold": func(_ *world) http.HandlerFunc { return file(data, "ETag", `"v"`, "Cache-Control", "max-age=60") },
		"weak": func(_ *world) http.HandlerFunc { return file(data, "ETag", `W/"v"`, "Cache-Control", "max-age=60") },
		"no ranges": func(_ *world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				r.Header.Del("Range")
				file(data, "ETag", `"v"`, "Cache-Control", "max-age=60")(rw, r)
			}
		},
	}
	tests := map[string]struct {
		header   []string
		from, to int  // -1: the whole as 200; from == to: 416
		parsed   bool // alike in all states once the field has been read
	}{
		"single":            {[]string{"Range", "bytes=100-199"}, 100, 200, false},
		"first two":         {[]string{"Range", "bytes=0-1"}, 0, 2, true},
		"across blocks":     {[]string{"Range", fmt.Sprintf("bytes=1048000-%d", border+48)}, 1048000, border + 49, false},
		"open":              {[]string{"Range", "bytes=1040000-"}, 1040000, n, false},
		"suffix":            {[]string{"Range", "bytes=-500"}, n - 500, n, false},
		"suffix too long":   {[]string{"Range", "bytes=-99999999"}, 0, n, true},
		"end too far":       {[]string{"Range", "bytes=1040000-99999999"}, 1040000, n, true},
		"last byte":         {[]string{"Range", fmt.Sprintf("bytes=%d-", n-1)}, n - 1, n, true},
		"unsatisfiable":     {[]string{"Range", fmt.Sprintf("bytes=%d-", n)}, 0, 0, false},
		"not bytes":         {[]string{"Range", "lines=1-2"}, -1, n, true},
		"nonsense":          {[]string{"Range", "bytes=5-1"}, -1, n, true},
		"if-range matches":  {[]string{"Range", "bytes=5-9", "If-Range", `"v"`}, 5, 10, false},
		"if-range does not": {[]string{"Range", "bytes=5-9", "If-Range", `"u"`}, -1, n, false},
	}
	for state, answer := range states {
		w := newWorld(t)
		w.answer(answer(w))
		n := len(data)
		for name, tt := range tests {
			if testing.Short() && tt.parsed && state != "complete" && state != "cold" {
				continue
			}
			path := "/" + url.PathEscape(name)
			if state == "complete" {
				path = "/complete"
			}
			t.Run(state+"/"+name, func(t *testing.T) {
				if state == "weak" && name == "if-range matches" {
					t.Skip("a weak tag never matches")
				}
				w.requests()
				var other sync.WaitGroup
				defer other.Wait()
				switch state {
				case "complete":
					w.get(path)
				case "running":
					other.Go(func() { w.get(path) })
					w.until(func() bool { return len(w.requests()) > 0 }, "never asked")
				}
				r := w.get(path, tt.header...)
				switch {
				case r.err != nil:
					t.Fatal(r.err)
				case tt.from == tt.to:
					if r.status != 416 || r.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", n) {
						t.Errorf("status %d, Content-Range %q", r.status, r.header.Get("Content-Range"))
					}
				case tt.from < 0:
					if r.status != 200 || !bytes.Equal(r.body, data) {
						t.Errorf("status %d, %d bytes, want all %d", r.status, len(r.body), n)
					}
				default:
					want := fmt.Sprintf("bytes %d-%d/%d", tt.from, tt.to-1, n)
					if r.status != 206 || r.header.Get("Content-Range") != want || !bytes.Equal(r.body, data[tt.from:tt.to]) {
						t.Errorf("status %d, Content-Range %q, %d bytes; want %q", r.status, r.header.Get("Content-Range"), len(r.body), want)
					}
				}
				if r := w.get(path); !bytes.Equal(r.body, data) || r.status != 200 {
					t.Errorf("afterwards the whole is wrong: status %d, %d bytes, %v", r.status, len(r.body), r.err)
				}
			})
		}
	}
}

func TestSeveralRanges(t *testing.T) {
	data := noise(2*mib+7, 2)
	w := newWorld(t)
	w.answer(file(data, "ETag", `"v"`, "Cache-Control", "max-age=60", "Content-Type", "video/mp4"))
	w.get("/f")
	r := w.get("/f", "Range", "bytes=0-9, 1000000-1100000, -5")
	kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if r.status != 206 || kind != "multipart/byteranges" || err != nil {
		t.Fatalf("status %d, Content-Type %q", r.status, r.header.Get("Content-Type"))
	}
	if r.header.Get("Content-Length") != strconv.Itoa(len(r.body)) {
		t.Errorf("Content-Length %q for %d bytes", r.header.Get("Content-Length"), len(r.body))
	}
	parts := multipart.NewReader(bytes.NewReader(r.body), params["boundary"])
	for _, want := range [][2]int{{0, 10}, {1000000, 1100001}, {len(data) - 5, len(data)}} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if err != nil || !bytes.Equal(got, data[want[0]:want[1]]) {
			t.Errorf("part %v has %d bytes, %v", want, len(got), err)
		}
		if cr := p.Header.Get("Content-Range"); cr != fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, len(data)) {
			t.Errorf("Content-Range %q of part %v", cr, want)
		}
		if p.Header.Get("Content-Type") != "video/mp4" {
			t.Errorf("Content-Type %q", p.Header.Get("Content-Type"))
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("more parts: %v", err)
	}
}

func TestSeekThenWholeFetchesOnlyTheRest(t *testing.T) {
	data := noise(8*mib, 3)
	w := newWorld(t)
	w.answer(file(data, "ETag", `"v"`, "Cache-Control", "max-age=60"))
	r := w.get("/v", "Range", "bytes=6000000-6999999")
	w.want(r, 206, string(data[6000000:7000000]))
	if asked := w.wantAsked(1); asked[0].Header.Get("Range") != "bytes=6000000-6999999" {
		t.Errorf("Range sent: %q", asked[0].Header.Get("Range"))
	}
	before := w.up.ReceivedBytes()
	w.want(w.get("/v"), 200, string(data))
	if more := w.up.ReceivedBytes() - before; more > 7*mib+7*mib/100+mib/2 {
		t.Errorf("the rest of %d bytes cost %d", len(data)-1000000, more)
	}
	for _, r := range w.requests() {
		if r.Header.Get("Range") != "" && r.Header.Get("If-Range") != `"v"` {
			t.Errorf("range without If-Range: %v", r.Header)
		}
	}
	if total := w.up.ReceivedBytes(); total > int64(len(data))*102/100 {
		t.Errorf("in all %d bytes for %d", total, len(data))
	}
}

func TestProbeThenWhole(t *testing.T) { // as players on iOS do
	data := noise(4*mib, 4)
	w := newWorld(t)
	w.answer(file(data, "ETag", `"v"`, "Cache-Control", "max-age=60"))
	w.want(w.get("/v", "Range", "bytes=0-1"), 206, string(data[:2]))
	w.want(w.get("/v", "Range", fmt.Sprintf("bytes=0-%d", len(data)-1)), 206, string(data))
	w.want(w.get("/v"), 200, string(data), "hit")
	if total := w.up.ReceivedBytes(); total > int64(len(data))*102/100+100_000 {
		t.Errorf("in all %d bytes for %d", total, len(data))
	}
}

func TestRangeOfUnknownLength(t *testing.T) {
	data := noise(2*mib, 5)
	w := newWorld(t)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		for i := 0; i < len(data); i += mib / 4 {
			_, _ = rw.Write(data[i : i+mib/4])
			rw.(http.Flusher).Flush()
		}
	})
	r := w.get("/f", "Range", "bytes=10-19")
	if !(r.status == 206 && string(r.body) == string(data[10:20]) || r.status == 200 && bytes.Equal(r.body, data)) {
		t.Errorf("status %d, %d bytes", r.status, len(r.body))
	}
	w.want(w.get("/f"), 200, string(data), "hit")
	w.want(w.get("/f", "Range", "bytes=-10"), 206, string(data[len(data)-10:]), "hit")
	w.wantAsked(1)
}
