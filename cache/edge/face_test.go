package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/edge"
	"preau/cache/vouch"
)

// serve serves a face over TLS, HTTP/2, and returns how to ask it.
func (w *world) serve(h http.Handler) func(method, path string, header ...string) reply {
	w.t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	client := s.Client()
	client.Transport.(*http.Transport).DisableCompression = true
	return func(method, path string, header ...string) reply {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		var words atomic.Int64
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code != http.StatusProcessing || len(h) > 0 {
				w.t.Errorf("%d with %v", code, h)
			}
			words.Add(1)
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, method, s.URL+path, http.NoBody)
		if err != nil {
			w.t.Error(err)
			return reply{err: err}
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			return reply{err: err}
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return reply{status: resp.StatusCode, header: resp.Header, body: body, err: err, trail: http.Header{"Words": {fmt.Sprint(words.Load())}}}
	}
}

// digests reads a list.
func digests(b []byte) (out []vouch.Entry, err error) {
	r := vouch.NewReader(bytes.NewReader(b), 1000)
	for {
		e, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return out, err
		case e.Len > 0:
			out = append(out, e)
		}
	}
}

// wantDigests checks that r vouches for the blocks of data that from..to
// touches.
func wantDigests(t *testing.T, r reply, data []byte, from, to int) {
	t.Helper()
	got, err := digests(r.body)
	if err != nil || r.err != nil {
		t.Errorf("error %v, %v", err, r.err)
	}
	i := 0
	for at := from / block.Size * block.Size; at < to; at += block.Size {
		p := data[at:min(len(data), at+block.Size)]
		if i >= len(got) || got[i].Len != len(p) || got[i].Digest != block.Sum(p) {
			t.Errorf("entry %d of %d is not that of block %d", i, len(got), at/block.Size)
		}
		i++
	}
	if len(got) != i {
		t.Errorf("%d digests, want %d", len(got), i)
	}
}

func TestPeersAreVouchedFor(t *testing.T) {
	data := noise(3<<20+100, 1)
	sized := file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60")
	unsized := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("ETag", `"v1"`)
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = rw.Write(data[:100])
		_ = http.NewResponseController(rw).Flush()
		_, _ = rw.Write(data[100:])
	}
	all := [2]int{0, len(data)}
	tests := map[string]struct {
		answer http.HandlerFunc
		before []string // asked for by a device: its Range, if any
		rng    string
		span   [2]int
		length bool
	}{
		"nothing is held":               {sized, nil, "", all, true},
		"all is held":                   {sized, []string{""}, "", all, true},
		"the end is held":               {sized, []string{"bytes=1500000-"}, "", all, true},
		"the middle is held":            {sized, []string{"bytes=1000000-2200000"}, "", all, true},
		"part of a block, of what is":   {sized, []string{""}, "bytes=5-5000", [2]int{5, 5001}, true},
		"part of a block, of what not":  {sized, nil, "bytes=1500000-1600000", [2]int{1500000, 1600001}, true},
		"over a border":                 {sized, nil, "bytes=1048000-1051999", [2]int{1048000, 1052000}, true},
		"the end":                       {sized, nil, "bytes=-5000", [2]int{len(data) - 5000, len(data)}, true},
		"the length is not known":       {unsized, nil, "", all, false},
		"the length was not known once": {unsized, []string{""}, "bytes=5-5000", [2]int{5, 5001}, true},
	}
	w := newWorld(t)
	ask := w.serve(w.edge.Peers())
	n := 0
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.answer(tt.answer)
			n++
			path := fmt.Sprint("/", n)
			for _, rng := range tt.before {
				if r := w.get(path, rangeIf(rng)...); r.err != nil {
					t.Fatal(r.err)
				}
			}
			r := ask(http.MethodGet, path, append(rangeIf(tt.rng), vouch.Body, vouch.Digests)...)
			wantDigests(t, r, data, tt.span[0], tt.span[1])
			h, status, part := r.header, http.StatusOK, ""
			if tt.rng != "" {
				status, part = http.StatusPartialContent, fmt.Sprintf("bytes %d-%d/%d", tt.span[0], tt.span[1]-1, len(data))
			}
			if r.status != status || h.Get("Content-Range") != part || h.Get(vouch.Body) != vouch.Digests || h.Get("ETag") != `"v1"` || h.Get("Content-Length") != "" {
				t.Errorf("status %d, header %v", r.status, h)
			}
			if want := int64(tt.span[1] - tt.span[0]); tt.length && vouch.LengthOf(h) != want || !tt.length && h.Get(vouch.Length) != "" {
				t.Errorf("length %q, want %d", h.Get(vouch.Length), want)
			}
			// The bytes themselves are as they were.
			plain := ask(http.MethodGet, path, rangeIf(tt.rng)...)
			if !bytes.Equal(plain.body, data[tt.span[0]:tt.span[1]]) || plain.header.Get(vouch.Body) != "" {
				t.Errorf("%d bytes, header %v", len(plain.body), plain.header)
			}
			for _, r := range w.requests() {
				if r.Header.Get(vouch.Body) != "" {
					t.Error("the site was asked to vouch")
				}
			}
		})
	}
}

func rangeIf(rng string) []string {
	if rng == "" {
		return nil
	}
	return []string{"Range", rng}
}

// TestARunningFillIsVouchedForAsItGoes: and who waits hears that it goes on.
func TestARunningFillIsVouchedForAsItGoes(t *testing.T) {
	w := newWorld(t)
	data := noise(2<<20+5, 1)
	gate := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(len(data)))
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = rw.Write(data[:1<<20])
		_ = http.NewResponseController(rw).Flush()
		<-gate
		_, _ = rw.Write(data[1<<20:])
	})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	s := httptest.NewServer(w.edge.Peers())
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/film", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	vouch.Ask(req.Header)
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	list := vouch.NewReader(resp.Body, 3)
	if e, err := list.Next(); err != nil || e.Digest != block.Sum(data[:1<<20]) {
		t.Fatalf("first entry %v, %v", e, err)
	}
	if !testing.Short() { // it takes its time
		if e, err := list.Next(); err != nil || e.Len != 0 {
			t.Errorf("who waits hears %v, %v", e, err)
		}
	}
	open()
	var rest []block.Digest
	for {
		e, err := list.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		if e.Len > 0 {
			rest = append(rest, e.Digest)
		}
	}
	if len(rest) != 2 || rest[0] != block.Sum(data[1<<20:2<<20]) || rest[1] != block.Sum(data[2<<20:]) {
		t.Errorf("then %v", rest)
	}
}

func TestWhatIsAnsweredAsAlways(t *testing.T) {
	w := newWorld(t)
	data := noise(5000, 1)
	peers, neighbours, devices := w.serve(w.edge.Peers()), w.serve(w.edge.Neighbours()), w.serve(w.edge)
	good := file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60")
	tests := map[string]struct {
		ask    func(string, string, ...string) reply
		method string
		answer http.HandlerFunc
		header []string
		status int
	}{
		"a short body":       {peers, http.MethodGet, file(data[:2000], "ETag", `"v1"`, "Cache-Control", "max-age=60"), nil, 200},
		"a short range":      {peers, http.MethodGet, good, []string{"Range", "bytes=5-100"}, 206},
		"several ranges":     {peers, http.MethodGet, good, []string{"Range", "bytes=5-100,4000-4999"}, 206},
		"a range of nothing": {peers, http.MethodGet, good, []string{"Range", "bytes=9000-"}, 416},
		"what the peer has":  {peers, http.MethodGet, good, []string{"If-None-Match", `"v1"`}, 304},
		"head":               {peers, http.MethodHead, good, nil, 200},
		"not to be stored":   {peers, http.MethodGet, file(data, "Cache-Control", "no-store"), nil, 200},
		"credentials":        {peers, http.MethodGet, file(data, "Cache-Control", "private"), []string{"Authorization", "Basic eA=="}, 200},
		"an error": {peers, http.MethodGet, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write(data)
		}, nil, 404},
		"a device":    {devices, http.MethodGet, good, nil, 200},
		"a neighbour": {neighbours, http.MethodGet, good, nil, 200},
	}
	n := 0
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n++
			w.answer(tt.answer)
			path := fmt.Sprint("/", n)
			for range 3 { // fetched, stored, from memory
				r := tt.ask(tt.method, path, append(tt.header, vouch.Body, vouch.Digests)...)
				if r.err != nil || r.status != tt.status || r.header.Get(vouch.Body) != "" || r.header.Get(vouch.Length) != "" {
					t.Errorf("status %d, %v, header %v", r.status, r.err, r.header)
				}
				if r.status == http.StatusOK && tt.method == http.MethodGet && !bytes.HasPrefix(data, r.body) {
					t.Error("another body")
				}
			}
			for _, r := range w.requests() {
				if r.Header.Get(vouch.Body) != "" {
					t.Error("the site was asked to vouch")
				}
			}
		})
	}
}

// TestASiteCannotVouch: its fields of that name are not its to send.
func TestASiteCannotVouch(t *testing.T) {
	w := newWorld(t)
	peers := w.serve(w.edge.Peers())
	for i, cc := range []string{"max-age=60", "no-store", "private"} {
		w.answer(file([]byte("short"), "Cache-Control", cc, vouch.Body, vouch.Digests, vouch.Length, "99999"))
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			r := peers(method, fmt.Sprint("/", i), vouch.Body, vouch.Digests)
			if r.header.Get(vouch.Body) != "" || r.header.Get(vouch.Length) != "" {
				t.Errorf("%s, %s: %v", cc, method, r.header)
			}
		}
	}
}

func TestNeighboursHearThatItIsWorkedOn(t *testing.T) {
	w := newWorld(t)
	ask := w.serve(w.edge.Neighbours())
	data := noise(5000, 1)
	gate := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		<-gate
		file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60", "X-Field", "x")(rw, r)
	})
	done := make(chan reply)
	go func() { done <- ask(http.MethodGet, "/o/site/a") }()
	w.waiting(1)
	select { // several words' time
	case r := <-done:
		t.Errorf("answered %d, %v", r.status, r.err)
	case <-time.After(600 * time.Millisecond):
	}
	close(gate)
	r := <-done
	if r.err != nil || r.status != 200 || !bytes.Equal(r.body, data) || r.header.Get("X-Field") != "x" {
		t.Errorf("status %d, %d bytes, %v, %v", r.status, len(r.body), r.header, r.err)
	}
	if r.trail.Get("Words") == "0" {
		t.Error("not a word")
	}
}

func TestWhatNeighboursMayNot(t *testing.T) {
	w := newWorld(t)
	ask := w.serve(w.edge.Neighbours())
	w.answer(file(noise(5000, 1), "Cache-Control", "max-age=60"))
	for name, tt := range map[string]struct {
		method string
		header []string
		status int
	}{
		"write":             {http.MethodPost, nil, 405},
		"send cookies":      {http.MethodGet, []string{"Cookie", "a=b"}, 400},
		"send credentials":  {http.MethodGet, []string{"Authorization", "Basic eA=="}, 400},
		"have what is not":  {http.MethodGet, []string{"Cache-Control", "only-if-cached"}, 504},
		"reach other sites": {http.MethodConnect, nil, 405},
	} {
		if r := ask(tt.method, "/o/site/a", tt.header...); r.status != tt.status {
			t.Errorf("%s: status %d, %v", name, r.status, r.err)
		}
	}
	w.wantAsked(0)
	w.edge.SetStorage(nil)
	if r := ask(http.MethodGet, "/o/site/a"); r.status != http.StatusServiceUnavailable {
		t.Errorf("without storage: status %d", r.status)
	}
	w.wantAsked(0)
	w.edge.SetStorage(w.store)
}

// TestWhatIsHalfHereIsNotHere: a neighbour that wants only what is stored does
// not make this box fetch the rest.
func TestWhatIsHalfHereIsNotHere(t *testing.T) {
	w := newWorld(t)
	ask := w.serve(w.edge.Neighbours())
	data := noise(2<<20, 1)
	w.answer(file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60"))
	w.want(w.get("/film", "Range", "bytes=1048576-1500000"), 206, string(data[1048576:1500001]))
	w.wantAsked(1)
	if r := ask(http.MethodGet, "/film", "Cache-Control", "only-if-cached"); r.status != http.StatusGatewayTimeout {
		t.Errorf("the whole: status %d, %v", r.status, r.err)
	}
	w.wantAsked(0)
	if r := ask(http.MethodGet, "/film", "Cache-Control", "only-if-cached", "Range", "bytes=1100000-1200000"); r.status != 206 || !bytes.Equal(r.body, data[1100000:1200001]) {
		t.Errorf("the part that is here: status %d, %v", r.status, r.err)
	}
}

// pooled is a site that asks neighbours first.
type pooled struct {
	edge.Origin
	fetch func(f vouch.Fetch, get func() (*http.Response, error)) (*http.Response, error)
}

func (p *pooled) Fetch(req *http.Request) (*http.Response, error) {
	return p.fetch(vouch.Of(req.Context()), func() (*http.Response, error) { return p.Origin.Fetch(req) })
}

// nearBody is a body that a neighbour sent.
type nearBody struct{ io.ReadCloser }

func (nearBody) Source() string { return "neighbour" }

// TestNeighboursDoNotWaitInCircles: who asks this box does not wait for what
// this box waits for a neighbour to send, and waits for all else.
func TestNeighboursDoNotWaitInCircles(t *testing.T) {
	data := noise(5000, 1)
	tests := map[string]struct {
		fetch func(f vouch.Fetch, gate <-chan struct{})
		asked int // the site
	}{
		"the box asks its line":          {func(vouch.Fetch, <-chan struct{}) {}, 1},
		"the box asks a neighbour":       {func(f vouch.Fetch, gate <-chan struct{}) { f.Waiting(true); <-gate }, 2},
		"the box asked one, to no avail": {func(f vouch.Fetch, _ <-chan struct{}) { f.Waiting(true); f.Waiting(false) }, 1},
		"the box has asked one, and goes": {func(f vouch.Fetch, _ <-chan struct{}) {
			f.Waiting(true)
			<-time.After(50 * time.Millisecond)
			f.Waiting(false)
		}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			gate, line, begun := make(chan struct{}), make(chan struct{}), make(chan struct{})
			var first sync.Once
			p := &pooled{}
			w := newWorld(t)
			p.Origin, w.site.Upstream = w.up, p
			p.fetch = func(f vouch.Fetch, get func() (*http.Response, error)) (*http.Response, error) {
				if !f.Neighbour {
					first.Do(func() { close(begun) })
					tt.fetch(f, gate)
				}
				return get()
			}
			w.answer(func(rw http.ResponseWriter, r *http.Request) {
				<-line
				file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60")(rw, r)
			})
			ask := w.serve(w.edge.Neighbours())
			device, near := make(chan reply, 1), make(chan reply, 1)
			go func() { device <- w.get("/a") }()
			<-begun
			if tt.asked == 2 {
				w.until(func() bool { return w.edge.Waiting() == 1 }, "nobody waits")
			}
			go func() { near <- ask(http.MethodGet, "/a") }()
			w.until(func() bool { return w.edge.Waiting() == 2 }, "the neighbour does not wait")
			close(line)
			if r := <-near; r.status != 200 || !bytes.Equal(r.body, data) {
				t.Errorf("the neighbour got %d, %v", r.status, r.err)
			}
			close(gate)
			if r := <-device; r.status != 200 || !bytes.Equal(r.body, data) {
				t.Errorf("the device got %d, %v", r.status, r.err)
			}
			w.wantAsked(tt.asked)
		})
	}
}

// TestWhatANeighbourFeedsIsNotFollowed by another neighbour, until it is here.
func TestWhatANeighbourFeedsIsNotFollowed(t *testing.T) {
	data := noise(1<<20+5, 1)
	gate := make(chan struct{})
	p := &pooled{}
	w := newWorld(t)
	p.Origin, w.site.Upstream = w.up, p
	p.fetch = func(f vouch.Fetch, get func() (*http.Response, error)) (*http.Response, error) {
		f.Waiting(true)
		resp, err := get()
		if err == nil {
			resp.Body = nearBody{resp.Body}
		}
		return resp, err
	}
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(len(data)))
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = rw.Write(data[:5000])
		_ = http.NewResponseController(rw).Flush()
		<-gate
		_, _ = rw.Write(data[5000:])
	})
	ask := w.serve(w.edge.Neighbours())
	device := make(chan reply, 1)
	go func() { device <- w.get("/a") }()
	w.until(func() bool {
		r := ask(http.MethodGet, "/a", "Cache-Control", "only-if-cached", "Range", "bytes=0-99")
		return r.status == 206 && bytes.Equal(r.body, data[:100])
	}, "what is here can't be had")
	if r := ask(http.MethodGet, "/a"); r.status != http.StatusGatewayTimeout {
		t.Errorf("the whole: status %d, %v", r.status, r.err)
	}
	close(gate)
	r := <-device
	if r.status != 200 || !bytes.Equal(r.body, data) || !bytes.Contains([]byte(r.cache()), []byte("detail=neighbour")) {
		t.Errorf("the device got %d, %d bytes, %s", r.status, len(r.body), r.cache())
	}
	w.until(func() bool { return bytes.Equal(ask(http.MethodGet, "/a").body, data) }, "it never came")
	w.wantAsked(1)
}
