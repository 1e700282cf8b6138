package pool_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/pool"
	"preau/cache/upstream"
	"preau/cache/vouch"
)

// once skips all but one of a test's worlds where the tests are to be short.
func once(t *testing.T, this bool) {
	t.Helper()
	if testing.Short() && !this {
		t.Skip("another of its kind is enough")
	}
}

// little is what digests and small answers may cost beside the body.
const little = 8 << 10

func TestAFilmCrossesTheLineOnce(t *testing.T) {
	w := newWorld(t, 3)
	data := noise(2<<20 + 777)
	w.file(data)
	var all sync.WaitGroup
	for _, b := range w.boxes {
		for range 2 {
			all.Go(func() { w.want(w.get(b, "/film"), data, "preau") })
		}
	}
	all.Wait()
	for i, b := range w.boxes {
		if i > 0 {
			w.want(w.get(b, "/film"), data, "detail=neighbour") // the third, so that it is kept
		}
		w.want(w.get(b, "/film"), data, "hit")
		near := w.metric(b, "preau_pool_fetches_total", "result", "neighbour")
		if got, want := near, float64(2*min(i, 1)); got != want && got != want/2 {
			t.Errorf("%s took %v from neighbours, want %v", b.name, got, want)
		}
		if got := w.metric(b, "preau_pool_altered_blocks_total"); got != 0 {
			t.Errorf("%s: %v altered blocks", b.name, got)
		}
	}
	w.wantSent(len(data), len(data)+2*little)
	if got := w.asked.Load(); got != 1 {
		t.Errorf("the site was asked %d times", got)
	}
}

func TestWhereBytesComeFromIsTold(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(100 << 10)
	w.file(data)
	w.want(w.get(w.boxes[0], "/a"), data, "detail=region")
	w.want(w.get(w.boxes[1], "/a"), data, "detail=neighbour")
	w.want(w.get(w.boxes[1], "/a"), data, "detail=local")
	for i, want := range []map[string]float64{{"region": 1, "local": 1}, {"neighbour": 1, "local": 1}} {
		for _, source := range []string{"local", "neighbour", "region", "site"} {
			if got := w.metric(w.boxes[i], "preau_edge_sent_bytes_total", "source", source); got != want[source]*float64(len(data)) {
				t.Errorf("%s sent %v bytes from %s", w.boxes[i].name, got, source)
			}
		}
	}
	if got := w.metric(w.boxes[1], "preau_pool_received_bytes_total"); got != float64(len(data)) {
		t.Errorf("%v bytes received", got)
	}
	if r := w.get(w.boxes[1], "/a", "Cookie", "a=b", "Cache-Control", "no-cache"); r.status != http.StatusOK {
		t.Errorf("status %d", r.status)
	}
	for _, r := range w.boxes[0].near.requests() {
		if r.Header.Get("Cookie") != "" {
			t.Error("a neighbour was sent a cookie")
		}
	}
}

// TestARunningFillIsFollowed: what has come over the line goes on to the other
// boxes before the rest has come.
func TestARunningFillIsFollowed(t *testing.T) {
	for name, length := range map[string]string{"known length": "2097153", "unknown length": ""} {
		t.Run(name, func(t *testing.T) {
			once(t, length == "")
			w := newWorld(t, 2)
			data := noise(2<<20 + 1)
			gate, first := make(chan struct{}), make(chan struct{})
			w.answer(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Cache-Control", "max-age=600")
				rw.Header().Set("Etag", `"v1"`)
				if length != "" {
					rw.Header().Set("Content-Length", length)
				}
				_, _ = rw.Write(data[:1<<20+100])
				_ = http.NewResponseController(rw).Flush()
				<-gate
				_, _ = rw.Write(data[1<<20+100:])
			})
			var all sync.WaitGroup
			all.Go(func() { w.want(w.get(w.boxes[0], "/film"), data, "preau") })
			all.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.boxes[1].front.URL+"/film", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := w.client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				body := make([]byte, len(data))
				if _, err := io.ReadFull(resp.Body, body[:1<<20]); err != nil {
					t.Error(err)
				}
				close(first)
				if _, err := io.ReadFull(resp.Body, body[1<<20:]); err != nil || !bytes.Equal(body, data) {
					t.Errorf("the bytes differ: %v", err)
				}
			})
			select {
			case <-first:
			case <-time.After(time.Minute):
				t.Error("the other box waits for the end")
			}
			close(gate)
			all.Wait()
			w.wantSent(len(data), len(data)+little)
			if got := w.metric(w.boxes[1], "preau_pool_received_bytes_total"); got != float64(len(data)) {
				t.Errorf("%v bytes came from the neighbour", got)
			}
		})
	}
}

func TestARangeComesFromTheOwner(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(4 << 20)
	w.file(data)
	const from, to = 1<<20 + 70000, 2<<20 + 5
	r := w.get(w.boxes[1], "/film", "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	w.want(r, data[from:to], "detail=neighbour")
	if want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)); r.status != http.StatusPartialContent || r.header.Get("Content-Range") != want {
		t.Errorf("status %d, %s", r.status, r.header.Get("Content-Range"))
	}
	// Two blocks of four, and not a byte of the others.
	w.wantSent(2<<20, 2<<20+little)
	w.want(w.get(w.boxes[1], "/film", "Range", "bytes=-5000"), data[len(data)-5000:], "detail=neighbour")
	w.want(w.get(w.boxes[1], "/film"), data, "preau")
	w.want(w.get(w.boxes[0], "/film"), data, "preau")
	w.wantSent(len(data), len(data)+2*little)
}

// TestWhatIsNotVouchedFor is taken as it is: once, and from the authority.
func TestWhatIsNotVouchedFor(t *testing.T) {
	w := newWorld(t, 2)
	tests := map[string]struct {
		answer http.HandlerFunc
		status int
		asked  int64 // of the region
	}{
		"short": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=600")
			_, _ = io.WriteString(rw, "short")
		}, 200, 1},
		"empty": {func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Cache-Control", "max-age=600") }, 200, 1},
		"an error": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write(noise(10 << 10))
		}, 404, 1},
		"not to be stored": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "no-store")
			_, _ = rw.Write(noise(10 << 10))
		}, 200, 1},
		"a liar of a site": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=600")
			rw.Header().Set(vouch.Body, vouch.Digests)
			rw.Header().Set(vouch.Length, "5000")
			_, _ = io.WriteString(rw, "short")
		}, 200, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.answer(tt.answer)
			before, near := w.region.asked.Load(), w.boxes[0].near.asked.Load()
			r := w.get(w.boxes[1], "/"+strings.ReplaceAll(name, " ", "-"))
			if r.err != nil || r.status != tt.status {
				t.Errorf("status %d, %v", r.status, r.err)
			}
			if got := w.region.asked.Load() - before; got != tt.asked {
				t.Errorf("the region was asked %d times", got)
			}
			if got := w.boxes[0].near.asked.Load() - near; got != 0 {
				t.Errorf("the neighbour was asked %d times", got)
			}
		})
	}
}

func TestAValidatedCopyCostsNothing(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(100 << 10)
	w.file(data, "Cache-Control", "no-cache")
	for range 2 {
		for _, b := range w.boxes {
			w.want(w.get(b, "/a"), data, "preau")
		}
	}
	w.wantSent(len(data), len(data)+little)
	w.file(data[1:], "Cache-Control", "no-cache", "Etag", `"v2"`)
	for _, b := range w.boxes {
		w.want(w.get(b, "/a"), data[1:], "preau")
	}
	w.wantSent(2*len(data)-1, 2*len(data)+little)
	if got := w.metric(w.boxes[1], "preau_pool_fetches_total", "result", "neighbour"); got != 2 {
		t.Errorf("%v fetches from neighbours", got)
	}
}

// TestAPurgeReachesTheOwnerFirst: who has not heard of it brings nothing back.
func TestAPurgeReachesTheOwnerFirst(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(100 << 10)
	w.file(data)
	for _, b := range w.boxes {
		w.want(w.get(b, "/a"), data, "preau")
	}
	w.file(data[1:], "Etag", `"v2"`)
	w.purge(w.store, "/a")
	w.purge(w.boxes[0].store, "/a")
	w.want(w.get(w.boxes[0], "/a"), data[1:], "detail=region")
	if got := w.metric(w.boxes[0], "preau_pool_answers_total", "result", "absent"); got != 2 {
		t.Errorf("the neighbour was asked %v times for what is too old", got)
	}
	w.want(w.get(w.boxes[1], "/a"), data, "hit") // in whose lease it is
	w.purge(w.boxes[1].store, "/a")
	w.want(w.get(w.boxes[1], "/a"), data[1:], "detail=neighbour")
}

// TestAnOlderCopyIsCheckedByItsOwner: the region has another version than the
// owner, in whose lease the old one still is.
func TestAnOlderCopyIsCheckedByItsOwner(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(100 << 10)
	w.file(data, "Age", "100")
	w.want(w.get(w.boxes[0], "/a"), data, "detail=region")
	w.file(data[1:], "Etag", `"v2"`)
	w.purge(w.store, "/a")
	w.want(w.get(w.boxes[1], "/a"), data[1:], "detail=neighbour")
	w.want(w.get(w.boxes[0], "/a"), data[1:], "hit")
	w.wantSent(2*len(data)-1, 2*len(data)+little)
}

func TestANewOwnerTakesWhatOthersHave(t *testing.T) {
	w := newWorld(t, 3)
	data := noise(1<<20 + 5)
	w.file(data)
	second := func(box int) ([]int, int) { return [][]int{{1, 2}, {0, 2}, {1, 0}}[box], []int{1, 0, 1}[box] }
	w.order = second
	for _, path := range []string{"/film", "/song"} {
		w.want(w.get(w.boxes[1], path), data, "detail=region")
	}
	w.order = nil
	w.want(w.get(w.boxes[2], "/song"), data, "detail=neighbour") // by way of the first
	w.want(w.get(w.boxes[0], "/song"), data, "hit")
	w.wantSent(2*len(data), 2*len(data)+little)
	w.want(w.get(w.boxes[0], "/film", "Range", "bytes=5-5004"), data[5:5005], "detail=neighbour")
	w.want(w.get(w.boxes[0], "/film"), data, "preau")
	w.wantSent(2*len(data), 2*len(data)+little)
	// And what nobody has is fetched without a word too many.
	before := w.region.asked.Load()
	w.file(data[:100<<10])
	w.want(w.get(w.boxes[0], "/other"), data[:100<<10], "detail=region")
	if got := w.region.asked.Load() - before; got != 1 {
		t.Errorf("the region was asked %d times", got)
	}
}

// TestAlteredBlocks: the client gets every byte right, the box that sent them
// is reported, and not asked again.
func TestAlteredBlocks(t *testing.T) {
	for name, at := range map[string]int64{"the first": 12345, "the second": 1<<20 + 1} {
		t.Run(name, func(t *testing.T) {
			once(t, at > 1<<20)
			w := newWorld(t, 2)
			data := noise(2<<20 + 5)
			w.file(data)
			w.boxes[0].near.do(func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
				off := int64(0)
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off)
				as.ServeHTTP(&changing{ResponseWriter: rw, at: off, change: func(begin int64, p []byte) {
					if i := at - begin; i >= 0 && i < int64(len(p)) {
						p[i] ^= 1
					}
				}}, r)
			})
			w.want(w.get(w.boxes[1], "/film"), data, "preau")
			if reported, _ := w.told(); reported["box0"] != "altered" {
				t.Errorf("reported: %v", reported)
			}
			asked := w.boxes[0].near.asked.Load()
			w.want(w.get(w.boxes[1], "/film"), data, "hit")
			w.want(w.get(w.boxes[1], "/next"), data, "detail=region")
			if got := w.boxes[0].near.asked.Load(); asked != 1 || got != 1 {
				t.Errorf("it was asked %d times, and then %d", asked, got-asked)
			}
			if got := w.metric(w.boxes[1], "preau_pool_altered_blocks_total"); got != 1 {
				t.Errorf("%v altered blocks", got)
			}
		})
	}
}

func TestAnotherVersionIsNoLie(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(100 << 10)
	tests := map[string]struct {
		site  []string
		other func(http.Header)
		used  bool
	}{
		"another tag":         {nil, func(h http.Header) { h.Set("Etag", `"v0"`) }, false},
		"no tag":              {nil, func(h http.Header) { h.Del("Etag") }, false},
		"another coding":      {nil, func(h http.Header) { h.Set("Content-Encoding", "br") }, false},
		"the same":            {nil, func(http.Header) {}, true},
		"the same weak tag":   {[]string{"Etag", `W/"v1"`}, func(http.Header) {}, true},
		"another date":        {[]string{"Etag", "", "Last-Modified", "Mon, 23 Nov 2020 10:00:00 GMT"}, func(h http.Header) { h.Set("Last-Modified", "Mon, 23 Nov 2020 10:00:01 GMT") }, false},
		"the same date":       {[]string{"Etag", "", "Last-Modified", "Mon, 23 Nov 2020 10:00:00 GMT"}, func(http.Header) {}, true},
		"made at one time":    {[]string{"Etag", ""}, func(http.Header) {}, true},
		"made at other times": {[]string{"Etag", ""}, func(h http.Header) { h.Set("Date", "Mon, 23 Nov 2020 10:00:01 GMT") }, false},
	}
	n := 0
	for name, tt := range tests {
		t.Run(name, func(*testing.T) {
			n++
			path := fmt.Sprint("/", n)
			w.answer(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Etag", `"v1"`)
				rw.Header().Set("Cache-Control", "max-age=600")
				for i := 0; i < len(tt.site); i += 2 {
					rw.Header().Set(tt.site[i], tt.site[i+1])
					if tt.site[i+1] == "" {
						rw.Header().Del(tt.site[i])
					}
				}
				rw.Header().Set("Content-Length", fmt.Sprint(len(data)))
				_, _ = rw.Write(data)
			})
			w.boxes[0].near.do(func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
				as.ServeHTTP(&heading{ResponseWriter: rw, change: tt.other}, r)
			})
			detail := "detail=region"
			if tt.used {
				detail = "detail=neighbour"
			}
			w.want(w.get(w.boxes[1], path), data, detail)
		})
	}
	if reported, _ := w.told(); len(reported) != 0 {
		t.Errorf("reported: %v", reported)
	}
}

// heading changes the header of a response.
type heading struct {
	http.ResponseWriter
	change func(http.Header)
}

func (h *heading) WriteHeader(status int) {
	if status >= 200 {
		h.change(h.Header())
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *heading) Flush() { _ = http.NewResponseController(h.ResponseWriter).Flush() }

// TestADyingOwner: the rest comes from elsewhere, and the client never knows.
func TestADyingOwner(t *testing.T) {
	w := newWorld(t, 3)
	data := noise(2<<20 + 5)
	w.file(data)
	w.boxes[0].near.do(func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
		as.ServeHTTP(&changing{ResponseWriter: rw, cut: 1<<20 + 1000}, r)
	})
	var all sync.WaitGroup
	for _, b := range w.boxes[1:] {
		all.Go(func() { w.want(w.get(b, "/film"), data, "preau") })
	}
	all.Wait()
	for _, b := range w.boxes[1:] {
		w.want(w.get(b, "/film"), data, "hit")
		w.want(w.get(b, "/next"), data, "preau")
	}
	if got := w.boxes[0].near.asked.Load(); got > 2 {
		t.Errorf("the dying box was asked %d times", got)
	}
	if reported, _ := w.told(); len(reported) != 0 {
		t.Errorf("reported: %v", reported)
	}
}

func TestADeadOwner(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(100 << 10)
	w.file(data)
	w.boxes[0].near.Close()
	for _, path := range []string{"/a", "/b"} {
		w.want(w.get(w.boxes[1], path), data, "detail=region")
	}
	if _, lost := w.told(); lost["box0"] != 1 {
		t.Errorf("lost: %v", lost)
	}
}

// TestDigestsThatStop: what was vouched for goes on, and the rest is asked for
// again.
func TestDigestsThatStop(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(2<<20 + 5)
	w.file(data)
	w.want(w.get(w.boxes[0], "/film"), data, "detail=region")
	var cut atomic.Int64
	w.region.do(func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
		if vouch.Asked(r.Header) && cut.Add(1) == 1 {
			rw = &changing{ResponseWriter: rw, cut: 40}
		}
		as.ServeHTTP(rw, r)
	})
	w.want(w.get(w.boxes[1], "/film"), data, "preau")
	if got := cut.Load(); got != 2 {
		t.Errorf("the region was asked to vouch %d times", got)
	}
	w.wantSent(len(data), len(data)+little)
	if reported, _ := w.told(); len(reported) != 0 {
		t.Errorf("reported: %v", reported)
	}
}

// TestDigestsThatMakeNoSense: such an authority is asked for the bytes.
func TestDigestsThatMakeNoSense(t *testing.T) {
	tests := map[string]func(rw http.ResponseWriter){
		"no list": func(rw http.ResponseWriter) {
			rw.Header().Set(vouch.Length, "102400")
			_, _ = rw.Write(bytes.Repeat([]byte{0xff}, 100))
		},
		"a block of another length": func(rw http.ResponseWriter) {
			rw.Header().Set(vouch.Length, "102400")
			_ = vouch.NewWriter(rw, func() {}).Block(1000, block.Sum(nil))
		},
		"too long a body": func(rw http.ResponseWriter) {
			rw.Header().Set(vouch.Length, "999999999999999999")
			rw.WriteHeader(http.StatusOK)
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			once(t, name == "no list")
			w := newWorld(t, 2)
			data := noise(100 << 10)
			w.file(data)
			w.want(w.get(w.boxes[0], "/a"), data, "detail=region")
			w.region.do(func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
				if !vouch.Asked(r.Header) {
					as.ServeHTTP(rw, r)
					return
				}
				rw.Header().Set("Cache-Status", "preau; hit")
				rw.Header().Set("Cache-Control", "max-age=600")
				rw.Header().Set("Etag", `"v1"`)
				rw.Header().Set(vouch.Body, vouch.Digests)
				answer(rw)
			})
			w.want(w.get(w.boxes[1], "/a"), data, "preau")
			w.want(w.get(w.boxes[1], "/b"), data, "detail=region")
			if reported, _ := w.told(); len(reported) != 0 {
				t.Errorf("reported: %v", reported)
			}
		})
	}
}

// TestCirclesEnd: boxes that do not agree whose turn it is do not wait for each
// other for ever.
func TestCirclesEnd(t *testing.T) {
	w := newWorld(t, 3)
	// Each takes the next for the owner.
	w.order = func(box int) ([]int, int) { return []int{(box + 1) % 3, (box + 2) % 3}, 1 }
	data := noise(1<<20 + 5000)
	w.file(data)
	var all sync.WaitGroup
	for _, b := range w.boxes {
		for _, r := range []string{"bytes=0-", "bytes=1048000-"} {
			all.Go(func() {
				got := w.get(b, "/film", "Range", r)
				if got.err != nil || got.status != http.StatusPartialContent || len(got.body) == 0 || !bytes.HasSuffix(data, got.body) {
					t.Errorf("%s: status %d, %d bytes, %v", b.name, got.status, len(got.body), got.err)
				}
			})
		}
	}
	all.Wait()
	for _, b := range w.boxes {
		w.want(w.get(b, "/film"), data, "preau")
	}
	for _, b := range w.boxes {
		for _, r := range b.near.requests() {
			if vouch.Asked(r.Header) {
				t.Error("a neighbour was asked to vouch")
			}
		}
	}
}

func TestAClientThatLeavesEndsWhatItAskedFor(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(2 << 20)
	gate := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=600")
		rw.Header().Set("Etag", `"v1"`)
		rw.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = rw.Write(data[:1<<20])
		_ = http.NewResponseController(rw).Flush()
		<-gate
	})
	defer close(gate)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.boxes[1].front.URL+"/film", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cancel()
	w.boxes[1].edge.Close()
	w.until(func() bool { return !w.boxes[0].near.busy() }, "the neighbour was not told")
}

func TestBadConfig(t *testing.T) {
	for name, change := range map[string]func(*pool.Config){
		"hedge": func(c *pool.Config) { c.HedgeLeast = 0 },
		"most":  func(c *pool.Config) { c.Most = 0 },
		"least": func(c *pool.Config) { c.HedgeMost = 1 },
		"retry": func(c *pool.Config) { c.RetryMax = 1 },
	} {
		cfg := pool.DefaultConfig()
		change(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := pool.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// TestWhatTheOwnerKeepsIsKeptOnceItIsWanted: a box passes on what its neighbour
// keeps, and keeps it itself when it is asked for often, or when the neighbour is
// not there.
func TestWhatTheOwnerKeepsIsKeptOnceItIsWanted(t *testing.T) {
	w := newWorld(t, 2)
	data := noise(2<<20 + 777)
	w.file(data)
	owner, b := w.boxes[0], w.boxes[1]
	for _, path := range []string{"/film", "/other", "/prepared", "/purged", "/broken"} {
		w.want(w.get(owner, path), data, "detail=region")
	}
	for i := range 3 {
		r := w.get(b, "/film")
		w.want(r, data, "detail=neighbour")
		if stored := strings.Contains(r.cache(), "stored"); stored != (i == 2) {
			t.Errorf("request %d: Cache-Status %q", i+1, r.cache())
		}
	}
	w.want(w.get(b, "/film"), data, "hit;")
	if got := w.metric(b, "preau_pool_received_bytes_total"); got != 3*float64(len(data)) {
		t.Errorf("%v bytes came from the neighbour", got)
	}

	// A range of what is passed on, and what is small.
	w.want(w.get(b, "/other", "Range", "bytes=1100000-1999999"), data[1100000:2000000], "detail=neighbour")
	w.want(w.get(b, "/other"), data, "detail=neighbour")
	w.file(data[:1000])
	w.want(w.get(owner, "/little"), data[:1000], "detail=region")
	w.want(w.get(b, "/little"), data[:1000], "stored")
	w.want(w.get(b, "/little"), data[:1000], "hit;")

	// Who asks with nobody waiting wants it to be here.
	w.file(data)
	ctx := upstream.WithPace(t.Context(), upstream.NewPace(nil))
	rec := httptest.NewRecorder()
	b.edge.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/prepared", http.NoBody))
	if got := rec.Header()["Cache-Status"]; !bytes.Equal(rec.Body.Bytes(), data) || !strings.Contains(strings.Join(got, ", "), "stored; detail=neighbour") {
		t.Errorf("%d bytes, Cache-Status %q", rec.Body.Len(), got)
	}
	w.want(w.get(b, "/prepared"), data, "hit;")

	// A purge is for what is passed on too.
	w.want(w.get(b, "/purged"), data, "detail=neighbour")
	fresh := bytes.Clone(data)
	fresh[0] ^= 1
	w.file(fresh, "Etag", `"v2"`)
	w.purge(w.store, "/purged")
	w.purge(owner.store, "/purged")
	w.want(w.get(owner, "/purged"), fresh, "detail=region")
	w.want(w.get(b, "/purged"), fresh, "detail=neighbour")

	// The owner breaks off: the rest comes from the region, and all of it is kept.
	w.file(data)
	owner.near.do(func(rw http.ResponseWriter, r *http.Request, as http.Handler) {
		as.ServeHTTP(&changing{ResponseWriter: rw, cut: 1<<20 + 5000}, r)
	})
	before := int(w.region.sent.Load())
	w.want(w.get(b, "/broken"), data, "detail=neighbour")
	if got := int(w.region.sent.Load()) - before; got > len(data)-1<<20+little {
		t.Errorf("%d bytes crossed the line once more", got)
	}
	w.want(w.get(b, "/broken"), data, "hit;")
}
