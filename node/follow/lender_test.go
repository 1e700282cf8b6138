package follow

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/wire"
)

// asks sends a box's request to another one, and returns what it answers, and how
// often it said that it works on it.
func (h *hall) asks(ctx context.Context, from, to, method, path string, header ...string) (status, words int, data []byte) {
	h.t.Helper()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
		if status != http.StatusProcessing {
			h.t.Errorf("it says %d", status)
		}
		words++
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, method, "https://box"+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := trip{h.n, from, to}.RoundTrip(req)
	if err != nil {
		h.t.Error(err)
		return 0, words, nil
	}
	data, err = io.ReadAll(resp.Body)
	if err != nil {
		h.t.Error(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, words, data
}

func at(d block.Digest, of string) string { return "/blocks/" + d.String() + "?of=" + of }

func TestWhatOtherBoxesMayHave(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		here, away := random(1<<20+1, 80), random(900_000, 81)
		h.publish("here", here, false)
		h.publish("away", away, true)
		h.publish("other", away[:1000], false)
		h.publish("secret", here[:1<<20], false) // the same bytes, and taken back
		h.box("b").wants(t, "here", here)
		h.box("c").wants(t, "secret", here[:1<<20])
		for _, b := range h.boxes {
			b.copy.apply(t, gone(catalogue.KindResource, "secret"))
		}
		list, err := h.box("a").resource("away")
		if err != nil {
			t.Fatal(err)
		}
		first, stray := h.box("a").digests(t, "here")[0], block.Sum([]byte("of nothing"))
		h.owned("b")
		for name, tt := range map[string]struct {
			method, path, field, value string
			status                     int
			length                     int
		}{
			"a block that is here":                {http.MethodGet, at(first, "here"), "", "", 200, 1 << 20},
			"its length":                          {http.MethodHead, at(first, "here"), "", "", 200, 0},
			"only if it is here":                  {http.MethodGet, at(first, "here"), "Cache-Control", "max-age=3, Only-If-Cached", 200, 1 << 20},
			"as one of another resource":          {http.MethodGet, at(first, "other"), "", "", 404, 0},
			"as one of what was taken back":       {http.MethodGet, at(first, "secret"), "", "", 404, 0},
			"as one of what never was":            {http.MethodGet, at(first, "nothing"), "", "", 404, 0},
			"as one of nothing":                   {http.MethodGet, "/blocks/" + first.String(), "", "", 400, 0},
			"a name that is none":                 {http.MethodGet, at(first, "..%2Fhere"), "", "", 400, 0},
			"a digest that is none":               {http.MethodGet, "/blocks/abc?of=here", "", "", 400, 0},
			"a block that there is not":           {http.MethodGet, at(stray, "here"), "", "", 404, 0},
			"a list that is not here, if it were": {http.MethodGet, at(list.Manifest, "away"), "Cache-Control", onlyCached, 404, 0},
			"the length of one that is not here":  {http.MethodHead, at(list.Manifest, "away"), "", "", 404, 0},
			"to be kept":                          {http.MethodPut, at(first, "here"), "", "", 405, 0},
			"all of them":                         {http.MethodGet, "/blocks/", "", "", 404, 0},
		} {
			before := h.line.total()
			status, words, data := h.asks(t.Context(), "a", "b", tt.method, tt.path, cmp.Or(tt.field, "Other"), tt.value)
			if status != tt.status || status == 200 && len(data) != tt.length || words > 1 {
				t.Errorf("%s: %d with %d bytes, after %d words", name, status, len(data), words)
			}
			if tt.length == 0 && h.line.total() != before {
				t.Errorf("%s: the line was used", name)
			}
		}
		if status, words, data := h.asks(t.Context(), "a", "b", http.MethodGet, at(list.Manifest, "away")); status != 200 || block.Sum(data) != list.Manifest || words == 0 {
			t.Errorf("a list: %d with %d bytes", status, len(data))
		}
		if status, _, _ := h.asks(t.Context(), "a", "b", http.MethodHead, at(list.Manifest, "away")); status != 200 {
			t.Errorf("a list that is here now: %d", status)
		}
		b := h.box("b")
		b.feed = &feed.Follower{} // that has no connection
		b.mu.Lock()
		b.lease.alone, b.lease.since = 2*defaultLease, time.Now()
		b.mu.Unlock()
		if !b.lease.over(time.Now()) {
			t.Fatal("the lease goes on")
		}
		if status, _, _ := h.asks(t.Context(), "a", "b", http.MethodGet, at(first, "here")); status != 404 {
			t.Errorf("after the lease: %d", status)
		}
	})
}

// total is how many blocks came over the line.
func (o *overThere) total() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, g := range o.given {
		n += g
	}
	return n
}

func TestARequestOfABoxIsNeverPassedOn(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(1<<20, 82)
		h.publish("film", data, false)
		d := h.box("a").digests(t, "film")[0]
		h.owned("c")
		// It is a's turn neither to b's mind nor to a's own; b gets it itself.
		if status, _, _ := h.asks(t.Context(), "a", "b", http.MethodGet, at(d, "film")); status != 200 || h.n.count("GET c") != 0 {
			t.Errorf("%d, and the owner was asked %d times", status, h.n.count("GET c"))
		}
		h.n.mu.Lock()
		for _, asked := range h.n.asked["HEAD c"] {
			if !onlyIfCached(asked) {
				t.Error("c was asked for more than what it has")
			}
		}
		h.n.mu.Unlock()
		// The owner itself has to fetch what is not here.
		more := random(1<<20+2, 83)
		h.publish("book", more, false)
		if status, _, _ := h.asks(t.Context(), "c", "b", http.MethodGet, at(h.box("a").digests(t, "book")[0], "book")); status != 404 {
			t.Errorf("to the owner: %d", status)
		}
	})
}

func TestABoxSaysThatItWorks(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		data := random(1<<20, 84)
		h.publish("film", data, false)
		h.owned("b")
		h.line.takes = 5 * time.Second
		status, words, got := h.asks(t.Context(), "a", "b", http.MethodGet, at(h.box("a").digests(t, "film")[0], "film"))
		if status != 200 || !bytes.Equal(got, data) || words < 18 || words > 22 {
			t.Errorf("%d with %d bytes, after %d words", status, len(got), words)
		}
		h.line.set(func() { h.line.away = true })
		h.publish("book", random(1<<20, 85), false)
		if status, _, _ := h.asks(t.Context(), "a", "b", http.MethodGet, at(h.box("b").digests(t, "book")[0], "book")); status != 504 {
			t.Errorf("without the region: %d", status)
		}
	})
}

func TestRequestsOfOtherBoxesAreBounded(t *testing.T) {
	in(t, func(h *hall) {
		t := h.t
		h.owned("b")
		h.line.takes = time.Hour // nobody waits that long
		var paths []string
		for i, id := range []string{"film", "book"} {
			h.publish(id, random(6<<20, byte(86+i)), false)
			for _, d := range h.box("b").digests(t, id) {
				paths = append(paths, at(d, id))
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		for i := range lending {
			asking.Go(func() {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://box"+paths[i%len(paths)], nil)
				if err != nil {
					t.Error(err)
					return
				}
				if resp, err := (trip{h.n, "a", "b"}).RoundTrip(req); err == nil {
					t.Errorf("answered with %d", resp.StatusCode)
					_ = resp.Body.Close()
				}
			})
		}
		<-time.After(time.Second)
		b := h.box("b")
		b.supply.mu.Lock()
		if n := len(b.supply.crossings); n == 0 || n > lendFetches {
			t.Errorf("%d blocks are being fetched", n)
		}
		b.supply.mu.Unlock()
		if status, _, _ := h.asks(t.Context(), "a", "b", http.MethodGet, paths[0]); status != 503 {
			t.Errorf("one too many: %d", status)
		}
		stop()
		asking.Wait()
		synctest.Wait()
		b.supply.mu.Lock()
		if n := len(b.supply.crossings); n != 0 {
			t.Errorf("%d blocks are being fetched for nobody", n)
		}
		b.supply.mu.Unlock()
		h.line.set(func() { h.line.takes = 0 })
		if status, _, _ := h.asks(t.Context(), "a", "b", http.MethodGet, paths[0]); status != 200 {
			t.Errorf("afterwards: %d", status)
		}
	})
}

func TestABusyBoxIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := opened(t)
		data := []byte("a block")
		near := &answering{answers: []http.Response{answer(503, nil, "Retry-After", "1"), answer(503, nil, "Retry-After", "900"), answer(200, data)}}
		f.supply = newSupply(func(context.Context, string, block.Digest) ([]byte, error) { return nil, errNoServers }, f.log, f.met)
		f.SetNear(fixed{{Name: "a", RoundTripper: near}})
		began := time.Now()
		g, err := f.supply.get(t.Context(), ask{of: "film & co", digest: block.Sum(data)})
		if err != nil || !bytes.Equal(g.data, data) || time.Since(began) != 2*time.Second {
			t.Errorf("%q after %s, %v", g.data, time.Since(began), err)
		}
		if want := "/blocks/" + block.Sum(data).String() + "?of=film+%26+co"; near.asked[0] != want {
			t.Errorf("asked for %s, want %s", near.asked[0], want)
		}
	})
}

// fixed are boxes whose turn it always is.
type fixed []NearBox

func (f fixed) Order(string) ([]NearBox, bool) { return f, false }
func (fixed) Report(string, string)            {}
func (fixed) Lost(string)                      {}

func TestWhoAsksIsKnownByItsCertificate(t *testing.T) {
	f, _ := opened(t)
	f.supply = newSupply(nil, f.log, f.met)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	from := func(name identity.Name) *http.Request {
		return wire.WithPeer(r, wire.Peer{Identity: identity.Identity{Region: "region", Role: identity.Box, Name: name, School: school}})
	}
	if f.theirs(from("a"), "film") {
		t.Error("there are no others")
	}
	f.SetNear(fixed{{Name: "a"}, {Name: "b"}})
	if f.theirs(r, "film") || f.theirs(from("b"), "film") || !f.theirs(from("a"), "film") {
		t.Error("it is a's turn, and nobody else's")
	}
}

// As net/http has it: more interim responses than it takes unasked.
func TestWordsGoOverARealNetwork(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			f, c := opened(t)
			data, enough := random(1000, 88), make(chan struct{})
			r := resourceOf("film", "geo", 1000)
			r.SHA256, r.Blocks = block.Sum(data), []block.Digest{block.Sum(data)}
			c.apply(t, record(t, r))
			f.supply = newSupply(func(ctx context.Context, _ string, _ block.Digest) ([]byte, error) {
				select {
				case <-enough:
					return data, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}, f.log, f.met)
			var err error
			if f.shelf, err = shelf.New(shelf.DefaultConfig(), published{f}, f.storage.Load, blockSource{f.supply}, f.log, prometheus.NewRegistry()); err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(f.NearBlocks())
			server.EnableHTTP2 = proto == "HTTP/2.0"
			server.StartTLS()
			defer server.Close()
			words := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
				if words++; words == 7 {
					close(enough)
				}
				return nil
			}})
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+at(block.Sum(data), "film"), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); resp.Proto != proto || resp.StatusCode != 200 || !bytes.Equal(got, data) {
				t.Errorf("%s %d with %d bytes, %v", resp.Proto, resp.StatusCode, len(got), err)
			}
		})
	}
}
